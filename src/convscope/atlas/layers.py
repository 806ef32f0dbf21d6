"""Layers and units of an atlas: what the scan measured of each, and the images that excite it most."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.address import Layer, Unit, parse
from convscope.atlas.connections import Connection, read
from convscope.atlas.filters import Filters
from convscope.atlas.run import RULES
from convscope.diagnosis import diagnose, sparsity
from convscope.errors import AddressError, AtlasError
from convscope.geometry import Box, Grid
from convscope.panel import Panel
from convscope.statistics.class_means import means as class_means
from convscope.statistics.class_means import selectivity
from convscope.statistics.moments import summary
from convscope.statistics.topk import NOBODY

if TYPE_CHECKING:
    from convscope.atlas.folder import Atlas


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

    @functools.cached_property
    def exact(self) -> Grid:
        """The same for the exact field, which takes in what gates the map, as squeeze-and-excitation does."""
        return Grid.from_json(self.record["exact"])

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
    def filters(self) -> Filters | None:
        """The weights as pictures, and whether they are noise; None for linear and 1 × 1 layers that do not see the
        image, and in an atlas without filters.
        """
        return self.atlas.filters.get(str(self.address))

    @property
    def projections(self) -> Mapping[str, Any] | None:
        """What is known of the projections of its units' best patches; None where the layer sees no patches, or in an
        atlas without them. It has a ``reason`` where the network could not be projected, else ``units``, those that
        have some, and where they lie.
        """
        return dict(self.atlas.run.get("projections", {})).get(self.record["slug"])

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
    def inputs(self) -> tuple[Connection, ...]:
        """The units that feed this one most strongly, at most 8; empty where the atlas says nothing of them."""
        return read(self, "input")

    @property
    def outputs(self) -> tuple[Connection, ...]:
        """The units that this one feeds most strongly, at most 8; empty where the atlas says nothing of them."""
        return read(self, "output")

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

    def tile(self, rank: int) -> Image.Image:
        """The patch of one of the first few best images as the unit's strip holds it: small, and quick to read.

        Raises:
            AtlasError: the strip has no tile of this rank.
        """
        self._check_rank(rank, len(self.best(self._ranks)), "has a strip of {} images")
        return self._cut(self.layer.atlas.run["strips"][self.layer.record["slug"]], self.index, rank)

    @property
    def is_projected(self) -> bool:
        """Whether the atlas has projections of the unit's best patches."""
        return self.index in (self.layer.projections or {}).get("units", ())

    def projection(self, rank: int, rule: str = "deconvnet") -> Image.Image:
        """What excites the unit in one of the first few best images, cropped as the patch is, as small as `tile`.

        Zero is mid-grey; the scale is the picture's own. It is plain grey where nothing comes back to the pixels.

        Args:
            rule: "deconvnet", or "guided" for guided backpropagation.

        Raises:
            AtlasError: the atlas has none of this unit, rank or rule.
        """
        about = self.layer.projections or {}
        if not self.is_projected:
            why = about.get("reason", "scan again, with projections= for more units")
            raise AtlasError(f"{self.layer.atlas.path} has no projections of unit {self.address}: {why}")
        if rule not in RULES:
            raise AtlasError(f"{rule!r} is no kind of projection; expected one of {', '.join(RULES)}")
        self._check_rank(rank, len(self.best(self._ranks)), "has projections of {} images")
        return self._cut(about, about["units"].index(self.index), RULES.index(rule) * self._ranks + rank)

    @property
    def _ranks(self) -> int:
        """How many of the best images have tiles and maps."""
        return int(self.layer.state("topk")["maps"].shape[1])

    def _cut(self, strips: Mapping[str, Any], row: int, column: int) -> Image.Image:
        """A tile of a sheet of strips."""
        sheet, row = divmod(row, strips["rows"])
        (down, right), (height, width) = strips["cell"], strips["tile"]
        y, x = row * down, column * right
        return self.layer.atlas.sheet(strips["files"][sheet]).crop((x, y, x + width, y + height))

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
