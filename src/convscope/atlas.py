"""The atlas: what one pass over the images said about every unit, as a folder that explains itself.

>>> atlas = Atlas.open("atlas")
>>> unit = atlas["features.7.expand3x3:12"]
>>> unit.top[0].name, unit.top[0].value, unit.summary["mean"]

====================  =================================================================================================
``run.json``          the job, fingerprints of network and images, layers and results, checksums of all other files
``statistics.…``      every statistic of every unit, as safetensors named ``layer|statistic|array``
``strips/``           the best patches of every unit, a row a unit, in sheets
``pictures/``         the images that occur in any unit's best ones, as the network sees them, in sheets
====================  =================================================================================================
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load

from convscope.address import Layer, Unit, parse
from convscope.diagnosis import diagnose, sparsity
from convscope.errors import AddressError, AtlasError, nearest
from convscope.geometry import Box, Grid
from convscope.panel import Panel
from convscope.statistics import Statistic, registered
from convscope.statistics.class_means import ClassMeans, selectivity
from convscope.statistics.class_means import means as class_means
from convscope.statistics.moments import summary
from convscope.statistics.topk import NOBODY

FORMAT, VERSION = "convscope-atlas", 1
STATISTICS = "statistics.safetensors"


@dataclass(frozen=True)
class TopImage:
    """One of the images that excite a unit most.

    Args:
        id: of the image in the set.
        value: the maximum of the response, and the cell (row, column) of the map where it stands.
        box: what to cut out for it, in pixels of the network's input; it may reach beyond the image.
    """

    rank: int
    id: int
    name: str
    label: str | None
    value: float
    row: int
    column: int
    box: Box


class Atlas:
    """An atlas on disk; arrays are read, and their checksums compared, when they are first needed."""

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = path
        self.run = run
        self.layers = tuple(AtlasLayer(self, record) for record in run["layers"])

    @classmethod
    def open(cls, path: str | Path) -> Atlas:
        """Open the atlas at `path`.

        Raises:
            AtlasError: it is no atlas, of another version, unfinished or damaged; the message says which.
        """
        path = Path(path)
        try:
            run = _read_run(path)
        except RecursionError:
            raise _damaged(path, "run.json is nested too deeply") from None
        for name, file in run["files"].items():
            if not (path / name).is_file():
                raise _damaged(path, f"{name} is missing")
            if (path / name).stat().st_size != file["bytes"]:
                raise _damaged(path, f"{name} has another size than it was written with")
        return cls(path, run)

    def __repr__(self) -> str:
        return f"Atlas({str(self.path)!r}: {self.run['network']['name']}, {len(self.layers)} layers)"

    def layer(self, address: str | Layer) -> AtlasLayer:
        """The layer at `address`.

        Raises:
            AddressError: the atlas has no such layer; the message offers the nearest names.
        """
        found = {str(layer.address): layer for layer in self.layers}
        if str(address) not in found:
            raise AddressError(f"{self.path} has no layer {str(address)!r}{nearest(str(address), found)}")
        return found[str(address)]

    def __getitem__(self, address: str) -> AtlasLayer | AtlasUnit:
        """A layer or a unit by its address."""
        parsed = parse(address)
        if isinstance(parsed, Layer):
            return self.layer(parsed)
        if not isinstance(parsed, Unit):
            raise AddressError(f"{address!r} names a neuron; an atlas holds layers and units")
        return self.layer(parsed.layer)[parsed.index]

    def units(self) -> Iterator[AtlasUnit]:
        """Every unit of every layer, in order."""
        for layer in self.layers:
            yield from layer

    def file(self, name: str) -> bytes:
        """The content of one of the atlas's files.

        Raises:
            AtlasError: it is not what was written.
        """
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise _damaged(self.path, f"{name} cannot be read ({error})") from error
        if hashlib.sha256(data).hexdigest() != self.run["files"][name]["sha256"]:
            raise _damaged(self.path, f"the content of {name} has changed since it was written")
        return data

    def verify(self) -> None:
        """Read every file, and compare its checksum.

        Raises:
            AtlasError: one is not what was written.
        """
        for name in self.run["files"]:
            self.file(name)

    @functools.cached_property
    def statistics(self) -> dict[str, Statistic]:
        """The statistics of the job, by name."""
        known = registered()
        missing = self.run["job"]["statistics"].keys() - known
        if missing:
            raise AtlasError(f"{self.path}: it has statistics that this convscope lacks: {', '.join(sorted(missing))}")
        return {name: known[name](**config) for name, config in self.run["job"]["statistics"].items()}

    @property
    def classes(self) -> tuple[int, ...]:
        """Indices of the classes that occur among the labels; the columns of `AtlasLayer.class_means`."""
        config = self.statistics.get("class_means")
        return config.classes if isinstance(config, ClassMeans) else ()

    @functools.cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by ``layer|statistic|array``."""
        try:
            return load(self.file(STATISTICS))
        except SafetensorError as error:
            raise _damaged(self.path, f"{STATISTICS} cannot be read ({error})") from error

    @functools.cached_property
    def states(self) -> dict[str, dict[str, NDArray[Any]]]:
        """The arrays of every statistic by ``layer|statistic``."""
        states: dict[str, dict[str, NDArray[Any]]] = defaultdict(dict)
        for name, array in self.arrays.items():
            owner, _, part = name.rpartition("|")
            states[owner][part] = array
        return states

    @functools.cached_property
    def pictures(self) -> dict[int, Mapping[str, Any]]:
        """The images whose pictures are kept, by id: name, label, and place in the sheets."""
        return {picture["id"]: picture for picture in self.run["pictures"]["images"]}

    @functools.cached_property
    def images(self) -> dict[int, Mapping[str, Any]]:
        """Name and label of every image in anybody's list of the best, by id; pictures are kept of the first few."""
        return self.pictures | {image["id"]: image for image in self.run["images"]["others"]}

    def picture(self, image: int) -> Image.Image:
        """An image as the network sees it."""
        if image not in self.pictures:
            raise AtlasError(f"{self.path}: image {image} is not among any unit's best, so its picture was not kept")
        sheet, y, x = self.pictures[image]["place"]
        height, width = self.run["pictures"]["size"]
        whole = self._sheet(self.run["pictures"]["files"][sheet])
        return whole.crop((x, y, x + width, y + height))

    @functools.lru_cache(maxsize=8)  # noqa: B019 — an atlas lives as long as the session that looks at it
    def _sheet(self, name: str) -> Image.Image:
        return Image.open(io.BytesIO(self.file(name))).convert("RGB")


