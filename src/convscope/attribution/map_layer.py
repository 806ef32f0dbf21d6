"""Which map inside a network the class activation methods read, and where its cells lie on the image.

By default it is the last map on the way to what is explained: behind the last convolution what comes without changing
the size of the map, so that it is the sum of a residual block and the concatenation of an inception block, not one of
their branches. ``layer="features.12"`` is a convolution's response, and ``layer="layer4"`` what a module gives at last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from convscope.address import ROOT, Layer, parse_layer
from convscope.attribution.base import Question
from convscope.errors import AddressError, AttributionError
from convscope.field_rules import Field
from convscope.geometry import Grid
from convscope.gradients import Pass
from convscope.graph import Graph, LayerNode, Node, Ref
from convscope.receptive_field import ReceptiveFields, receptive_fields
from convscope.targets import base_of


@dataclass(frozen=True, eq=False)
class MapLayer:
    """A map of the network.

    Args:
        layer: how it is named and read.
        grid: where its cells lie: their convolutional fields.
        notes: its name, for the result, and what must be known of the grid.
    """

    layer: LayerNode
    grid: Grid
    notes: tuple[str, ...]

    @property
    def value(self) -> int:
        """Of the graph."""
        return self.layer.response

    def first(self, tensor: Tensor) -> Tensor:
        """Values or gradients of the map with the channels first, (n, k, h, w)."""
        return tensor.movedim(self.layer.channel, 1)

    def activations(self, seen: Pass) -> Tensor:
        """(n, k, h, w) in a pass that has kept `value`."""
        return self.first(seen.seen.values[self.value]).detach()


def map_layer(question: Question, name: str | None) -> MapLayer:
    """The map called `name`, or the last one on the way to the targets.

    Raises:
        AddressError: there is no such map.
        AttributionError: there is no map at all, or the targets do not depend on it.
    """
    return map_before(question.graph, [target.ends(question.graph) for target in question.targets], name)


def map_before(graph: Graph, ends: Sequence[tuple[int, ...]], name: str | None = None) -> MapLayer:
    """The same for values of the graph: each target is a function of some.

    Raises:
        AddressError, AttributionError: as above.
    """
    fields = receptive_fields(graph)
    found = [_last(graph, fields, values) for values in dict.fromkeys(ends)] if name is None else []
    if not all(found):
        raise AttributionError(
            "there is no map (n, channels, rows, columns) on the way from the image to the target; a method that works "
            "on pixels, such as Saliency, needs none"
        )
    if len({layer.response for layer in found if layer}) > 1:
        names = ", ".join(sorted({str(layer.address) for layer in found if layer}))
        raise AttributionError(f"the targets rest on different maps ({names}); give layer=, or explain them in turn")
    layer = found[0] if found else _named(graph, fields, parse_layer(str(name)))
    assert layer is not None
    _check_reached(graph, layer, ends)
    return described(layer, fields)


def map_read_by(graph: Graph, layer: LayerNode) -> MapLayer | None:
    """The map that a convolution reads; None where it reads none, or the image."""
    source = graph.nodes[layer.node].arguments.get("input")
    base = base_of(graph, source.value) if isinstance(source, Ref) else None
    fields = receptive_fields(graph)
    found = None if base is None else map_of(graph, fields, base)
    return None if found is None else described(found, fields)


def described(layer: LayerNode, fields: ReceptiveFields) -> MapLayer:
    """With its grid and its notes."""
    _, rows, columns = layer.shape
    notes = [f"the map of {layer.address}, {layer.units} channels of {rows} × {columns} cells"]
    blame = fields.bounds.get(layer.response)
    if blame is not None:
        notes.append(f"because of {blame} the cells' places on the image are only known roughly")
    return MapLayer(layer, fields.grid(layer), tuple(notes))


def map_of(graph: Graph, fields: ReceptiveFields, value: int) -> LayerNode | None:
    """A computed value as a map that can be read: it has four dimensions, two of them the image's."""
    shape, seen = graph.shapes[value], fields.convolutional.get(value)
    if len(shape) != 4 or seen is None or base_of(graph, value) is None:
        return None
    channel = next((dim for dim, along in ((1, (2, 3)), (-1, (1, 2))) if _runs(seen, shape, along)), None)
    if channel is None:
        return None
    sizes = list(shape[1:])
    units = sizes.pop(channel if channel < 0 else channel - 1)
    node = graph.producers[value]
    return LayerNode(_address(graph, node), "map", node.index, value, value, None, (units, *sizes), channel, 0, 0)


def _runs(seen: Field, shape: tuple[int, ...], along: tuple[int, int]) -> bool:
    """Whether the rows of the image run along one dimension of a value, and the columns along the other."""
    return all(shape[dim] == 1 or axis.strides[dim] != 0 for axis, dim in zip(seen, along, strict=True))


def _last(graph: Graph, fields: ReceptiveFields, values: Sequence[int]) -> LayerNode | None:
    """The last map on the way to `values`."""
    nodes = graph.ancestors(values)
    ran = {node.index for node in nodes}
    layers = [each for each in graph.layers() if each.node in ran and len(each.shape) == 3 and _seen(fields, each)]
    if not layers:
        return None
    last = next((each for each in reversed(layers) if each.shape[1:] != (1, 1)), layers[-1])  # not one that is pooled
    reached = [node for node in nodes if last.response in node.outputs]
    if not reached:  # the target is a value before the response
        return last if last.output == last.response else map_of(graph, fields, last.output)
    behind = [node for node in nodes if node.index > reached[0].index]
    maps = [found for node in behind if (found := map_of(graph, fields, node.outputs[0])) is not None]
    return next((each for each in reversed(maps) if each.shape[1:] == last.shape[1:]), last)


def _seen(fields: ReceptiveFields, layer: LayerNode) -> bool:
    return layer.response in fields.convolutional


def _named(graph: Graph, fields: ReceptiveFields, address: Layer) -> LayerNode:
    """A layer's response, or the last map that a module, or an operation in it, gives in a call."""
    try:
        layer = graph.layer(address)
    except AddressError:
        name = graph.aliases.get(address.name, address.name)
        nodes = [node for node in graph.nodes if _inside(node, name, address)]
        maps = [found for node in nodes if (found := map_of(graph, fields, node.outputs[0])) is not None]
        if not maps:
            raise
        return maps[-1]
    if len(layer.shape) != 3 or not _seen(fields, layer):
        raise AddressError(f"layer {address} has no map on the image: one image gives it the shape {layer.shape}")
    return layer


def _inside(node: Node, name: str, address: Layer) -> bool:
    module, call = node.module
    if address.operation is not None and node.op.removesuffix("_") != address.operation:
        return False
    if (module or ROOT) == name:
        return call == address.call
    return module.startswith(f"{name}.") and not address.call and address.operation is None


def _address(graph: Graph, node: Node) -> Layer:
    """The module that gave it, and the operation, if the module is no single one."""
    module, call = node.module
    alone = sum(other.module == node.module and other.ordinal is not None for other in graph.nodes) == 1
    return Layer(module or ROOT, None if alone and module else node.op.removesuffix("_"), call)


def _check_reached(graph: Graph, layer: LayerNode, ends: Sequence[tuple[int, ...]]) -> None:
    for values in dict.fromkeys(ends):
        if all(layer.response not in node.outputs for node in graph.ancestors(values)):
            raise AttributionError(
                f"the target does not depend on the map of {layer.address}; leave layer= out, and the last map that it "
                "depends on is taken"
            )
