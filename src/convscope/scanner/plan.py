"""The plan of a scan: its layers, its images, how they are cut into shards, and everything that determines the result.

That last is the *job*, plain values which the atlas keeps: another batch size, device or number of threads is another
job, whose numbers agree to rounding.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

import convscope
from convscope import shards
from convscope import statistics as kinds
from convscope.address import matching, parse
from convscope.errors import AddressError, NetworkError, nearest
from convscope.geometry import Grid
from convscope.graph import Graph, LayerNode
from convscope.images import ImageSet
from convscope.network import Network
from convscope.receptive_field import Kind, ReceptiveFields, receptive_fields
from convscope.recorder import record
from convscope.statistics import Scan, Statistic
from convscope.statistics.topk import TopK

At = Literal["response", "output"]
SHARD = 8  # batches in a shard: what a kill may lose


@dataclass(frozen=True, eq=False)
class Plan:
    """One job, and what must be known to compute its shards.

    Args:
        ids: of the images that are used, ascending.
        truth: class index of every image of the set, int64, -1 where it is not known.
        remark: what the user must know about the labels.
    """

    network: Network
    images: ImageSet
    graph: Graph
    fields: ReceptiveFields
    layers: tuple[LayerNode, ...]
    statistics: Mapping[str, Statistic]
    ids: tuple[int, ...]
    truth: Tensor
    remark: str | None
    job: Mapping[str, Any]

    @classmethod
    def make(
        cls,
        network: Network,
        images: ImageSet,
        *,
        layers: Sequence[str] | None,
        at: At,
        limit: int | None,
        batch_size: int,
        threads: int,
        exact_quantiles: bool = False,
        samples: int = 8,
        projections: int | None = None,
        top: int = 25,
    ) -> Plan:
        """Record the network's graph, and choose layers and images; the arguments are those of `scan`."""
        if at not in ("response", "output"):
            raise ValueError(f"at is {at!r}; expected 'response' or 'output'")
        for name, number in (("batch_size", batch_size), ("limit", limit), ("threads", threads)):
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}; it must be at least 1")
        for name, number in (("samples", samples), ("projections", projections)):
            if number is not None and number < 0:
                raise ValueError(f"{name} is {number}; it must be at least 0")
        if top < TopK.maps:
            raise ValueError(f"top is {top}; it must be at least {TopK.maps}, of which patches and maps are kept")
        graph = record(network.module, channels_last(network.example()))
        chosen = _chosen(graph, layers)
        ids = _evenly(len(images), limit)
        truth, remark = _truth(network, images, graph)
        statistics = kinds.of(Scan(_occurring(truth, ids), exact_quantiles, top))
        job = _job(network, images, chosen, statistics, at, ids, truth, batch_size, threads, samples, projections)
        return cls(
            network,
            images,
            graph,
            receptive_fields(graph),
            chosen,
            statistics,
            ids,
            torch.as_tensor(truth),
            remark,
            job,
        )

    @property
    def batch_size(self) -> int:
        """Images in one forward pass."""
        return int(self.job["batch_size"])

    @property
    def at(self) -> str:
        """Where units are read: "response" or "output"."""
        return str(self.job["at"])

    def start(self, shard: int) -> int:
        """How many of the images come before a shard."""
        return min(shard * int(self.job["shard_size"]), len(self.ids))

    def shard(self, shard: int) -> tuple[int, ...]:
        """The ids of a shard's images."""
        return self.ids[self.start(shard) : self.start(shard + 1)]

    @functools.cached_property
    def keys(self) -> tuple[str, ...]:
        """A name for each shard, made from the job and from its images as they were when this was first asked."""
        return tuple(self.key(shard) for shard in range(math.ceil(len(self.ids) / int(self.job["shard_size"]))))

    def key(self, shard: int) -> str:
        """The same for one shard, from its images as they are now."""
        ids = self.shard(shard)
        return shards.key(self.job, ids[0], self.images.signature(ids[0], ids[-1] + 1))

    def grid(self, layer: LayerNode, kind: Kind = "convolutional") -> Grid:
        """Where the cells of the layer's map lie on the image, by one of its two fields [METHODS 0.3]."""
        return self.fields.grid(layer, kind, self.at)

    def slug(self, layer: LayerNode) -> str:
        """A name for files and links: readable, and unique even where addresses differ only in odd characters."""
        index = next(i for i, each in enumerate(self.layers) if each is layer)
        return f"{index:03}-" + re.sub(r"[^A-Za-z0-9.]+", "-", str(layer.address)).strip("-.")


