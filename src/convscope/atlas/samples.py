"""Sample images of an atlas: what the network says of each, what every unit does, and which units do so unusually.

>>> sample = atlas.samples[0]
>>> sample.name, sample.prediction[0].name, sample.prediction[0].score
>>> sample.maps("features.0")[12], sample.unusual("features.0", 3)
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.address import Layer
from convscope.atlas.run import SAMPLES, damaged
from convscope.geometry import Grid

if TYPE_CHECKING:
    from convscope.atlas.folder import Atlas
    from convscope.atlas.layers import AtlasLayer


class Guess(NamedTuple):
    """A class that the network proposes.

    Args:
        name: None where the network's classes have no names.
        score: see `Sample.score`; None where it is not finite.
    """

    class_index: int
    name: str | None
    score: float | None


@dataclass(frozen=True)
class Response:
    """What a unit says to one image.

    Args:
        value: the maximum of its map.
        share: of the unit's maximum over all images of the scan; None where that is not above zero.
        rank: of the image in the unit's list of the best, from 0; None where it is not in it.
        z: (value - mean) / standard deviation of the unit's responses at all positions of all images.
    """

    layer: str
    unit: int
    value: float
    share: float | None
    rank: int | None
    z: float


class Sample:
    """One of the sample images; `layer` is an address in all that follows."""

    def __init__(self, atlas: Atlas, index: int, record: Mapping[str, Any], layers: Mapping[str, Any]) -> None:
        self.atlas = atlas
        self.index = index
        self.id: int = record["id"]
        self.truth: int | None = record["truth"]
        self._layers = layers
        names = atlas.run["network"]["classes"]
        self.prediction = tuple(
            Guess(index, names[index] if names is not None and index < len(names) else None, score)
            for index, score in record["prediction"]
        )
        """The best five classes, best first; none where the network gives no score for each class, or a NaN."""

    def __repr__(self) -> str:
        return f"<sample {self.id}: {self.name}>"

    @property
    def name(self) -> str:
        """The image's name in the set."""
        return str(self.atlas.images[self.id]["name"])

    @property
    def label(self) -> str | None:
        """The image's label, as the network's class name where there is one."""
        label: str | None = self.atlas.images[self.id]["label"]
        return label

    @property
    def score(self) -> str:
        """What the scores are: probabilities ("softmax"), each class by itself ("sigmoid"), or values ("real")."""
        return str(self.atlas.run["samples"]["score"])

    @property
    def right(self) -> bool | None:
        """Whether the best class is the true one; None where that is not known."""
        return None if self.truth is None else [guess.class_index for guess in self.prediction[:1]] == [self.truth]

    def picture(self) -> Image.Image:
        """The image as the network sees it."""
        return self.atlas.picture(self.id)

    def class_maps(self) -> NDArray[np.float32]:
        """(classes, h, w): where the first few classes of `prediction` come from, at the size of the picture.

        How they were made is in ``atlas.run["class_maps"]``. No classes where the atlas has no maps.
        """
        found = self.atlas.class_maps.get(str(self.id))
        if found is None:
            return np.empty((0, *self.atlas.run["pictures"]["size"]), np.float32)
        rows, columns = Grid.from_json(self.atlas.run["class_maps"]["grid"]).placement()
        return np.asarray(rows @ found["maps"] @ columns.T, np.float32)

    def maps(self, layer: str | Layer) -> NDArray[np.uint8]:
        """(units, h, w): the map of every unit in 8 bits, all on the one `scale`; see `value` and `block`.

        Layers without rows and columns have maps of one row.
        """
        data = self._array(layer, f"maps{self.index}").tobytes()
        shape = (self.atlas.layer(layer).units, *self._about(layer)["map"])
        try:
            return np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)
        except (zlib.error, ValueError) as error:
            raise damaged(self.atlas.path, f"the maps of {layer} in {SAMPLES} cannot be read ({error})") from error

    def scale(self, layer: str | Layer) -> float:
        """The largest finite magnitude in any of the layer's maps: what the brightest byte stands for."""
        return float(self._array(layer, "scale")[self.index])

    def signed(self, layer: str | Layer) -> bool:
        """How bytes are read: ``(byte - 127.5) / 127.5 · scale`` where True, so that 0 is mid-grey; else
        ``byte / 255 · scale``, so that 0 is black.
        """
        return bool(self._about(layer)["signed"])

    def block(self, layer: str | Layer) -> int:
        """So many cells of the map, along each side, became one: the largest value, or that of largest magnitude."""
        return int(self._about(layer)["block"])

    def maxima(self, layer: str | Layer) -> NDArray[np.float32]:
        """(units,): the exact maximum of each unit's map; NaN where all of it is NaN."""
        return self._row(layer, "maxima")

    def positions(self, layer: str | Layer) -> NDArray[np.int32]:
        """(units,): where in the whole map the first maximum stands, in raster order: row · width + column."""
        return self._row(layer, "positions")

    def zeros(self, layer: str | Layer) -> NDArray[np.float32]:
        """(units,): share of the map's values that are <= 0, NaN left out; NaN where all of it is NaN."""
        return self._row(layer, "zeros")

    def nans(self, layer: str | Layer) -> NDArray[np.int32]:
        """(units,): how many values of each map are NaN."""
        if "nans" not in self._owner(layer):
            return np.zeros(self.atlas.layer(layer).units, np.int32)
        return self._row(layer, "nans")

    def unusual(self, layer: str | Layer, count: int | None = 12) -> list[Response]:
        """The units of a layer that respond unusually strongly to this image, the most unusual first.

        These are units whose maximum on this image lies above their mean response. First come those that have the
        image among their best, by its rank there; then the others. Of equal ones the larger z comes first, then the
        lower unit. A unit that never varies is not among them, so a dead one is not.
        """
        return self._responses(self.atlas.layer(layer), count)

    def unusual_everywhere(self, count: int | None = 12) -> list[Response]:
        """The same over all layers; of equal ones the earlier layer comes first."""
        found = [each for layer in self.atlas.layers for each in self._responses(layer, count)]
        return sorted(found, key=lambda each: (each.rank is None, each.rank or 0, -each.z))[:count]

    def _responses(self, layer: AtlasLayer, count: int | None) -> list[Response]:
        """The layer's units with z above 0, the first `count` in the order of `unusual`."""
        value = self.maxima(layer.address).astype(float)
        mean, std, top = (np.array(layer.summary[name], float) for name in ("mean", "std", "maximum"))
        with np.errstate(all="ignore"):
            z, share = (value - mean) / std, value / top
        ids = layer.state("topk")["ids"]
        rank = np.where((ids == self.id).any(1), (ids == self.id).argmax(1), ids.shape[1])
        order = np.lexsort((-z, rank))
        chosen = [unit for unit in order.tolist() if np.isfinite(z[unit]) and z[unit] > 0]
        return [
            Response(
                str(layer.address),
                unit,
                float(value[unit]),
                float(share[unit]) if top[unit] > 0 else None,
                int(rank[unit]) if rank[unit] < ids.shape[1] else None,
                float(z[unit]),
            )
            for unit in chosen[:count]
        ]

    def _about(self, layer: str | Layer) -> Mapping[str, Any]:
        about: Mapping[str, Any] = self._layers[str(self.atlas.layer(layer).address)]
        return about

    def _owner(self, layer: str | Layer) -> Mapping[str, NDArray[Any]]:
        return self.atlas.sample_arrays[str(self.atlas.layer(layer).address)]

    def _array(self, layer: str | Layer, name: str) -> NDArray[Any]:
        return self._owner(layer)[name]

    def _row(self, layer: str | Layer, name: str) -> NDArray[Any]:
        row: NDArray[Any] = self._array(layer, name)[self.index]
        return row


def read_samples(atlas: Atlas) -> tuple[Sample, ...]:
    """The sample images of an atlas, by id; none where it has none."""
    samples = atlas.run.get("samples")
    if samples is None:
        return ()
    addresses = (str(layer.address) for layer in atlas.layers)
    layers = dict(zip(addresses, samples["layers"], strict=True))
    return tuple(Sample(atlas, index, record, layers) for index, record in enumerate(samples["images"]))
