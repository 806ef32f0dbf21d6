"""The score of any target and its gradient, for a batch of images, on a network that is left as it was.

>>> with untouched(network):
...     forward = run(network, graph, images, targets)
...     forward.scores, forward.gradient()

A score is computed from copies of what the pass gave, and its derivative by these is what goes back through the
network. So a value that the network writes over in place is read and differentiated at the moment at which it was
there, and the position of a unit's maximum is found in the pass in which it is explained.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from convscope import capture
from convscope.backward_rules import Redirected, Rule
from convscope.errors import AttributionError, ConvscopeError, NetworkError, NotFiniteError
from convscope.graph import Graph
from convscope.network import Network
from convscope.recorder import evaluating
from convscope.scored import Fixed, Seen
from convscope.targets import base_of

UNCONNECTED = (
    "the target is not connected with the image by differentiable operations: the network computes it without "
    "gradients (detach, no_grad, argmax, rounding)"
)


@dataclass(frozen=True, eq=False)
class End:
    """Where a backward pass can start or end: a place in autograd's graph, with a copy of what was there.

    Args:
        source: None where no gradient was recorded.
        shape: of the tensor that was there, of which the copy may be another view.
    """

    source: Tensor | GradientEdge | None
    copy: Tensor
    shape: torch.Size


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass, from which gradients can be taken.

    Args:
        targets: (n,) as they were explained: with the predicted class, and the position of a unit's maximum.
        scores: (n,) of the targets.
        seen: the output and the values that were read.
        redirected: how many of each non-linearity pass signals back by the rule.
        notes: what must be known of the rule's effect.
    """

    targets: tuple[Fixed, ...]
    scores: Tensor
    seen: Seen
    redirected: Counter[str]
    notes: tuple[str, ...]
    _pixels: Tensor
    _ends: dict[int, End]  # of the values that were read; those of the output have negative keys
    _scores: Tensor

    def gradient(self, weights: Tensor | None = None, *, by: int | None = None) -> Tensor:
        """∂(weight · score)/∂image of each image, (n, c, h, w), or by a value of the graph, of its shape.

        Args:
            weights: (n,) of the scores; 1 where none are given.
            by: a value among those that `run` was told to `keep`.

        Raises:
            AttributionError: the score has no gradient, or one that is not finite.
        """
        start = self._pixels if by is None else self._ends[by].source
        pairs = self._seeds(weights)
        found = None
        if pairs and start is not None:
            sources, seeds = zip(*pairs, strict=True)
            try:
                found = torch.autograd.grad(sources, start, seeds, retain_graph=True, allow_unused=True)[0]
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise AttributionError(f"PyTorch cannot differentiate the network: {error}") from error
        if found is None and (by is None or not pairs):
            raise AttributionError(UNCONNECTED)
        like = self._pixels if by is None else self.seen.values[by]
        gradient = torch.zeros_like(like) if found is None else found.detach().reshape(like.shape)
        check_finite(gradient, "the gradient")
        return gradient

    def pulled(self, value: int, seed: Tensor) -> Tensor:
        """∂(seed · value)/∂image, (n, c, h, w), of a value that `run` keeps; zero where nothing connects them.

        Args:
            seed: of the value's shape.

        Raises:
            AttributionError: PyTorch has no derivative of an operation.
        """
        end = self._ends[value]
        found = None
        if end.source is not None:
            try:
                seeds = seed.reshape(end.shape)
                found = torch.autograd.grad(end.source, self._pixels, seeds, retain_graph=True, allow_unused=True)[0]
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise AttributionError(f"PyTorch cannot differentiate the network: {error}") from error
        return torch.zeros_like(self._pixels) if found is None else found.detach()

    def _seeds(self, weights: Tensor | None) -> list[tuple[Tensor | GradientEdge, Tensor]]:
        """What the backward pass starts at, and the derivatives of the scores by these."""
        ends = [end for end in self._ends.values() if end.source is not None]
        total = (self._scores if weights is None else self._scores * weights.to(self._scores)).sum()
        if not ends or not total.requires_grad:
            return []
        found = torch.autograd.grad(total, [end.copy for end in ends], retain_graph=True, allow_unused=True)
        pairs = [(end, seed) for end, seed in zip(ends, found, strict=True) if seed is not None]
        return [(end.source, seed.reshape(end.shape)) for end, seed in pairs if end.source is not None]


def run(
    network: Network,
    graph: Graph,
    images: Tensor,
    targets: Sequence[Fixed],
    rule: Rule | None = None,
    keep: Sequence[int] = (),
) -> Pass:
    """Run the network on `images` (n, c, h, w), and score one target for each, or none; inside `untouched`.

    A network that draws random numbers draws the same ones in each pass.

    Args:
        graph: what `convscope.recorder.record` gave for the network.
        rule: what non-linearities do to the gradient.
        keep: values of the graph that are read beside those of the targets: `Pass.seen` has them, and `gradient(by=)`.

    Raises:
        AttributionError: the rule cannot be applied to the network, or a score is not finite.
        TargetError: a function of the output gives no number for each image.
        NetworkError: the network does not run on the images.
    """
    pixels = images.detach()  # the pass takes a copy
    pixels = (pixels.clone() if pixels.is_inference() else pixels).requires_grad_()
    watch = _Watch(
        graph, dict.fromkeys([*(value for target in targets for value in target.values), *keep]), len(images)
    )
    mode = None if rule is None else Redirected(rule)
    taps = watch.taps()
    if mode is not None:
        taps = _both(mode.taps(graph, [value for target in targets for value in target.ends(graph)]), taps)
    with mode or contextlib.nullcontext(), watch:
        result = result_of(network, graph, pixels, taps)
    redirected = Counter() if mode is None else mode.check()
    notes = () if mode is None else tuple(mode.notes())
    leaves = [leaf for leaf in tree_flatten(result)[0] if _is_real(leaf)]
    ends = {-1 - i: _end(leaf) for i, leaf in enumerate(leaves)}
    copies = {id(leaf): ends[-1 - i].copy for i, leaf in enumerate(leaves)}
    output = tree_map(lambda leaf: copies.get(id(leaf), leaf), result)
    seen = Seen(len(images), output, {value: end.copy for value, end in watch.ends.items()})
    fixed = tuple(target.fix(seen, row) for row, target in enumerate(targets))
    scores = (
        torch.stack([target.score(seen, row) for row, target in enumerate(fixed)]) if fixed else pixels.new_empty(0)
    )
    check_finite(scores, "the score")
    return Pass(fixed, scores.detach(), seen, redirected, notes, pixels, watch.ends | ends, scores)