def select(graph: Graph, wanted: Sequence[str] | None) -> tuple[LayerNode, ...]:
    """The layers that names, module names or patterns choose, in the order of the network.

    Raises:
        AddressError: one of them chooses nothing; the message offers the nearest names.
    """
    if wanted is None:
        return graph.layers()
    chosen: set[str] = set()
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        found = _matching(graph, pattern)
        if not found:
            known = [str(layer.address) for layer in graph.layers()]
            hint = nearest(pattern, known) or "; 'convscope layers' lists them"
            raise AddressError(f"no convolution or linear layer is named {pattern!r}{hint}")
        chosen |= found
    return tuple(layer for layer in graph.layers() if str(layer.address) in chosen)


def _matching(graph: Graph, pattern: str) -> set[str]:
    """The addresses that `pattern` chooses, in which a module may have any of its names."""
    name, mark, call = pattern.partition("~")
    return matching(graph.aliases.get(name, name) + mark + call, (layer.address for layer in graph.layers()))


def channels_last(images: Tensor) -> Tensor:
    """The memory format in which CPUs and GPUs convolve fastest; it changes no number."""
    return images.to(memory_format=torch.channels_last)


def _chosen(graph: Graph, wanted: Sequence[str] | None) -> tuple[LayerNode, ...]:
    if not graph.layers():
        raise NetworkError("the network ran no convolution or linear layer, so there are no units to scan")
    layers = select(graph, wanted)
    if not layers:
        raise ValueError("layers is empty; give at least one, or None for all")
    for layer in layers:
        if not _is_written(layer):
            raise NetworkError(
                f"the module {layer.address.name!r} cannot be addressed: its name has a space or one of : @ ~ / in it; "
                "rename it, or leave it out with layers"
            )
    return layers


def _is_written(layer: LayerNode) -> bool:
    """Whether the layer's address can be read back, as a link and the command line must."""
    try:
        return parse(str(layer.address)) == layer.address
    except AddressError:
        return False


def _evenly(images: int, limit: int | None) -> tuple[int, ...]:
    count = images if limit is None else min(limit, images)
    return tuple(i * images // count for i in range(count))


def _occurring(truth: np.ndarray[Any, np.dtype[np.int64]], ids: Sequence[int]) -> tuple[int, ...]:
    """The classes among the labels of the images that are used."""
    return tuple(int(index) for index in np.unique(truth[list(ids)]) if index >= 0)


def _truth(network: Network, images: ImageSet, graph: Graph) -> tuple[np.ndarray[Any, np.dtype[np.int64]], str | None]:
    """The class index of every image, and a remark; all unknown where the output is not a score for each class."""
    shape = graph.shapes[graph.outputs[0]]
    return images.class_indices(network, shape[1] if len(shape) == 2 and network.output == "softmax" else 0)


def _job(
    network: Network,
    images: ImageSet,
    layers: Sequence[LayerNode],
    statistics: Mapping[str, Statistic],
    at: At,
    ids: Sequence[int],
    truth: np.ndarray[Any, np.dtype[np.int64]],
    batch_size: int,
    threads: int,
    samples: int,
    projections: int | None,
) -> dict[str, Any]:
    labels = hashlib.sha256(truth.astype("<i8").tobytes()).hexdigest()
    return {
        "network": network.fingerprint,
        "classes": shards.key(network.classes),
        "images": {"spec": images.spec, "count": len(images), "used": len(ids), "labels": labels},
        "layers": [str(layer.address) for layer in layers],
        "at": at,
        "statistics": {name: dataclasses.asdict(statistic) for name, statistic in statistics.items()},
        "batch_size": batch_size,
        "shard_size": batch_size * SHARD,
        "samples": samples,
        "projections": projections,
        "memory_format": "channels_last",
        "device": network.device.type,
        "threads": threads,
        "torch": str(torch.__version__),
        "convscope": convscope.__version__,
    }
