"""What one shard's images say: the network runs over them, and every statistic of every layer takes them in.

A shard is computed from nothing, in whichever process, so that its state depends on the job and its images alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from convscope import capture
from convscope.errors import ConvscopeError, NetworkError
from convscope.graph import LayerNode
from convscope.scanner.batches import Batch, batches
from convscope.scanner.plan import Plan
from convscope.scanner.tally import Tally
from convscope.shards import ShardState
from convscope.statistics import Accumulator, Activations
from convscope.statistics.saturation import ends

Accumulators = Mapping[tuple[str, str], Accumulator]  # by layer and statistic


def compute(plan: Plan, index: int, advance: Callable[[int], None]) -> ShardState:
    """The state of shard `index`; `advance` is called after every batch with the images done in it."""
    accumulators, tally = start(plan), Tally()
    for batch in batches(plan.images, plan.network.preprocess, plan.shard(index), plan.batch_size):
        tally.skip(batch.skipped)
        if len(batch.ids):
            feed(plan, batch, accumulators, tally)
        advance(len(batch.ids) + len(batch.skipped))
    return to_state(accumulators, tally)


def merge(plan: Plan, first: ShardState | None, second: ShardState) -> ShardState:
    """Fold a shard into what came before it."""
    if first is None:
        return second
    accumulators, others = start(plan), start(plan)
    for (layer, name), accumulator in accumulators.items():
        accumulator.restore(part(first, layer, name))
        others[layer, name].restore(part(second, layer, name))
        accumulator.merge(others[layer, name])
    tallies = [Tally.from_json(state.meta["tally"]) for state in (first, second)]
    return to_state(accumulators, tallies[0].merge(tallies[1]))


def part(state: ShardState, layer: str, statistic: str) -> dict[str, Tensor]:
    """The arrays of one statistic of one layer."""
    prefix = f"{layer}|{statistic}|"
    return {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}


def start(plan: Plan) -> Accumulators:
    """Empty accumulators of every statistic of every layer."""
    return {
        (str(layer.address), name): statistic.start(layer.units, layer.shape[1:])
        for layer in plan.layers
        for name, statistic in plan.statistics.items()
    }


def feed(plan: Plan, batch: Batch, accumulators: Accumulators, tally: Tally) -> None:
    """One forward pass, consumed by every statistic of every layer."""
    result = forward(plan, batch, [_tap(plan, layer, batch, accumulators) for layer in plan.layers])
    tally.count(result, batch.digests, plan.truth[batch.ids], batch.ids)


def forward(plan: Plan, batch: Batch, consumers: Sequence[capture.Tap], *, stop: bool = False) -> Any:
    """What the network gives for a batch; each of the plan's layers meets its consumer.

    Args:
        stop: leave out what comes after the last of these layers, and give None.

    Raises:
        NetworkError: the network fails on these images.
    """
    taps: dict[int, list[capture.Tap]] = {}
    for layer, consumer in zip(plan.layers, consumers, strict=True):
        taps.setdefault(layer.value(plan.at), []).append(consumer)
    inputs = batch.inputs.to(plan.network.device)  # keeps its memory format
    with torch.no_grad(), failures_named(batch.ids):
        consuming = {value: _all(each) for value, each in taps.items()}
        return capture.run(plan.network.module, inputs, plan.graph, consuming, stop=stop)


@contextmanager
def failures_named(ids: Tensor) -> Iterator[None]:
    """What a network raises inside the `with` is a `NetworkError` that names the images."""
    try:
        yield
    except (ConvscopeError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise NetworkError(f"the network failed on images {ids[0]} to {ids[-1]}: {error}") from error


def _tap(plan: Plan, layer: LayerNode, batch: Batch, accumulators: Accumulators) -> capture.Tap:
    name, classes = str(layer.address), plan.truth[batch.ids]
    saturation = ends(plan.graph.producers.get(layer.response)) if plan.at == "response" else None

    def consume(values: Tensor) -> None:
        activations = Activations(values, layer.channel, batch.ids, name, classes, saturation)
        for statistic in plan.statistics:
            accumulators[name, statistic].update(activations)

    return consume


def _all(taps: Sequence[capture.Tap]) -> capture.Tap:
    """One tap that calls several; layers can share a value when one is a view of the other."""

    def consume(values: Tensor) -> None:
        for tap in taps:
            tap(values)

    return consume


def to_state(accumulators: Accumulators, tally: Tally) -> ShardState:
    """Everything that a shard's images gave."""
    tensors = {
        f"{layer}|{name}|{array}": tensor.contiguous()
        for (layer, name), accumulator in accumulators.items()
        for array, tensor in accumulator.state().items()
    }
    return ShardState(tensors, {"tally": tally.to_json()})