def result_of(
    network: Network, graph: Graph, pixels: Tensor, taps: dict[int, capture.Tap], *, stop: bool = False
) -> Any:
    """What the network gives for images (n, c, h, w), with the same random numbers in each pass; see `capture.run`.

    Raises:
        NetworkError: the network does not run on the images.
    """
    torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the accelerators as well
    try:
        return capture.run(network.module, pixels, graph, taps, stop=stop)
    except (ConvscopeError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise NetworkError(f"the network failed on images of shape {tuple(pixels.shape)}: {error}") from error


@contextlib.contextmanager
def untouched(network: Network) -> Iterator[None]:
    """Gradients can be taken inside, in evaluation mode; afterwards the network and all else are as before.

    That is modes, buffers, and the global random state.
    """
    devices = [network.device] if network.device.type == "cuda" else []
    modes = torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices)
    with modes[0], modes[1], modes[2], evaluating(network.module), _same_buffers(network.module):
        yield


@contextlib.contextmanager
def _same_buffers(module: nn.Module) -> Iterator[None]:
    """Buffers that the network writes, or puts others in the place of, are restored."""
    owned = [(owner, name, buffer) for owner in module.modules() for name, buffer in owner._buffers.items()]
    before = [
        (owner, name, buffer, buffer.detach().clone(), buffer._version)
        for owner, name, buffer in owned
        if buffer is not None and not buffer.is_inference()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, name, buffer, content, version in before:
                owner._buffers[name] = buffer
                if buffer._version != version:
                    buffer.copy_(content)


def check_finite(numbers: Tensor, what: str) -> None:
    """Raise `NotFiniteError` if `numbers`, the first dimension of which is the image, are not all finite."""
    finite = torch.isfinite(numbers).flatten(1).all(1) if numbers.dim() > 1 else torch.isfinite(numbers)
    if not bool(finite.all()):
        raise NotFiniteError(what, int((~finite).nonzero()[0]))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # the base has no types
    """Keeps values of the graph: a copy of each, and its place in autograd's graph.

    A tensor has its place as soon as the next operation comes, and only until it is written over.
    """

    def __init__(self, graph: Graph, values: Iterable[int], images: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = graph
        self.values = list(values)
        self.images = images
        self.copying = False  # which is not the next operation
        self.ends: dict[int, End] = {}
        self.pending: list[tuple[int, Tensor, Tensor]] = []
        self.alive: list[Tensor] = []  # they hold the nodes of autograd's graph that are the places

    def taps(self) -> dict[int, capture.Tap]:
        """For `convscope.capture.run`."""
        found: dict[int, capture.Tap] = {}
        for value in self.values:
            base = base_of(self.graph, value)
            if base is None:
                raise AttributionError(f"value {value} of the graph is not the result of a computation")
            found = _both(found, {base: self._keep(value)})
        return found

    def _keep(self, value: int) -> capture.Tap:
        shape = self.graph.shapes[value][1:]

        def tap(tensor: Tensor) -> None:
            self.copying = True
            copy = tensor.detach().clone().reshape(-1, *shape)
            self.copying = False
            if len(copy) != self.images:
                raise AttributionError(
                    f"a layer gave {len(copy)} results for {self.images} images, so they cannot be told apart"
                )
            self.pending.append((value, tensor, copy))

        return tap

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not self.copying:
            self._settle()
        return func(*args, **(kwargs or {}))

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)  # type: ignore[no-untyped-call]
        self._settle()

    def _settle(self) -> None:
        for value, tensor, copy in self.pending:
            self.alive.append(tensor)
            node = tensor.grad_fn
            source = None if node is None else GradientEdge(node, tensor.output_nr)
            self.ends[value] = End(source, copy.requires_grad_(), tensor.shape)
        self.pending.clear()


def _end(leaf: Tensor) -> End:
    """Of what the network returned."""
    return End(leaf if leaf.requires_grad else None, leaf.detach().clone().requires_grad_(), leaf.shape)


def _both(one: dict[int, capture.Tap], other: dict[int, capture.Tap]) -> dict[int, capture.Tap]:
    """Taps of both, one after the other where they have the same value."""
    return {value: _in_turn([taps[value] for taps in (one, other) if value in taps]) for value in {**one, **other}}


def _in_turn(taps: list[capture.Tap]) -> capture.Tap:
    def tap(tensor: Tensor) -> None:
        for each in taps:
            each(tensor)

    return tap


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
