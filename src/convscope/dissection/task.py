"""What a dissection computes: layers, images with their labels, where each map lies on them, and what is asked for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope import shards
from convscope.concepts import CATEGORIES, ConceptSet
from convscope.dissection.placement import Placement, Window
from convscope.dissection.tail import allowed
from convscope.errors import AddressError, NetworkError
from convscope.graph import LayerNode
from convscope.network import Network
from convscope.scanner.plan import At, Plan
from convscope.statistics import Activations

Upsampling = Literal["anchored", "plain"]
Threshold = Literal["exact", "lite"]

_ENTRIES = 1000  # of the Lite version's list of quantiles
_KEPT = 1024  # sizes of pictures and label maps: sets of photographs have thousands of different ones
Sizes = tuple[tuple[int, int], tuple[int, int]]  # of a picture, and of its label map


@dataclass(frozen=True, eq=False)
class Task(Plan):
    """A plan of a scan without statistics, and the labels of its images.

    Args:
        concepts: the set whose images are the plan's.
        mixing: of layers that are mixed from others the matrix (units, units of the other), by address.
    """

    concepts: ConceptSet = field(kw_only=True)
    mixing: Mapping[str, Tensor] = field(kw_only=True, default_factory=dict)

    @classmethod
    def of(
        cls,
        network: Network,
        concepts: ConceptSet,
        *,
        layers: Sequence[str] | None,
        at: At,
        limit: int | None,
        batch_size: int,
        threads: int,
        quantile: float,
        upsampling: Upsampling,
        threshold: Threshold,
    ) -> Task:
        """The arguments are those of `convscope.dissect`, and what its Lite version has in another way.

        Args:
            upsampling: values stand at the centres of their fields ("anchored"), or as if the map tiled the input, as
                a resize has them ("plain").
            threshold: the quantile itself ("exact"), or the entry of 1,000 quantiles that Lite takes ("lite").
        """
        if not 0 < quantile < 1:
            raise ValueError(f"quantile is {quantile}; it must be between 0 and 1: 0.005 are the highest 0.5 %")
        plan = Plan.make(
            network, concepts.images, layers=layers, at=at, limit=limit, batch_size=batch_size, threads=threads
        )
        chosen = _with_maps(plan, layers)
        job = {name: value for name, value in plan.job.items() if name not in ("statistics", "samples")}
        job |= {
            "layers": [str(layer.address) for layer in chosen],
            "concepts": concepts.spec,
            "quantile": quantile,
            "upsampling": upsampling,
            "threshold": threshold,
        }
        parts = {each.name: getattr(plan, each.name) for each in dataclasses.fields(plan)}
        return cls(**parts | {"layers": chosen, "statistics": {}, "job": job}, concepts=concepts)

    def mixed(self, matrices: Mapping[str, NDArray[Any]], how: Mapping[str, Any]) -> Task:
        """The same task with more layers, whose units are sums of units of its only one, at every position.

        Args:
            matrices: (units, units of the layer) by name, which is added to the layer's with a dot.
            how: plain values from which they were made; another `how` is another job.
        """
        (layer,) = self.layers
        layers, mixing = [layer], {}
        for name, matrix in matrices.items():
            address = dataclasses.replace(layer.address, name=f"{layer.address.name}.{name}")
            layers.append(dataclasses.replace(layer, address=address, shape=(len(matrix), *layer.shape[1:])))
            mixing[str(address)] = torch.tensor(matrix, dtype=torch.float32)
        job = dict(self.job) | {"layers": [str(each.address) for each in layers], "mixing": dict(how)}
        return dataclasses.replace(self, layers=tuple(layers), job=job, mixing=mixing)

    def activations(self, layer: int, values: Tensor, ids: Tensor) -> Activations:
        """What the units of a layer answer to the images `ids`, from the `values` that the network gave."""
        node = self.layers[layer]
        address, channel = str(node.address), node.channel
        if address in self.mixing:
            matrix = self.mixing[address].to(values.device)
            values, channel = values.movedim(channel, -1).float() @ matrix.T, -1
        return Activations(values, channel, ids, address)

    def key(self, shard: int) -> str:
        """See `Plan.key`: it changes with the labels, too."""
        ids = self.shard(shard)
        return shards.key(self.job, ids[0], self.concepts.signature(ids[0], ids[-1] + 1))

    @property
    def share(self) -> float:
        """Of a unit's values, so many are above its threshold at most.

        The Lite version takes entry int(1000 (1 - q) - 1) of 1000 quantiles that rise evenly from 0 to 1.
        """
        quantile = float(self.job["quantile"])
        if self.job["threshold"] == "exact":
            return quantile
        return 1 - int(round(_ENTRIES * (1 - quantile), 6) - 1) / (_ENTRIES - 1)

    def wanted(self, layer: LayerNode) -> int:
        """How many of a unit's largest values must be known."""
        return allowed(self.share, len(self.ids) * layer.shape[1] * layer.shape[2]) + 1

    @functools.cached_property
    def offsets(self) -> tuple[int, ...]:
        """The place of every layer's first unit among all, and their number; 0 is everything, no unit."""
        return tuple(np.cumsum([1, *(layer.units for layer in self.layers)]).tolist())

    @functools.cached_property
    def categories(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(1 + concepts,) the place in `CATEGORIES` of each concept's category; -1 at 0, which is none."""
        return np.array([-1, *(CATEGORIES.index(concept.category) for concept in self.concepts.concepts)])

    @functools.cached_property
    def strangers(self) -> dict[int, int]:
        """For every image the one whose labels it is given as a control: all in one ring, in an order of chance.

        A single image has only itself, and no control.
        """
        ring = np.array(self.ids)[np.random.default_rng(0).permutation(len(self.ids))].tolist()
        return dict(zip(ring, [*ring[1:], ring[0]], strict=True))

    @functools.cached_property
    def window(self) -> Callable[[Sizes], Window]:
        """What the network's input shows of label maps of some size."""
        return functools.lru_cache(_KEPT)(lambda sizes: Window.of(self.network.preprocess, *sizes))

    @functools.cached_property
    def placement(self) -> Callable[[int, Sizes], Placement]:
        """How the map of a layer lies on them."""
        anchored = self.job["upsampling"] == "anchored"
        return functools.lru_cache(_KEPT)(
            lambda layer, sizes: Placement.of(self.grid(self.layers[layer]), self.window(sizes), anchored)
        )


def _with_maps(plan: Plan, wanted: Sequence[str] | None) -> tuple[LayerNode, ...]:
    """The layers that have maps.

    Raises:
        AddressError: one that was asked for has none.
        NetworkError: no layer has one.
    """
    chosen = tuple(layer for layer in plan.layers if len(layer.shape) == 3)
    if not chosen and wanted is None:
        raise NetworkError(
            f"{plan.network.name} has no layer with a map of rows and columns, so it cannot be dissected"
        )
    if wanted is not None and len(chosen) < len(plan.layers):
        flat = next(layer for layer in plan.layers if layer not in chosen)
        raise AddressError(
            f"layer {flat.address} has no map of rows and columns, so its units have no place on an image; name "
            "layers that have one"
        )
    return chosen
