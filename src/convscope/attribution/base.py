"""What a method of attribution is: what it is asked, what it answers, and the map that is made of it."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from convscope import gradients
from convscope.backward_rules import Rule
from convscope.errors import AttributionError, NetworkError, NotFiniteError
from convscope.geometry import Grid, Spans
from convscope.graph import Graph
from convscope.network import Network
from convscope.recorder import record
from convscope.scored import Fixed, Seen
from convscope.targets import Targets, understand

BATCH = 16  # images that are explained at once: it bounds memory, and changes nothing else
PASSES = 32  # variants of an image that are run at once
_PIECE = 32 << 20  # bytes: larger pieces of memory are new from the system each time (glibc), a quarter of a pass


@dataclass(frozen=True, eq=False)
class AttributionMap:
    """Maps of n images, and what must be known to read them.

    Args:
        values: (n, 1 or c, h, w) float32, on the CPU.
        method: with its parameters.
        targets: (n,) what was explained, as "class 7 (tabby)"; a unit with the position of its maximum.
        scores: (n,) float64, of the targets.
        score: what they are: "logit", "probability", "logprob", "output" (a real value), "response" or "function".
        sign: what positive and negative values mean.
        grid: where the cells of the maps lie on the image.
        evidence: numbers (n,) by which the map can be judged, such as the gap of a sum that should be complete.
        notes: what else must be known.
        blank: (n,) why a map is zero everywhere; None where it is not.
        error: the standard error of each value, as `values`; None where nothing is sampled, or it is not known.
    """

    values: Tensor
    method: Attribution
    targets: tuple[str, ...]
    scores: Tensor
    score: tuple[str, ...]
    sign: str
    grid: Grid
    evidence: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    blank: tuple[str | None, ...] = ()
    error: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def seed(self) -> int | None:
        """Of the random numbers; None where there are none."""
        return getattr(self.method, "seed", None)

    def only(self, row: int) -> AttributionMap:
        """The map of one of the images."""
        one = slice(row, row + 1)
        return dataclasses.replace(
            self,
            values=self.values[one],
            targets=self.targets[one],
            scores=self.scores[one],
            score=self.score[one],
            evidence={name: numbers[one] for name, numbers in self.evidence.items()},
            blank=self.blank[one],
            error=None if self.error is None else self.error[one],
        )

    def on_image(self, how: str = "field") -> Tensor:
        """The maps at the size of the image, (n, h, w), each value at the centre of the field of its cell.

        Args:
            how: "field", or "naive": a plain resize of the map, as most toolkits do, to reproduce their pictures.

        Raises:
            AttributionError: a map has several channels (it consists of pixels already), or no cell sees anything.
        """
        if self.values.shape[1] != 1:
            raise AttributionError(
                f"a map of {self.values.shape[1]} channels consists of pixels already: use its values, or reduce them"
            )
        return placed(self.values[:, 0], self.grid, how)

    def to_json(self) -> dict[str, Any]:
        """All but the values and their errors, as plain numbers and text."""
        return {
            "method": self.method.name, "parameters": dataclasses.asdict(self.method), "targets": list(self.targets),
            "scores": self.scores.tolist(), "score": list(self.score), "sign": self.sign, "grid": self.grid.to_json(),
            "evidence": {name: numbers.tolist() for name, numbers in self.evidence.items()},
            "notes": list(self.notes), "blank": list(self.blank),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Question:
    """A few images, each with what is to be explained of it.

    Args:
        images: (n, c, h, w), where the network is.
        targets: (n,); those of the pass that the answer names are fixed: they have a class and a position.
    """

    network: Network
    graph: Graph
    images: Tensor
    targets: tuple[Fixed, ...]

    def run(
        self,
        images: Tensor | None = None,
        targets: Sequence[Fixed] | None = None,
        rule: Rule | None = None,
        keep: Sequence[int] = (),
    ) -> gradients.Pass:
        """A pass on these images, or on others (n, c, h, w) in their place, as `convscope.gradients.run` makes it."""
        images = self.images if images is None else images
        return gradients.run(self.network, self.graph, images, targets or self.targets, rule, keep)

    def passes(self) -> int:
        """How many variants of an image to run at once; on a CPU fewer, down to 4, where maps are large."""
        if self.images.device.type != "cpu":
            return PASSES
        values = {value for node in self.graph.nodes for value in node.outputs} & self.graph.dependent
        largest = max(math.prod(self.graph.shapes[value]) for value in (self.graph.input, *values))
        return max(4, min(PASSES, _PIECE // (largest * self.images.element_size())))


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method found for the images of a question.

    Args:
        values: (n, 1 or c, h, w).
        explained: the pass on the images themselves: its targets and scores are what was explained.
        evidence: numbers (n,).
        notes: what else must be known.
        blank: (n,) why a map is zero everywhere, where the method knows.
        grid: where the cells of the maps lie; None where they are pixels of the input.
        error: the standard error of each value, as `values`, where it is sampled.
    """

    values: Tensor
    explained: gradients.Pass
    evidence: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    blank: tuple[str | None, ...] | None = None
    grid: Grid | None = None
    error: Tensor | None = None


