"""What is explained of one image in a pass: the number of a class, the response of a unit, or the result of a function.

`convscope.targets` makes these from what users write. They are fixed in the pass on the image itself, so that other
images can be scored by the same class and the same position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convscope.address import Neuron, Unit
from convscope.errors import TargetError
from convscope.graph import Graph, LayerNode
from convscope.network import logits


@dataclass(frozen=True, eq=False)
class Seen:
    """What a pass gave for n images, to take scores from.

    Args:
        images: how many.
        output: what the network returned.
        values: of the graph, those that the targets read, (n, ...).
        results: of functions of the output, by their id, each computed once.
    """

    images: int
    output: Any
    values: dict[int, Tensor]
    results: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassTarget:
    """A class of the output.

    Args:
        value: of the graph that holds the scores of the classes (n, classes); None for the first output itself.
        given: what these are: "logit", "probability", "logprob" or "output", a real value.
        link: what makes probabilities of logits: "softmax" or "sigmoid".
    """

    index: int | None
    of: str
    value: int | None
    given: str
    link: str
    names: tuple[str, ...] | None = None

    @property
    def values(self) -> tuple[int, ...]:
        """What is read in the pass."""
        return () if self.value is None else (self.value,)

    def ends(self, graph: Graph) -> tuple[int, ...]:
        """The values that it is a function of."""
        return self.values or graph.outputs[:1]

    @property
    def kind(self) -> str:
        """The number that is explained: "logit", "probability", "logprob" or "output"."""
        return self.given if self.of == "logit" else self.of

    @property
    def note(self) -> str:
        """What must be known of the number that is explained; empty where nothing."""
        if self.value is not None:
            return f"the network ends in a {self.link}; what is explained is computed from the logits before it"
        if self.of == "logit" and self.kind in {"probability", "logprob"}:
            return f"the network gives each class a {self.kind} and no logit that can be read, so that is explained"
        return ""

    def __str__(self) -> str:
        name = f" ({self.names[self.index]})" if self.names and self.index is not None else ""
        return f"class {self.index}{name}"

    def fix(self, seen: Seen, row: int) -> ClassTarget:
        """With the predicted class where none is given, and probabilities known as such."""
        scores = self._scores(seen)[row].detach()
        index = int(scores.argmax()) if self.index is None else self.index
        sums_to_one = self.link == "softmax" and len(scores) > 1 and bool((scores >= 0).all() & _is_one(scores.sum()))
        given = "probability" if self.given == "logit" and sums_to_one else self.given
        return replace(self, index=index, given=given)

    def score(self, seen: Seen, row: int) -> Tensor:
        """The number that is explained, ()."""
        scores = self._scores(seen)[row]
        if self.of == "logit" or self.of == self.given:
            return scores[self.index]
        if self.given == "probability":
            return scores[self.index].log()
        if self.given == "logprob":
            return scores[self.index].exp()
        if self.link == "sigmoid":
            return scores[self.index].sigmoid() if self.of == "probability" else F.logsigmoid(scores[self.index])
        return (scores.softmax(0) if self.of == "probability" else scores.log_softmax(0))[self.index]

    def every(self, seen: Seen, row: int) -> Tensor:
        """The probability of each class, or its real value where the network gives these, (classes,)."""
        given, scores = self.fix(seen, row).given, self._scores(seen)[row]
        if given == "logprob":
            return scores.exp()
        if given != "logit":
            return scores
        return scores.sigmoid() if self.link == "sigmoid" else scores.softmax(0)

    def ranked(self, seen: Seen, row: int) -> list[int]:
        """The classes from the best to the worst, the lower one first where two are equal."""
        return self._scores(seen)[row].sort(descending=True, stable=True).indices.tolist()

    def _scores(self, seen: Seen) -> Tensor:
        return logits(seen.output) if self.value is None else seen.values[self.value].flatten(1)


@dataclass(frozen=True)
class UnitTarget:
    """A unit of a layer, at its response.

    Args:
        place: rank of its position among those of the map; None for where it is largest, the first of equals.
    """

    layer: LayerNode
    unit: int
    place: int | None
    kind: ClassVar[str] = "response"
    note: ClassVar[str] = ""

    @property
    def values(self) -> tuple[int, ...]:
        """What is read in the pass."""
        return (self.layer.response,)

    def ends(self, graph: Graph) -> tuple[int, ...]:
        """The values that it is a function of."""
        return self.values

    @property
    def columns(self) -> int:
        """Of the map; a layer whose places are no map has one row of them."""
        return self.layer.shape[2] if len(self.layer.shape) == 3 else math.prod(self.layer.shape[1:])

    def __str__(self) -> str:
        unit = Unit(self.layer.address, self.unit)
        if self.place is None or len(self.layer.shape) == 1:
            return str(unit)
        return str(Neuron(unit, *divmod(self.place, self.columns)))

    def fix(self, seen: Seen, row: int) -> UnitTarget:
        """At the position where it is largest, if none is given."""
        return self if self.place is not None else replace(self, place=int(self._map(seen, row).argmax()))

    def score(self, seen: Seen, row: int) -> Tensor:
        """Its response, ()."""
        return self._map(seen, row)[self.place]

    def _map(self, seen: Seen, row: int) -> Tensor:
        """(positions,)."""
        return seen.values[self.layer.response].movedim(self.layer.channel, 1)[row, self.unit].reshape(-1)


@dataclass(frozen=True)
class FunctionTarget:
    """A number that a function makes of the output."""

    function: Callable[[Any], Tensor]
    kind: ClassVar[str] = "function"
    note: ClassVar[str] = ""
    values: ClassVar[tuple[int, ...]] = ()

    def ends(self, graph: Graph) -> tuple[int, ...]:
        """The values that it is a function of: any of what the network returns."""
        return graph.outputs

    def __str__(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def fix(self, seen: Seen, row: int) -> FunctionTarget:
        """Itself."""
        return self

    def score(self, seen: Seen, row: int) -> Tensor:
        """The number, ()."""
        if id(self.function) not in seen.results:
            seen.results[id(self.function)] = self._checked(self.function(seen.output), seen.images)
        return seen.results[id(self.function)][row]

    def _checked(self, result: Any, images: int) -> Tensor:
        if not isinstance(result, Tensor) or result.shape != (images,):
            found = f"a tensor {tuple(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
            raise TargetError(
                f"the target {self} gave {found} for {images} images, where a number for each is expected: ({images},)"
            )
        if torch.is_grad_enabled() and not result.requires_grad:
            raise TargetError(f"the target {self} does not depend on the output of the network differentiably")
        return result


Fixed = ClassTarget | UnitTarget | FunctionTarget


def _is_one(total: Tensor) -> Tensor:
    return (total - 1).abs() < 1e-4
