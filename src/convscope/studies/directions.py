"""Do random directions of a layer's space find images as coherent as its units do? [METHODS 4.3]

::

    x(v) = argmax over images of max over positions of <v, f>    with v a unit's axis, or v ~ N(0, I) normalised

Szegedy et al., "Intriguing properties of neural networks", ICLR 2014, section 3. How coherent the best images are is
measured in two ways: by the labels of the images, and by what the network makes of them in the end.

>>> found = directions(network, "diorama:objects/test", "conv5")
>>> found.units.purity.mean(), found.random.purity.mean(), found.chance.purity.mean()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.capture import Tap
from convscope.errors import AddressError, ImagesError
from convscope.images import ImageSet, open_images
from convscope.images.base import Label
from convscope.network import Network, logits
from convscope.scanner.batches import Batch, batches, nothing_read
from convscope.scanner.compute import forward
from convscope.scanner.plan import Plan
from convscope.scanner.progress import Report, counter
from convscope.statistics import Activations

TOP = 9  # images
_DRAWS = 1000  # sets of images of chance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def random_directions(count: int, units: int, seed: int = 0) -> Floats:
    """Directions (count, units) of length 1, uniform on the sphere."""
    drawn = np.random.default_rng(seed).standard_normal((count, units))
    directions: Floats = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return directions


@dataclass(frozen=True, eq=False)
class Group:
    """The best images of several directions, and how coherent they are.

    Args:
        name: of one of the directions, without its number.
        ids: (r, TOP) of images, the best first, of equal ones the one with the lower id.
        positions: (r, TOP) place in the map of the largest value, in raster order.
        silent: (r,) whether the last of them has no more than the image with the least of all, as with a dead unit:
            then they are no best images, and the measures are NaN.
        purity: (r,) share of the images that have their most frequent label; NaN where images have no labels.
        cosine: (r,) mean over pairs of images of the cosine between their scores, of which the mean over all images is
            taken off; NaN where the network gives no scores.
    """

    name: str
    ids: Ints
    positions: Ints
    silent: Bools
    purity: Floats
    cosine: Floats

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def different(self) -> int:
        """How many images are among the best of any direction: where all find the same ones, purity says little."""
        return len(np.unique(self.ids[~self.silent]))

    def to_json(self) -> dict[str, Any]:
        """How coherent the images are in the mean, with its standard error."""
        measures = {"purity": self.purity, "cosine": self.cosine}
        found = {
            name: dict(zip(("mean", "error"), map(_finite, mean(each)), strict=True)) for name, each in measures.items()
        }
        counts = {"count": len(self), "silent": int(self.silent.sum()), "different": self.different}
        return {"name": self.name, **counts, **found}

    def rows(self) -> list[dict[str, Any]]:
        """Plain values of each direction."""
        columns = zip(self.ids.tolist(), self.silent.tolist(), self.purity.tolist(), self.cosine.tolist(), strict=True)
        return [
            {"name": self.name, "number": number, "images": [] if silent else ids, "purity": _finite(purity),
             "cosine": _finite(cosine)}
            for number, (ids, silent, purity, cosine) in enumerate(columns)
        ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Directions:
    """Units and directions of chance of a layer.

    Args:
        plan: network, images and the layer.
        units: every unit, as an axis.
        random: directions v.
        absolute: |v|, entry by entry: behind a rectifier no unit is negative, so that v asks for some units and against
            others, and |v| for all of them.
        chance: images of chance, in place of the best ones.
        skipped: id, name and reason of the images that could not be read.
    """

    plan: Plan
    units: Group
    random: Group
    absolute: Group
    chance: Group
    skipped: list[dict[str, Any]]

    @property
    def groups(self) -> tuple[Group, ...]:
        """All of them."""
        return self.units, self.random, self.absolute, self.chance

    @property
    def layer(self) -> str:
        """Address of the layer."""
        return str(self.plan.layers[0].address)

    def label(self, image: int) -> Label:
        """The label of an image."""
        return self.plan.images.labels[image]

    def most_frequent(self, ids: Sequence[int]) -> tuple[Label, int]:
        """The most frequent label of some images, of equal ones the first, and how many have it; (None, 0) without."""
        known = [label for label in map(self.label, ids) if label is not None]
        return Counter(known).most_common(1)[0] if known else (None, 0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        images = self.plan.images
        return {
            "network": self.plan.network.name, "layer": self.layer, "source": images.spec,
            "images": len(self.plan.ids) - len(self.skipped), "skipped": self.skipped, "top": TOP,
            "groups": [group.to_json() for group in self.groups],
            "each": [each for group in (self.units, self.random, self.absolute) for each in group.rows()],
        }  # fmt: skip


def directions(
    network: Network,
    images: ImageSet | str | Path,
    layer: str,
    *,
    count: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 32,
    progress: Report = lambda progress: None,
) -> Directions:
    """Find the images with the largest values along the axes of a layer, and along random directions of its space.

    Units are read after the rectifier that follows. A direction's value for an image is the largest of its map.

    Args:
        images: a set, or what `open_images` understands.
        layer: name of a layer.
        count: how many random directions; default as many as there are units.
        seed: of the directions.
        limit: use so many images, evenly spaced over the set.
        batch_size: images in a forward pass.
        progress: called after every batch.

    Raises:
        AddressError: there is no such layer, or the name means several.
        ImagesError: fewer images could be read than are compared.
        NetworkError: the network does not run on them.
    """
    if count is not None and count < 1:
        raise ValueError(f"count is {count}; it must be at least 1")
    images = open_images(images) if isinstance(images, str | Path) else images
    plan = Plan.make(
        network, images, layers=[layer], at="response", limit=limit, batch_size=batch_size,
        threads=torch.get_num_threads(),
    )  # fmt: skip
    if len(plan.layers) > 1:
        raise AddressError(f"{layer!r} names {len(plan.layers)} layers; name one of them")
    units = plan.layers[0].units
    drawn = random_directions(count or units, units, seed)
    best = _Best(units, np.concatenate([drawn, np.abs(drawn)]))
    judge, skipped = _through(plan, best, progress)
    cuts = [units, units + len(drawn)]
    found = [np.split(each.numpy(), cuts) for each in (best.ids, best.positions, best.silent)]
    axes, random, absolute = (
        judge.group(*each) for each in zip(("unit", "direction", "|direction|"), *found, strict=True)
    )
    return Directions(plan, axes, random, absolute, judge.chance(), skipped)


class _Best:
    """The images with the largest values of units, and of directions after them: ids and positions (r, at most TOP)."""

    def __init__(self, units: int, directions: Floats) -> None:
        self._matrix = torch.tensor(directions, dtype=torch.float32)
        many = units + len(directions)
        self._values, self._least = torch.empty(many, 0), torch.full((many,), torch.inf)
        self.ids = self.positions = torch.empty(many, 0, dtype=torch.int64)

    @property
    def silent(self) -> Tensor:
        """(r,) whether the last of the best images has no more than the least of all."""
        return self._values[:, -1] <= self._least

    def update(self, rows: Tensor, ids: Tensor) -> None:
        """Take in values (n, positions, units) of images that come after those before."""
        # Units are read as they are: as products with axes, one that is NaN or infinite would make all others NaN.
        maps = torch.cat([rows, rows @ self._matrix.to(rows.device).T], 2)
        largest, positions = torch.where(maps.isnan(), -torch.inf, maps).max(1)
        self._least = torch.minimum(self._least, largest.min(0).values.cpu())
        values = torch.cat([self._values, largest.T.cpu()], 1)
        order = torch.sort(values, dim=1, descending=True, stable=True).indices[:, :TOP]
        self._values = values.gather(1, order)
        self.ids = torch.cat([self.ids, ids.expand(len(values), -1)], 1).gather(1, order)
        self.positions = torch.cat([self.positions, positions.T.cpu()], 1).gather(1, order)


def _through(plan: Plan, best: _Best, progress: Report) -> tuple[_Judge, list[dict[str, Any]]]:
    """Take all images through the network."""
    (layer,) = plan.layers
    ids, scores = [torch.empty(0, dtype=torch.int64)], []
    skipped: list[dict[str, Any]] = []
    advance = counter(progress, "images", len(plan.ids))
    has_scores = len(plan.graph.shapes[plan.graph.outputs[0]]) == 2

    def taker(batch: Batch) -> Tap:
        def take(values: Tensor) -> None:
            best.update(Activations(values, layer.channel, batch.ids, str(layer.address)).rows, batch.ids)

        return take

    for batch in batches(plan.images, plan.network.preprocess, plan.ids, plan.batch_size):
        skipped += batch.skipped
        if len(batch.ids):
            result = forward(plan, batch, [taker(batch)])
            ids.append(batch.ids)
            scores.append(logits(result).cpu().double() if has_scores else torch.empty(len(batch.ids), 0))
        advance(len(batch.ids) + len(batch.skipped))
    known = torch.cat(ids).numpy()
    if not len(known):
        raise nothing_read(plan.images.spec, skipped)
    if len(known) <= TOP:
        raise ImagesError(f"{plan.images.spec}: {len(known)} images, and the best {TOP} are compared; give more")
    return _Judge(known, [plan.images.labels[image] for image in known], torch.cat(scores).numpy()), skipped


class _Judge:
    """Says how coherent images are.

    Args:
        ids: (n,) of all images, ascending.
        labels: of each.
        scores: (n, classes) that the network gave.
    """

    def __init__(self, ids: Ints, labels: Sequence[Label], scores: Floats) -> None:
        numbers: dict[Label, int] = {None: -1}
        self._ids = ids
        self._labels = np.array([numbers.setdefault(label, len(numbers)) for label in labels])
        centred = scores - scores.mean(0)
        self._scores = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-300)

    def group(self, name: str, ids: Ints, positions: Ints, silent: Bools) -> Group:
        """Images (r, TOP) of several directions."""
        places = np.searchsorted(self._ids, ids)
        purity, cosine = (np.where(silent, np.nan, each) for each in (self._purity(places), self._cosine(places)))
        return Group(name, ids, positions, silent, purity, cosine)

    def chance(self) -> Group:
        """Sets of images that are drawn without repetition."""
        rng = np.random.default_rng(0)
        ids = self._ids[np.stack([rng.permutation(len(self._ids))[:TOP] for _ in range(_DRAWS)])]
        return self.group("chance", ids, np.zeros_like(ids), np.zeros(len(ids), np.bool_))

    def _purity(self, places: Ints) -> Floats:
        if (self._labels < 0).all():
            return np.full(len(places), np.nan)
        found = self._labels[places]
        alike = (found[:, :, None] == found[:, None, :]) & (found >= 0)[:, :, None]
        shares: Floats = alike.sum(2).max(1) / TOP
        return shares

    def _cosine(self, places: Ints) -> Floats:
        if not self._scores.size:
            return np.full(len(places), np.nan)
        found = self._scores[places]
        cosines: Floats = (np.square(found.sum(1)).sum(1) - np.square(found).sum((1, 2))) / (TOP * (TOP - 1))
        return cosines


def mean(values: Floats) -> tuple[float, float]:
    """The mean over directions with a measure, and its standard error."""
    known = values[~np.isnan(values)]
    error = float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else np.nan
    return float(known.mean()) if len(known) else np.nan, error


def _finite(number: float) -> float | None:
    """A number that JSON has."""
    return number if np.isfinite(number) else None
