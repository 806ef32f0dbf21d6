"""An atlas as a whole: its layers, arrays, pictures and what it says about itself."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load

from convscope.address import Layer, Unit, parse
from convscope.atlas.filters import Filters
from convscope.atlas.layers import AtlasLayer, AtlasUnit
from convscope.atlas.run import CLASS_MAPS, CONNECTIONS, FILTERS, SAMPLES, STATISTICS, WRITTEN, damaged, read_run
from convscope.atlas.samples import Sample, read_samples
from convscope.errors import AddressError, AtlasError, nearest
from convscope.images.base import source
from convscope.statistics import Statistic, registered
from convscope.statistics.class_means import ClassMeans


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
            run = read_run(path)
        except RecursionError:
            raise damaged(path, "run.json is nested too deeply") from None
        for name, file in run["files"].items():
            if not (path / name).is_file():
                raise damaged(path, f"{name} is missing")
            if (path / name).stat().st_size != file["bytes"]:
                raise damaged(path, f"{name} has another size than it was written with")
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
            raise damaged(self.path, f"{name} cannot be read ({error})") from error
        if hashlib.sha256(data).hexdigest() != self.run["files"][name]["sha256"]:
            raise damaged(self.path, f"the content of {name} has changed since it was written")
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
    def states(self) -> dict[str, dict[str, NDArray[Any]]]:
        """The arrays of every statistic by ``layer|statistic``."""
        return self.arrays(STATISTICS)

    @functools.cached_property
    def filters(self) -> dict[str, Filters]:
        """The filters of every layer that has some, by address; none in an atlas without that section."""
        layers = self.arrays(FILTERS) if FILTERS in self.run["files"] else {}
        return {address: Filters.of(arrays) for address, arrays in layers.items()}

    @functools.cached_property
    def connections(self) -> dict[str, dict[str, NDArray[Any]]]:
        """The arrays of the strongest connections by layer; empty for an atlas without them."""
        return self.arrays(CONNECTIONS) if CONNECTIONS in self.run["files"] else {}

    def arrays(self, name: str) -> dict[str, dict[str, NDArray[Any]]]:
        """The arrays of one of the files, named there ``owner|array``, by owner and array.

        Raises:
            AtlasError: it is not what was written.
        """
        try:
            arrays = load(self.file(name))
        except SafetensorError as error:
            raise damaged(self.path, f"{name} cannot be read ({error})") from error
        found: dict[str, dict[str, NDArray[Any]]] = defaultdict(dict)
        for each, array in arrays.items():
            owner, _, part = each.rpartition("|")
            found[owner][part] = array
        return dict(found)

    @property
    def source(self) -> str:
        """The set of images by its name."""
        return source(str(self.run["images"]["spec"]))

    @property
    def date(self) -> str | None:
        """The day on which the scan ended, as in 2026-11-26 (UTC); None where that is not known."""
        try:
            return date.fromisoformat(json.loads((self.path / WRITTEN).read_text())["date"]).isoformat()
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None

    @property
    def graph(self) -> dict[str, Any]:
        """The executed graph for drawing: nodes and edges, see `convscope.outline`."""
        graph: dict[str, Any] = self.run["graph"]
        return graph

    @functools.cached_property
    def pictures(self) -> dict[int, Mapping[str, Any]]:
        """The images whose pictures are kept, by id: name, label, and place in the sheets."""
        return {picture["id"]: picture for picture in self.run["pictures"]["images"]}

    @functools.cached_property
    def images(self) -> dict[int, Mapping[str, Any]]:
        """Name and label of every image in anybody's list of the best, by id; pictures are kept of the first few."""
        return self.pictures | {image["id"]: image for image in self.run["images"]["others"]}

    @functools.cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The sample images, by id: prediction, and the map of every unit; none in an atlas that has none."""
        return read_samples(self)

    @functools.cached_property
    def sample_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """What `samples` have measured, by layer and array."""
        return self.arrays(SAMPLES)

    @functools.cached_property
    def class_maps(self) -> dict[str, dict[str, NDArray[Any]]]:
        """The arrays of the samples' class maps, by the image's id; empty for an atlas without them."""
        return self.arrays(CLASS_MAPS) if CLASS_MAPS in self.run["files"] else {}

    def picture(self, image: int) -> Image.Image:
        """An image as the network sees it."""
        if image not in self.pictures:
            raise AtlasError(
                f"{self.path}: the picture of image {image} was not kept, as those of images that units like are"
            )
        sheet, y, x = self.pictures[image]["place"]
        height, width = self.run["pictures"]["size"]
        whole = self.sheet(self.run["pictures"]["files"][sheet])
        return whole.crop((x, y, x + width, y + height))

    @functools.lru_cache(maxsize=8)  # noqa: B019 — an atlas lives as long as the session that looks at it
    def sheet(self, name: str) -> Image.Image:
        """One of the sheets of pictures or strips."""
        return Image.open(io.BytesIO(self.file(name))).convert("RGB")