class AtlasLayer:
    """One layer of an atlas: iterate over it for its units."""

    def __init__(self, atlas: Atlas, record: Mapping[str, Any]) -> None:
        self.atlas = atlas
        self.record = record
        address = parse(record["address"])
        assert isinstance(address, Layer)
        self.address = address
        self.units: int = record["units"]
        self.shape: tuple[int, ...] = tuple(record["shape"])

    def __repr__(self) -> str:
        return f"<layer {self.address}: {self.units} units>"

    def __len__(self) -> int:
        return self.units

    def __iter__(self) -> Iterator[AtlasUnit]:
        return (AtlasUnit(self, index) for index in range(self.units))

    def __getitem__(self, index: int) -> AtlasUnit:
        if not 0 <= index < self.units:
            raise AddressError(f"layer {self.address} has units 0 to {self.units - 1}, not {index}")
        return AtlasUnit(self, index)

    @functools.cached_property
    def grid(self) -> Grid:
        """Where the cells of the layer's map lie on the image (the convolutional field)."""
        return Grid.from_json(self.record["grid"])

    def state(self, statistic: str) -> dict[str, NDArray[Any]]:
        """The arrays of a statistic; the first dimension is the unit."""
        if statistic not in self.atlas.statistics:
            names = ", ".join(self.atlas.statistics)
            raise AtlasError(f"{self.atlas.path} has no statistic {statistic!r}; it has {names}")
        return self.atlas.states[f"{self.address}|{statistic}"]

    @functools.cached_property
    def summary(self) -> dict[str, list[float]]:
        """A value a unit: mean, std, minimum, maximum, share <= 0 (nonpositive), images with a response, count, NaN,
        share of saturated positions, class selectivity (NaN without labels).
        """
        columns = summary(self.state("moments"))
        counts = np.maximum(columns["count"], 1)
        columns["saturated"] = (self.state("saturation")["positions"] / counts).tolist()
        labelled = "class_means" in self.atlas.statistics
        columns["selectivity"] = (
            selectivity(self.state("class_means")).tolist() if labelled else [math.nan] * self.units
        )
        return columns

    @functools.cached_property
    def class_means(self) -> NDArray[np.float64]:
        """(units, classes): mean response to the images of each class; NaN without images, no columns without labels.

        A column is a class of `atlas.classes`.
        """
        if "class_means" not in self.atlas.statistics:
            return np.empty((self.units, 0))
        return class_means(self.state("class_means"))

    @functools.cached_property
    def flags(self) -> dict[str, NDArray[np.bool_]]:
        """The units (u,) that need attention, by what is the matter with them; see `convscope.diagnosis`."""
        return diagnose(self.record["nonlinearity"], self.summary, self.atlas.run["results"]["images"])

    @property
    def sparsity(self) -> float | None:
        """Mean over the units of the share of positions at which they are silent; None where it is not rectified."""
        return sparsity(self.record["nonlinearity"], self.summary)


