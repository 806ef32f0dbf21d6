"""Do the axes of a layer mean more than other directions of its space? Detectors as they are rotated [METHODS 6.4].

::

    f' = Q^a f    at every position, Q uniform from SO(K), a from 0 to 1

Bau, Zhou et al., "Network dissection", CVPR 2017, section 3.2. What a layer can tell apart does not change: the next
one can undo the rotation. What changes is whether single units agree with concepts. The layer itself, all its rotations
and random directions are dissected together, in the two passes of one dissection.

>>> found = rotate(network, "diorama:objects/test", "atlas", "conv5")
>>> found.rotated(0.5).counts().unique, found.random().counts().unique
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import schur

from convscope.concepts import ConceptSet, open_concepts
from convscope.dissection import DissectedLayer, Dissection
from convscope.dissection.run import carry_out, check_atlas
from convscope.dissection.task import Task
from convscope.errors import AddressError, AtlasError
from convscope.network import Network
from convscope.scanner.progress import Report
from convscope.studies.detectors import CUTS, count
from convscope.studies.directions import random_directions

FOLDER = "rotation"
POWERS = tuple(tenth / 10 for tenth in range(11))

Floats = NDArray[np.float64]


def random_rotation(units: int, seed: int = 0) -> Floats:
    """A rotation (units, units), uniform from SO(units)."""
    drawn, triangle = np.linalg.qr(np.random.default_rng((seed, 1)).standard_normal((units, units)))
    rotation: Floats = drawn * np.sign(np.diag(triangle))  # what makes it uniform: QR alone has signs of its own
    if np.linalg.det(rotation) < 0:
        rotation[0] *= -1
    return rotation


@dataclass(frozen=True, eq=False)
class Powers:
    """The powers of a rotation Q, on the shortest way from no rotation to Q: each plane turns by a part of its angle.

    Args:
        vectors: (K, K) orthogonal: columns 2i and 2i + 1 are a plane that Q turns, the last ones stay where they are.
        angles: (planes,) by which Q turns them.
    """

    vectors: Floats
    angles: Floats

    @classmethod
    def of(cls, rotation: Floats) -> Powers:
        """From the real Schur form, which is blocks of two for planes, and 1 or -1 for what stays or is turned over.

        Raises:
            ValueError: it is no rotation.
        """
        units = len(rotation)
        if not np.allclose(rotation @ rotation.T, np.eye(units), atol=1e-8) or np.linalg.det(rotation) < 0:
            raise ValueError("the matrix is no rotation: its rows must be orthonormal and its determinant 1")
        form, vectors = schur(rotation, output="real")
        planes: list[int] = []  # the first and second column of each
        still: list[int] = []
        over: list[int] = []
        angles: list[float] = []
        place = 0
        while place < units:
            if place + 1 < units and form[place + 1, place] != 0:
                planes += [place, place + 1]
                angles.append(math.atan2(form[place + 1, place], form[place, place]))
                place += 2
            else:
                (still if form[place, place] > 0 else over).append(place)
                place += 1
        angles += [math.pi] * (len(over) // 2)  # the determinant is 1, so they come in pairs
        return cls(vectors[:, [*planes, *over, *still]], np.array(angles))

    def __call__(self, power: float) -> Floats:
        """Q^power, (K, K)."""
        turned = 2 * len(self.angles)
        first, second, still = self.vectors[:, 0:turned:2], self.vectors[:, 1:turned:2], self.vectors[:, turned:]
        cosines, sines = np.cos(power * self.angles), np.sin(power * self.angles)
        rotated: Floats = (
            (first * cosines + second * sines) @ first.T + (second * cosines - first * sines) @ second.T
        )  # fmt: skip
        return rotated + still @ still.T


class Rotation:
    """The dissection of a layer, of its rotations, and of as many random directions.

    Attributes:
        powers: 0 is the layer as it is, 1 the whole rotation.
        seeds: how many rotations were drawn, and sets of directions.
    """

    def __init__(self, dissection: Dissection) -> None:
        self.dissection = dissection
        how = dissection.run["job"].get("mixing", {})
        if "powers" not in how:
            raise AtlasError(f"{dissection.path}: no rotation; 'convscope rotation' makes one")
        self.powers: tuple[float, ...] = tuple(how["powers"])
        self.seeds: int = how["seeds"]

    @classmethod
    def open(cls, path: str | Path, layer: str) -> Rotation:
        """That of a layer in the folder that `rotate` was given.

        Raises:
            AtlasError: there is none, or it is damaged.
        """
        folder = Path(path) / FOLDER / layer
        if not folder.is_dir():
            raise AtlasError(f"{path}: no rotation of {layer}; 'convscope rotation' makes one")
        return cls(Dissection.open(folder))

    @property
    def layer(self) -> str:
        """Address of the layer."""
        return self.dissection.layers[0].address

    def rotated(self, power: float, seed: int = 0) -> DissectedLayer:
        """The units after a part of the rotation; they are at 0 the same for all seeds.

        Raises:
            ValueError: there is no such power or seed.
        """
        if power not in self.powers:
            raise ValueError(
                f"no power {power:g} was dissected; expected {', '.join(f'{each:g}' for each in self.powers)}"
            )
        first = self._first(seed)
        return self.dissection.layers[0 if power == 0 else first + self.powers.index(power) - 1]

    def random(self, seed: int = 0) -> DissectedLayer:
        """Directions of chance in place of units.

        Raises:
            ValueError: there is no such seed.
        """
        return self.dissection.layers[self._first(seed) + len(self.powers) - 1]

    def _first(self, seed: int) -> int:
        if not 0 <= seed < self.seeds:
            raise ValueError(f"{self.seeds} rotations were drawn, numbered from 0: there is no seed {seed}")
        return 1 + seed * len(self.powers)

    def to_json(self) -> dict[str, Any]:
        """Plain values: what each power and the random directions count."""
        run = self.dissection.run
        rows = [
            {"power": power, "seed": seed, **self._counted(layer)}
            for seed in range(self.seeds)
            for power, layer in [*((each, self.rotated(each, seed)) for each in self.powers), (None, self.random(seed))]
        ]
        return {
            "rotation": str(self.dissection.path),
            "network": run["network"],
            "concepts": run["job"]["concepts"],
            "images": run["images"],
            "skipped": run["skipped"],
            "remark": run["remark"],
            "quantile": run["job"]["quantile"],
            "layer": self.layer,
            "rows": rows,
        }

    def _counted(self, layer: DissectedLayer) -> dict[str, Any]:
        return count(self.dissection, layer.address).to_json() | {
            "unique_at": {f"{cut:g}": layer.counts(cut).unique for cut in CUTS},
            "mean_iou": float(layer.iou.max(1).mean()),
        }


def rotate(
    network: Network,
    concepts: ConceptSet | str | Path,
    path: str | Path,
    layer: str,
    *,
    seeds: int = 1,
    quantile: float = 0.005,
    limit: int | None = None,
    batch_size: int = 32,
    threads: int | None = None,
    progress: Report = lambda progress: None,
) -> Rotation:
    """Dissect a layer, rotations of its axes from none to a random one in steps of a tenth, and random directions.

    What was interrupted goes on where it was. Units are read after their rectifier; rotated ones can be negative.

    Args:
        concepts: a set, or what `open_concepts` understands.
        path: an atlas of the network, or any other folder: it is ``path/rotation/LAYER``, a dissection whose layers
            are the layer, ``LAYER.Q0^0.1`` to ``LAYER.Q0^1``, ``LAYER.random0``, and so on with other seeds.
        layer: name of a layer that has a map.
        seeds: so many rotations, each with its own random directions, in the same passes.
        quantile, limit, batch_size, threads, progress: see `convscope.dissect`.

    Raises:
        AddressError: there is no such layer, it has no map, or the name means several.
        AtlasError: there is another network's atlas, another rotation, or an unfinished one of another job.
        ImagesError: no image could be read.
        NetworkError: the network does not run on such images.
    """
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}; it must be at least 1")
    task = Task.of(
        network,
        open_concepts(concepts) if isinstance(concepts, str | Path) else concepts,
        layers=[layer], at="response", limit=limit, batch_size=batch_size,
        threads=torch.get_num_threads() if threads is None else threads,
        quantile=quantile, upsampling="anchored", threshold="exact",
    )  # fmt: skip
    if len(task.layers) > 1:
        raise AddressError(f"{layer!r} names {len(task.layers)} layers, and one is rotated at a time; name one of them")
    check_atlas(Path(path), network)
    (chosen,) = task.layers
    matrices = dict(_matrices(chosen.units, range(seeds)))
    mixed = task.mixed(matrices, {"powers": list(POWERS), "seeds": seeds})
    return Rotation(carry_out(mixed, Path(path) / FOLDER / str(chosen.address), progress))


def _matrices(units: int, seeds: Sequence[int]) -> Iterator[tuple[str, Floats]]:
    """Every rotation and set of directions with its name."""
    for seed in seeds:
        powers = Powers.of(random_rotation(units, seed))
        yield from ((f"Q{seed}^{power:g}", powers(power)) for power in POWERS[1:])
        yield f"random{seed}", random_directions(units, units, seed)
