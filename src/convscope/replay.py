"""Run a recorded graph again on an image in which windows are changed, and compute only what that can change.

For each value the receptive fields say in which box it can differ. Convolutions, pools and all that works position by
position then run on crops of the unchanged image's maps, with as much around them as they look at; where the box is
most of the map, or an operation has no rule for crops, it runs in full. Whatever runs is the recorded operation itself.

>>> replay = Replay(network.module, record(network.module, network.example()))
>>> for numbers, values in replay.windows(image, boxes, content):
...     scores[numbers] = values[replay.values[0]]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope import capture
from convscope.crop_rules import is_local, rule_for
from convscope.crops import Patches, Places, by_position, cut, maps
from convscope.execution import alone, is_repeatable, one_by_one, runs_together, tensors_in, together, written_by
from convscope.geometry import Ints
from convscope.graph import Graph, Node, sources
from convscope.reach import MOST, Reach, batches, reach
from convscope.receptive_field import exact_fields
from convscope.touched import COPIES, is_view

# Where values are no maps any more, most of the time goes into reading the weights: so many windows at a time, but not
# more than so many bytes of them.
_HEAD, _HEAD_BYTES = 256, 1 << 26
_BATCH_BYTES = 1 << 27  # of the largest value of a batch

_SPARSE = 0.25  # of the cells of a value's windows: of fewer that are read each is computed by itself

Values = dict[int, Tensor]  # of the graph; for several windows, one after the other in the first dimension
Where = Sequence[tuple[int, tuple[Any, ...]]]  # values with places (m,) along each dimension but the first
Planned = tuple[dict[int, Reach], list[Ints]]


class Replay:
    """A recorded graph that can be run again with windows of the image changed.

    Args:
        module: what was recorded.
        graph: of one image.
        values: of the graph, to be computed; without them its first output.
    """

    def __init__(self, module: nn.Module, graph: Graph, values: Iterable[int] = ()) -> None:
        if graph.batch != 1:
            raise ValueError(f"the graph was recorded with {graph.batch} images; record it with one")
        self.module, self.graph = module, graph
        self.values = tuple(values) or graph.outputs[:1]
        self.repeatable = all(is_repeatable(node, graph) for node in graph.nodes)
        self.nodes = _needed(graph, self.values, lambda node: node.inputs)
        self.varying = [node for node in _needed(graph, self.values, sources) if _depends(node, graph)]
        rules = {node.index: rule_for(node, graph, self.users.keys()) for node in self.varying}
        self.rules = {index: rule for index, rule in rules.items() if rule is not None}
        self.together = {node.index for node in self.varying if runs_together(node, graph)}
        self.fields = exact_fields(graph)
        self._planned: tuple[Ints, Planned] | None = None
        on_maps = [i for i, node in enumerate(self.varying, 1) if _works_on_maps(node, graph)]
        self.body, self.head = self.varying[: max(on_maps, default=0)], self.varying[max(on_maps, default=0) :]

    @cached_property
    def users(self) -> dict[int, int]:
        """How many of the nodes that depend on the image use each value; those that are wanted are used once more."""
        found = dict.fromkeys(self.values, 1)
        for node in self.varying:
            for value in dict.fromkeys(node.inputs):
                found[value] = found.get(value, 0) + 1
        return found

    @cached_property
    def through(self) -> list[int]:
        """The values that are taken from the body to the head of the network, or are wanted."""
        made = {self.graph.input}.union(*(node.outputs for node in self.body))
        used = dict.fromkeys([value for node in self.head for value in node.inputs] + list(self.values))
        return [value for value in used if value in made]

    def may_overwrite(self, value: int) -> bool:
        """Whether nobody else looks at the memory of a value."""
        node = self.graph.producers.get(value)
        if node is None or node.function is None or node.function.is_view or self.users[value] > 1:
            return False
        return not is_view(node) and node.op not in COPIES

    @torch.no_grad()
    def windows(self, image: Tensor, boxes: Ints, content: Tensor, batch: int = 64) -> Iterator[tuple[Ints, Values]]:
        """Run the graph once for each window.

        Args:
            image: (c, h, w), as the network takes it.
            boxes: what is changed in each run, (n, 4): y0, x0, y1, x1, inside the image.
            content: what is put there, (c, height, width) or one for each, (n, c, height, width); a colour (c, 1, 1)
                fills windows of any size.
            batch: windows at a time; fewer where their maps would take much memory.

        Yields:
            The numbers of some windows, (k,), and the values for them, each as recorded but of k images. Every window
            comes once, in an order that suits the computation.

        Raises:
            CaptureError: the network looks at numbers, and does something else than in the recorded pass.
        """
        shape = self.graph.shapes[self.graph.input]
        if tuple(image.shape) != shape[1:]:
            raise ValueError(f"the image is of shape {tuple(image.shape)}, the recorded one of {shape[1:]}")
        content = content.to(image).expand(len(boxes), *content.shape[-3:])
        if not len(boxes):
            return
        if not self.repeatable:
            yield from self._one_by_one(image, boxes, content)
            return
        base, plan = self._base(image), self._plan(boxes, batch, self.values)
        waiting: list[tuple[Ints, Values]] = []
        for numbers, run in self._runs(base, boxes, content, plan):
            waiting.append((numbers, run.results(self.body, self.through)))
            if _is_enough(waiting):
                yield self._finish(base, waiting)
                waiting = []
        if waiting:
            yield self._finish(base, waiting)

    @torch.no_grad()
    def readings(
        self, image: Tensor, boxes: Ints, content: Tensor, cells: Sequence[tuple[int, Ints]], batch: int = 64
    ) -> Iterator[tuple[Ints, list[Tensor]]]:
        """Run the graph once for each window, and read single numbers of maps; no map is put together for it.

        Args:
            image, boxes, content, batch: see `windows`.
            cells: values that are maps, each with places (m,) among the numbers of one image in order.

        Yields:
            The numbers of some windows, (k,), and for each of `cells` what stands there, (k, m).

        Raises:
            CaptureError: see `windows`.
        """
        content = content.to(image).expand(len(boxes), *content.shape[-3:])
        where: Where = [(value, np.unravel_index(each, self.graph.shapes[value][1:])) for value, each in cells]
        if not self.repeatable:
            for numbers, values in self._one_by_one(image, boxes, content):
                yield numbers, [values[value][:, *index] for value, index in where]
            return
        if self._planned is None or not np.array_equal(self._planned[0], boxes):  # the same for every image, mostly
            self._planned = boxes.copy(), self._plan(boxes, batch)
        for numbers, run in self._runs(self._base(image), boxes, content, self._planned[1]):
            yield numbers, run.read(where)

    @cached_property
    def tails(self) -> dict[int, list[Node]]:
        """Of each wanted value the nodes that nothing else needs, from the last convolution on; only where all of them
        can run in crops, and those behind it look at no cell beside theirs.
        """
        found = {}
        for value in self.values:
            others = {node.index for node in _needed(self.graph, [v for v in self.values if v != value], sources)}
            own = [node for node in self.body if node.index not in others]
            own = own[max((i for i, node in enumerate(own) if node.op == "convolution"), default=len(own)) :]
            in_crops = all(node.index in self.rules for node in own)
            if own and in_crops and all(is_local(node, self.graph) for node in own[1:]) and self.users[value] == 1:
                found[value] = own
        return found

    def _base(self, image: Tensor) -> Base:
        base = Base(self, image[None].clone(memory_format=torch.channels_last))
        base.lay_weights_out()
        return base

    def _plan(self, boxes: Ints, batch: int, whole: Sequence[int] = ()) -> Planned:
        """Where the windows reach on every value, and the numbers of the windows of each batch.

        Args:
            whole: the values of which all of the map will be needed.
        """
        reaches = self._reaches(boxes)
        return reaches, self._batches(reaches, len(boxes), batch, whole)

    def _runs(self, base: Base, boxes: Ints, content: Tensor, plan: Planned) -> Iterator[tuple[Ints, _Run]]:
        """For each batch of windows the numbers of these, and a run in which they are changed."""
        reaches, parts = plan
        for numbers in parts:
            run = _Run(self, base, len(numbers), {value: each.places(numbers) for value, each in reaches.items()})
            run.change(boxes[numbers], content[torch.from_numpy(numbers)])
            yield numbers, run

    def _finish(self, base: Base, parts: list[tuple[Ints, Values]]) -> tuple[Ints, Values]:
        """The rest of the network for several batches at once."""
        numbers = np.concatenate([each for each, _ in parts])
        whole = {value: torch.cat([found[value] for _, found in parts]) for value in self.through}
        return numbers, self.in_full(base, self.head, whole, len(numbers), self.values)

    def in_full(self, base: Base, nodes: Sequence[Node], given: Values, count: int, values: Iterable[int]) -> Values:
        """Run some nodes on all of `count` images, and return some values.

        Args:
            given: what the nodes start from, of so many images; they may write into its memory.
        """
        run = _Run(self, base, count, {})
        run.wholes = dict(given)
        return run.results(nodes, values)

    def _one_by_one(self, image: Tensor, boxes: Ints, content: Tensor) -> Iterator[tuple[Ints, Values]]:
        """The definition, for networks that look at numbers."""
        for number, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
            found: Values = {}
            changed = image.clone()
            changed[:, y0:y1, x0:x1] = content[number]
            taps = {value: _keeping(found, value) for value in self.values if value not in self.graph.outputs}
            result = capture.run(self.module, changed[None], self.graph, taps)
            found |= zip(self.graph.outputs, tensors_in(result), strict=True)
            yield np.array([number]), {value: found[value] for value in self.values}

    def _reaches(self, boxes: Ints) -> dict[int, Reach]:
        """Where the windows can change each value that may be computed in windows."""
        top, left, bottom, right = boxes.T
        found = {self.graph.input: Reach(top, left, bottom, right, self._size(self.graph.input))}
        for node in self.body:
            used = [value for value in node.outputs if value in self.users]
            if node.index in self.rules and self.fields.keys() >= set(used):
                # The parts of a map that is split are cut out in the same places.
                each = reach([self.fields[value] for value in used], self._size(used[0]), boxes)
                found |= dict.fromkeys(used, each)
        return found

    def _size(self, value: int) -> tuple[int, int]:
        height, width = self.graph.shapes[value][-2:]
        return height, width

    def _batches(self, reaches: dict[int, Reach], count: int, most: int, whole: Sequence[int]) -> list[Ints]:
        most = max(1, min(most, _BATCH_BYTES // self._bytes(reaches, whole)))
        layers = [node for node in self.body if node.op == "convolution" and node.outputs[0] in reaches]
        if not layers:
            return [np.arange(first, min(first + most, count)) for first in range(0, count, most)]
        weights = [math.prod(self.graph.shapes[node.arguments["weight"].value]) for node in layers]
        return batches([reaches[node.outputs[0]] for node in layers], weights, most)

    def _bytes(self, reaches: dict[int, Reach], whole: Sequence[int]) -> int:
        """What the largest value of one window takes, of four bytes each number."""
        largest = 0
        for value in (value for node in self.body for value in node.outputs if value in self.users):
            share = reaches[value].share if value in reaches and value not in whole else 1.0
            largest = max(largest, math.ceil(4 * share * math.prod(self.graph.shapes[value])))
        return max(1, largest)


class Base:
    """What all values are for an unchanged image (1, c, h, w), and those that do not depend on it."""

    def __init__(self, replay: Replay, image: Tensor) -> None:
        self.replay, graph = replay, replay.graph
        self.tensors: Values = graph.constants | {graph.input: image}
        self.rows: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        for node in replay.nodes:
            own = self.tensors | {value: self.tensors[value].clone() for value in written_by(node)}
            self.tensors |= zip(node.outputs, alone(node, graph, own), strict=True)

    def lay_weights_out(self) -> None:
        """In memory as convolutions of crops need them; else PyTorch does it at every call."""
        for node in self.replay.varying:
            if node.op == "convolution" and len(node.arguments["stride"]) == 2:
                weight = node.arguments["weight"].value
                self.tensors[weight] = self.tensors[weight].contiguous(memory_format=torch.channels_last)

    def by_position(self, value: int, shape: tuple[int, ...]) -> Tensor:
        """A map, or a constant that expands to one of this shape (1, ..., h, w), by positions."""
        if (value, shape) not in self.rows:
            tensor = self.tensors[value]
            lead = (1,) * (len(shape) - max(tensor.ndim, 2))
            self.rows[value, shape] = by_position(tensor.expand(*lead, *tensor.shape[:-2], *shape[-2:]))
        return self.rows[value, shape]


class _Run:
    """The values for some windows; `places` says where each is computed if it is computed in windows."""

    def __init__(self, replay: Replay, base: Base, count: int, places: dict[int, Places]) -> None:
        self.replay, self.graph, self.base, self.count, self.places = replay, replay.graph, base, count, places
        self.patches: dict[int, Patches] = {}
        self.wholes: Values = {}

    def change(self, boxes: Ints, content: Tensor) -> None:
        """Put a content (n, c, h, w) in each box of the image."""
        value = self.graph.input
        places = self.places[value]
        if (boxes[:, 2:] - boxes[:, :2] == (places.height, places.width)).all():
            filled = content.expand(*content.shape[:2], places.height, places.width)
            self.patches[value] = Patches(places, by_position(filled))
            return
        rows = cut(self.base.by_position(value, self.graph.shapes[value]), None, places)
        for row, box, colours, top, left in zip(rows, boxes, content, places.top, places.left, strict=True):
            y0, x0, y1, x1 = box - (top, left, top, left)
            row[y0:y1, x0:x1] = colours.movedim(0, -1)
        self.patches[value] = Patches(places, rows)

    def results(self, nodes: Sequence[Node], values: Iterable[int]) -> Values:
        """Run some nodes, and return some values in full."""
        for _ in self._steps(nodes):
            pass
        return {value: self._wanted(value) for value in values}

    def read(self, where: Where) -> list[Tensor]:
        """Run the nodes on maps, and return what stands at some places (m,) of their values, (n, m) each."""
        tails = {value: nodes for value, nodes in self.replay.tails.items() if self._is_sparse(value, where)}
        left_out = {node.index for nodes in tails.values() for node in nodes}
        found: dict[int, Tensor] = {}
        for node in self._steps([node for node in self.replay.body if node.index not in left_out]):
            found |= {i: self._read(*each) for i, each in enumerate(where) if each[0] in node.outputs}
        found |= {i: self._read_cells(tails[each[0]], *each) for i, each in enumerate(where) if each[0] in tails}
        return [found[i] for i in range(len(where))]

    def _is_sparse(self, value: int, where: Where) -> bool:
        """Whether few of the cells that may have changed are read, so that these are computed one by one."""
        places = self.places.get(value)
        if places is None or math.prod(self.graph.shapes[value][-2:]) * MOST <= 1:
            return False
        pairs = sum(int(self._cells(places, index)[2].sum()) for other, index in where if other == value)
        return pairs < _SPARSE * self.count * places.height * places.width

    def _cells(self, places: Places, index: tuple[Any, ...]) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """The different cells (u, 2) among those of an index, which of them each is (m,), and whether each lies in the
        place of each window, (n, u).
        """
        cells, which = np.unique(np.stack(index[-2:], 1), axis=0, return_inverse=True)
        y, x = cells[:, 0] - places.top[:, None], cells[:, 1] - places.left[:, None]
        return cells, which.ravel(), (y >= 0) & (y < places.height) & (x >= 0) & (x < places.width)

    def _read_cells(self, nodes: Sequence[Node], value: int, index: tuple[Any, ...]) -> Tensor:
        """Run the last nodes for the cells that are read alone, each as a window of one cell."""
        cells, which, inside = self._cells(self.places[value], index)
        window, cell = np.nonzero(inside)
        found = self.base.tensors[value][0, *index].repeat(self.count, 1)
        if not len(window):
            return found
        places = Places(cells[cell, 0], cells[cell, 1], 1, 1)
        run = _Run(self.replay, self.base, len(window), {made: places for node in nodes for made in node.outputs})
        for source in {source for node in nodes for source in node.inputs} - run.places.keys():
            if source in self.graph.dependent:
                run.patches[source] = self._patches(source).taken(window)
        for node in nodes:
            run._step(node)
        numbers = np.zeros(inside.shape, np.int64)
        numbers[window, cell] = np.arange(len(window))
        where, place = np.nonzero(inside[:, which])
        others = [each[place] for each in index[:-2]]
        found[where, place] = run.patches[value].rows[numbers[where, which[place]], 0, 0, *others]
        return found

    def _patches(self, value: int) -> Patches:
        if value in self.patches:
            return self.patches[value]
        nowhere = np.zeros(self.count, np.int64)
        return Patches(Places(nowhere, nowhere, *self.graph.shapes[value][-2:]), by_position(self._whole(value)))

    def _steps(self, nodes: Sequence[Node]) -> Iterator[Node]:
        """Run each node in turn; what none of the others will use is forgotten."""
        left = dict(self.replay.users)
        for node in nodes:
            self._step(node)
            yield node
            for value in dict.fromkeys(node.inputs):
                left[value] -= 1
                if not left[value]:
                    self.patches.pop(value, None)
                    self.wholes.pop(value, None)

    def _read(self, value: int, index: tuple[Any, ...]) -> Tensor:
        patches = self.patches.get(value)
        if patches is None:
            return self._whole(value)[:, *index]
        found = self.base.tensors[value][0, *index].repeat(self.count, 1)
        *others, y, x = index
        row, column = y - patches.places.top[:, None], x - patches.places.left[:, None]
        inside = (row >= 0) & (row < patches.places.height) & (column >= 0) & (column < patches.places.width)
        window, place = np.nonzero(inside)
        found[window, place] = patches.rows[window, row[inside], column[inside], *(each[place] for each in others)]
        return found

    def _step(self, node: Node) -> None:
        used = [value for value in node.outputs if value in self.replay.users]
        rule, places = self.replay.rules.get(node.index), self.places.get(used[0])
        if rule is None or places is None or not self._pays(node, places):
            results = dict(zip(node.outputs, self._in_full(node), strict=True))
            self.wholes |= {value: results[value] for value in used}
        else:
            results = dict(zip(node.outputs, tensors_in(rule(node, self, places)), strict=True))
            self.patches |= {value: Patches(places, by_position(results[value])) for value in used}

    def _pays(self, node: Node, places: Places) -> bool:
        """Whether all inputs are there in windows, and these are small or do not become larger."""
        inputs = [self.patches.get(value) for value in dict.fromkeys(node.inputs) if value in self.graph.dependent]
        if any(patches is None for patches in inputs):
            return False
        small = places.height * places.width < MOST * math.prod(self.graph.shapes[node.outputs[0]][-2:])
        return small or (len(inputs) == 1 and places.same(inputs[0].places))  # type: ignore[union-attr]

    # --- what rules ask for -------------------------------------------------------------------------------------------

    def tensor(self, value: int) -> Tensor:
        """A value that does not depend on the image."""
        return self.base.tensors[value]

    def crop(self, value: int, places: Places, *, fill: float = 0.0, shape: tuple[int, ...] = ()) -> Tensor:
        """A map in some places, (n, ..., height, width), with `fill` beyond its borders."""
        patches = self.patches.get(value)
        if patches is not None and patches.places.same(places):
            return patches.maps
        return maps(cut(self.base.by_position(value, shape or self.graph.shapes[value]), patches, places, fill))

    def to_write(self, value: int, places: Places) -> Tensor:
        """The same in memory that may be written into."""
        crop = self.crop(value, places)
        return crop if self.replay.may_overwrite(value) or not self.patches[value].places.same(places) else crop.clone()

    # --- in full ------------------------------------------------------------------------------------------------------

    def _wanted(self, value: int) -> Tensor:
        if value in self.graph.dependent:
            return self._whole(value)
        constant = self.base.tensors[value]  # the same for all windows
        return constant.repeat(self.count, *(1,) * (constant.ndim - 1))

    def _whole(self, value: int) -> Tensor:
        if value not in self.wholes:
            nowhere = np.zeros(self.count, np.int64)
            self.wholes[value] = self.crop(value, Places(nowhere, nowhere, *self.graph.shapes[value][-2:]))
        return self.wholes[value]

    def _in_full(self, node: Node) -> list[Tensor]:
        tensors = {v: self._whole(v) if v in self.graph.dependent else self.base.tensors[v] for v in node.inputs}
        if node.index not in self.replay.together:
            return one_by_one(node, self.graph, tensors, self.count)
        owned = {value for value in written_by(node) if self.replay.may_overwrite(value)}
        tensors |= {value: tensors[value].clone() for value in written_by(node) - owned}
        return together(node, self.graph, tensors, self.count)


def _needed(graph: Graph, values: Sequence[int], inputs: Callable[[Node], tuple[int, ...]]) -> list[Node]:
    """The nodes on the way to some values, in the order in which they ran; `inputs` says which ones of a node count."""
    wanted, found = set(values), []
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted.update(inputs(node))
            found.append(node)
    return found[::-1]


def _depends(node: Node, graph: Graph) -> bool:
    return not graph.dependent.isdisjoint(sources(node))


def _works_on_maps(node: Node, graph: Graph) -> bool:
    return any(len(graph.shapes[v]) > 2 for v in (*node.inputs, *node.outputs) if v in graph.dependent)


def _is_enough(parts: list[tuple[Ints, Values]]) -> bool:
    memory = sum(tensor.nbytes for _, found in parts for tensor in found.values())
    return sum(len(numbers) for numbers, _ in parts) >= _HEAD or memory >= _HEAD_BYTES


def _keeping(found: Values, value: int) -> Callable[[Tensor], None]:
    def keep(tensor: Tensor) -> None:
        found[value] = tensor.clone()

    return keep