class AtlasUnit:
    """One unit of an atlas."""

    def __init__(self, layer: AtlasLayer, index: int) -> None:
        self.layer = layer
        self.index = index
        self.address = Unit(layer.address, index)

    def __repr__(self) -> str:
        return f"<unit {self.address}>"

    @property
    def summary(self) -> dict[str, float]:
        """The unit's values of `AtlasLayer.summary`."""
        return {name: column[self.index] for name, column in self.layer.summary.items()}

    @property
    def top(self) -> list[TopImage]:
        """The images that excite the unit most, best first."""
        return self.best(None)

    def best(self, count: int | None) -> list[TopImage]:
        """The first `count` of `top`."""
        state = self.layer.state("topk")
        there = int((state["ids"][self.index, :count] != NOBODY).sum())
        return [self._top(rank, state) for rank in range(there)]

    def _top(self, rank: int, state: Mapping[str, NDArray[Any]]) -> TopImage:
        image, position = int(state["ids"][self.index, rank]), int(state["positions"][self.index, rank])
        row, column = divmod(position, self.layer.grid.cells[1])
        about = self.layer.atlas.images[image]
        return TopImage(
            rank,
            image,
            about["name"],
            about["label"],
            float(state["values"][self.index, rank]),
            row,
            column,
            self.layer.grid.crop(row, column),
        )

    def map(self, rank: int) -> NDArray[np.float32]:
        """The response to one of the first few best images, as shares of its maximum, (h, w); a large map in blocks.

        Raises:
            AtlasError: the map of this rank was not kept.
        """
        maps = self.layer.state("topk")["maps"]
        self._check_rank(rank, min(maps.shape[1], len(self.top)), "keeps the maps of {} images")
        shares: NDArray[np.float32] = maps[self.index, rank].astype(np.float32) / 255
        return shares

    def patch(self, rank: int) -> Image.Image:
        """What the unit's field holds in one of the first few best images, grey where it reaches beyond the image.

        Raises:
            AtlasError: there is no such rank, or its picture was not kept.
        """
        self._check_rank(rank, len(self.top), "has {} best images")
        top = self.top[rank]
        box = top.box
        grey = tuple(self.layer.atlas.run["pictures"]["padding"])
        patch = Image.new("RGB", (box.width, box.height), grey)
        patch.paste(self.layer.atlas.picture(top.id), (-box.x0, -box.y0))
        return patch

    def _check_rank(self, rank: int, count: int, what: str) -> None:
        if not 0 <= rank < count:
            ranks = f", ranks 0 to {count - 1}" if count else ""
            raise AtlasError(f"unit {self.address} {what.format(count)}{ranks}, not {rank}")

    def quantile(self, q: float) -> float:
        """The value below which a share `q` of the sampled responses lies."""
        histogram = self.layer.atlas.statistics["histogram"]
        return float(histogram.quantile(self.layer.state("histogram")["counts"][self.index], q))  # type: ignore[attr-defined]

    def panels(self) -> list[Panel]:
        """What every statistic says of the unit."""
        atlas = self.layer.atlas
        return [
            panel
            for name, statistic in atlas.statistics.items()
            for panel in statistic.panels(self.layer.state(name), self.index, atlas.run["network"]["classes"])
        ]


def _damaged(path: Path, what: str) -> AtlasError:
    return AtlasError(f"{path}: damaged, {what}; delete the folder and scan again")


def _unfinished(path: Path) -> str:
    partial = path.with_name(path.name + ".partial") if path.name else path
    return (
        f", but an unfinished scan in {partial.name}; run the same scan again to finish it" if partial.exists() else ""
    )


def sealed(run: Mapping[str, Any]) -> bytes:
    """What is written as ``run.json``: `run` with a checksum of itself."""
    plain = json.loads(json.dumps(run))
    return json.dumps(plain | {"checksum": _checksum(plain)}, indent=1).encode()


def _checksum(run: Mapping[str, Any]) -> str:
    """Of what ``run.json`` says, however it is spaced and ordered."""
    said = {name: value for name, value in run.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


_PARTS = {
    "convscope", "job", "network", "images", "layers", "results", "pictures", "strips", "files", "checksum",
}  # fmt: skip


def _read_run(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_dir():
        raise AtlasError(f"{path}: no atlas, which would be a folder")
    if not path.is_dir():
        raise AtlasError(f"{path}: there is no such folder{_unfinished(path)}")
    try:
        run = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (path / "job.json").exists():
            raise AtlasError(f"{path}: an unfinished scan; run the same scan again to finish it") from None
        raise AtlasError(
            f"{path}: no atlas, it has no run.json; give the folder of an atlas, or another place for a new one"
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(path, f"run.json cannot be read ({error})") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise AtlasError(f"{path}: no atlas, its run.json is something else's")
    if run.get("version") != VERSION:
        raise AtlasError(
            f"{path}: an atlas of format {run.get('version')}, this convscope reads format {VERSION}; "
            "delete the folder and scan again"
        )
    missing = _PARTS - run.keys()
    if missing:
        raise _damaged(path, f"run.json lacks {', '.join(sorted(missing))}")
    if run["checksum"] != _checksum(run):
        raise _damaged(path, "the content of run.json has changed since it was written")
    return run