@dataclass(frozen=True)
class Attribution(ABC):
    """A method with its parameters.

    Attributes:
        form: how its numbers are looked at: "parts" have a sign and are summed over channels; of a "size" there is no
            sign; a "pattern" is a picture around mid-grey; of a "level" only differences between pixels count.
        costly: whether it takes hundreds of passes an image.
    """

    name: ClassVar[str]
    sign: ClassVar[str]
    form: ClassVar[str] = "parts"
    costly: ClassVar[bool] = False

    def __call__(self, network: Network, images: Tensor, target: Targets = None) -> AttributionMap:
        """Explain the target of each image.

        Args:
            images: (n, c, h, w), as the network's preprocessing makes them.
            target: a class, a unit, a neuron or a function, or a list of n; see `convscope.targets`. Default: the
                predicted class of each image.

        Raises:
            TargetError: there is no such class, or the function gives no number for each image.
            AddressError: there is no such layer, unit or position.
            AttributionError: the map would be wrong: NaN, no gradient, a non-linearity that is out of reach.
            NetworkError: it is none, or does not run on the images.
        """
        images = checked(network, images)
        with gradients.untouched(network):
            graph, images = _recorded(network, images)
            targets = understand(target, network, graph, len(images))
        whole = Question(network, graph, images, targets)
        first, explained = self._part(whole, 0, BATCH)
        size, notes = (BATCH, ()) if len(images) == 1 or _is_independent(whole, explained) else (1, (_ALONE,))
        del explained  # and with it all that autograd keeps
        parts = [first] if size == BATCH else []
        parts += [self._part(whole, start, size)[0] for start in range(len(parts) * size, len(images), size)]
        return joined(parts, notes)

    @abstractmethod
    def explain(self, question: Question) -> Answer:
        """The maps of a few images. It runs inside `convscope.gradients.untouched`."""

    def _part(self, whole: Question, start: int, size: int) -> tuple[AttributionMap, gradients.Pass]:
        """The maps of some of the images, and the pass on them."""
        end = start + size
        part = dataclasses.replace(whole, images=whole.images[start:end], targets=whole.targets[start:end])
        try:
            with gradients.untouched(whole.network):
                answer = self.explain(part)
            values = answer.values.detach().to("cpu", torch.float32, memory_format=torch.contiguous_format)
            gradients.check_finite(values, "the map")
        except NotFiniteError as error:
            raise NotFiniteError(error.what, error.image + start) from error
        explained = answer.explained
        found = AttributionMap(
            values,
            self,
            tuple(map(str, explained.targets)),
            explained.scores.to("cpu", torch.float64),
            tuple(target.kind for target in explained.targets),
            self.sign,
            answer.grid or pixel_grid(*part.images.shape[2:]),
            {name: numbers.detach().to("cpu", torch.float64) for name, numbers in answer.evidence.items()},
            _notes(answer),
            _reasons(answer, values),
            None if answer.error is None else answer.error.detach().to("cpu", torch.float32),
        )
        return found, explained


_ALONE = "what the network gives for an image is not the same alone and in a batch, so each was explained alone"


def _is_independent(whole: Question, explained: gradients.Pass) -> bool:
    """Whether the last of some images gives the same alone: not so where a norm has the statistics of the batch."""
    last, values = len(explained.targets) - 1, list(explained.seen.values)
    with gradients.untouched(whole.network), torch.no_grad():
        alone = whole.run(whole.images[last : last + 1], explained.targets[last:], keep=values)
    pairs = zip(_numbers(alone.seen, values), _numbers(explained.seen, values), strict=True)
    return all(float((one[0] - many[last]).abs().max()) <= 1e-3 * float(many.abs().max()) for one, many in pairs)


