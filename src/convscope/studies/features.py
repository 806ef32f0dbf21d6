"""Deep features: what the last map of a network holds of each image, pooled over its positions [METHODS 8.10].

::

    F(k) = mean over i, j of f(k, i, j)

Zhou et al., "Learning deep features for discriminative localization", CVPR 2016, section 4. Whatever is linear in them
has a map Σ w(k) f(k, i, j) on every image: see `convscope.studies.readouts`.

>>> features = deep_features(network, open_images("photos"))
>>> features.values, features.ids
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope import capture
from convscope.attribution.cam import head_of
from convscope.attribution.map_layer import MapLayer, map_before, map_read_by
from convscope.errors import NetworkError
from convscope.graph import Graph
from convscope.images import ImageSet, open_images
from convscope.network import Network
from convscope.recorder import record
from convscope.sanity.sample import evenly
from convscope.scanner.batches import batches, nothing_read
from convscope.scanner.compute import failures_named
from convscope.scanner.plan import channels_last
from convscope.scanner.progress import Report, counter
from convscope.targets import understand


@dataclass(frozen=True, eq=False)
class Features:
    """The deep features of images.

    Args:
        ids: (n,) of the images that could be read, ascending.
        values: (n, k) float64.
        map: whose means they are, with its grid.
        skipped: id, name and reason of the images that could not be read.
    """

    network: Network
    images: ImageSet
    ids: NDArray[np.int64]
    values: NDArray[np.float64]
    map: MapLayer
    skipped: list[dict[str, Any]]
    _graph: Graph

    def part(self, rows: NDArray[np.int64]) -> Features:
        """Some of the images, by their place among `ids`."""
        return replace(self, ids=self.ids[rows], values=self.values[rows])

    def maps(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The network's inputs (n, c, h, w) for some images, and their maps f (n, k, rows, columns), float64."""
        inputs, found = [], []
        for batch in batches(self.images, self.network.preprocess, ids, 16):
            inputs.append(batch.inputs)
            found.append(_maps(self.network, self._graph, self.map, batch.inputs, batch.ids))
        return torch.cat(inputs), torch.cat(found)


def deep_features(
    network: Network,
    images: ImageSet | str | Path,
    *,
    layer: str | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    progress: Report = lambda progress: None,
) -> Features:
    """Run the network over images, and keep the mean of each channel of a map.

    Args:
        images: a set, or what `open_images` understands.
        layer: of the map, as for `GradCAM`. Default: the last one, or, where the network pools a map for each class,
            the one that these are made of.
        limit: use so many images, evenly spaced over the set.
        batch_size: images in a forward pass.
        progress: called after every batch.

    Raises:
        AddressError: there is no such layer.
        AttributionError: the network has no map.
        ImagesError: no image could be read.
        NetworkError: the network does not run on them, or gives numbers that are none.
    """
    images = open_images(images) if isinstance(images, str | Path) else images
    graph = record(network.module, channels_last(network.example()))
    chosen = _map(network, graph, layer)
    ids = evenly(range(len(images)), limit or len(images))
    advance = counter(progress, "features", len(ids))
    known: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float64]] = []
    skipped: list[dict[str, Any]] = []
    for batch in batches(images, network.preprocess, ids, batch_size):
        skipped += batch.skipped
        if len(batch.ids):
            known.append(batch.ids.numpy())
            values.append(_maps(network, graph, chosen, batch.inputs, batch.ids).mean((2, 3)).numpy())
        advance(len(batch.ids) + len(batch.skipped))
    if not known:
        raise nothing_read(images.spec, skipped)
    found = Features(network, images, np.concatenate(known), np.concatenate(values), chosen, skipped, graph)
    broken = found.ids[~np.isfinite(found.values).all(1)]
    if len(broken):
        raise NetworkError(
            f"{network.name}: the map of {chosen.layer.address} is not finite (NaN or infinity) for image "
            f"{images.names[broken[0]]} and {len(broken) - 1} more; look at the network's weights and its input"
        )
    return found


def _map(network: Network, graph: Graph, layer: str | None) -> MapLayer:
    shape = graph.shapes[graph.outputs[0]]
    ends = understand(None, network, graph, 1)[0].ends(graph) if len(shape) == 2 else graph.outputs
    head = head_of(graph, ends[0]) if layer is None else None
    if head is None:
        return map_before(graph, [ends], layer)
    if head.linear is not None:
        return head.map
    ran = {node.index for node in graph.ancestors([head.map.value])}
    last = [each for each in graph.layers() if each.node in ran][-1]
    return map_read_by(graph, last) or head.map


def _maps(network: Network, graph: Graph, chosen: MapLayer, inputs: Tensor, ids: Tensor) -> Tensor:
    """(n, k, rows, columns) float64, on the CPU."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> None:
        found.append(chosen.first(tensor).to("cpu", torch.float64, copy=True))

    with torch.no_grad(), failures_named(ids):
        capture.run(network.module, inputs.to(network.device), graph, {chosen.value: keep}, stop=True)
    return found[0]