def _numbers(seen: Seen, values: Sequence[int]) -> list[Tensor]:
    """All tensors of what was seen that have a row for each image."""
    leaves = tree_leaves([seen.output, [seen.values[value] for value in values]])
    tensors = [leaf.detach().double() for leaf in leaves if isinstance(leaf, Tensor) and leaf.numel()]
    return [tensor for tensor in tensors if tensor.shape[:1] == (seen.images,)]


def joined(parts: Sequence[AttributionMap], notes: tuple[str, ...] = ()) -> AttributionMap:
    """The maps of all images, of one method and on one grid."""
    if any(part.grid != parts[0].grid for part in parts):
        raise AttributionError("the targets have maps on different grids; explain them in calls of their own")
    errors = [part.error for part in parts if part.error is not None]
    return dataclasses.replace(
        parts[0],
        values=torch.cat([part.values for part in parts]),
        targets=tuple(target for part in parts for target in part.targets),
        scores=torch.cat([part.scores for part in parts]),
        score=tuple(kind for part in parts for kind in part.score),
        evidence={name: torch.cat([part.evidence[name] for part in parts]) for name in parts[0].evidence},
        notes=tuple(dict.fromkeys([*notes, *(note for part in parts for note in part.notes)])),
        blank=tuple(reason for part in parts for reason in part.blank),
        error=torch.cat(errors) if errors else None,
    )


def placed(maps: Tensor, grid: Grid, how: str) -> Tensor:
    """Maps (..., rows, columns) as pixels of the image (..., h, w), where and as the maps are.

    Raises:
        AttributionError: there is no such way to place them, or no cell sees anything.
    """
    try:
        rows, columns = (torch.from_numpy(matrix).to(maps) for matrix in grid.placement(how))
    except ValueError as error:
        raise AttributionError(f"the map cannot be placed on the image: {error}") from error
    return rows @ maps @ columns.T


def pixel_grid(height: int, width: int) -> Grid:
    """Where the cells of a map lie that are the pixels of the input."""
    rows, columns = np.arange(height, dtype=np.int64), np.arange(width, dtype=np.int64)
    return Grid(Spans(rows, rows + 1, height), Spans(columns, columns + 1, width))


def per_pixel(gradient: Tensor, network: Network) -> Tensor:
    """The gradient (n, c, h, w) by the input, as one by pixel values before normalisation.

    Without it a channel that was divided by a larger standard deviation would seem the weaker [METHODS 7.3].
    """
    return gradient / torch.tensor(network.preprocess.std, dtype=gradient.dtype, device=gradient.device).reshape(
        -1, 1, 1
    )


def checked(network: Network, images: Tensor) -> Tensor:
    """The images, where the network is.

    Raises:
        AttributionError: they are none, or not finite.
    """
    if not isinstance(network, Network):
        raise AttributionError(
            f"expected a network, not a {type(network).__name__}; make one with convscope.load(...) or "
            "convscope.wrap(module, preprocess=...)"
        )
    if not isinstance(images, Tensor) or images.dim() != 4 or not len(images) or not images.is_floating_point():
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise AttributionError(f"expected images as a tensor of real numbers (n, c, h, w), not {found}")
    gradients.check_finite(images, "the input")
    return images.detach().to(network.device)


def _recorded(network: Network, images: Tensor) -> tuple[Graph, Tensor]:
    """The graph, and the images in the memory format in which convolutions are fastest, if the network takes it."""
    faster = images.contiguous(memory_format=torch.channels_last)
    try:
        return record(network.module, faster[:1]), faster
    except NetworkError:  # as where a map is flattened by a view
        return record(network.module, images[:1]), images


def _notes(answer: Answer) -> tuple[str, ...]:
    """What must be known of the method, the targets and the rule."""
    targets = [target.note for target in answer.explained.targets if target.note]
    return tuple(dict.fromkeys([*answer.notes, *targets, *answer.explained.notes]))


def _reasons(answer: Answer, values: Tensor) -> tuple[str | None, ...]:
    """Why the maps are zero everywhere, for those that are."""
    known = answer.blank or (None,) * len(values)
    rows = zip(values, known, answer.explained.targets, answer.explained.scores.tolist(), strict=True)
    ruled = bool(answer.explained.redirected)
    return tuple(None if row.any() else why or _reason(target, score, ruled) for row, why, target, score in rows)


def _reason(target: Fixed, score: float, ruled: bool) -> str:
    if target.kind == "response" and score <= 0:
        return (
            f"the unit is inactive: the response of {target} is {score:.4g}, and no small change of the image matters"
        )
    if ruled:
        return "the signal is zero everywhere: no path to the image is left on which it stays positive"
    return "the gradient of the target is zero everywhere"
