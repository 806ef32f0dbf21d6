"""Record the graph of a network: run it once for real, and write down every operation.

Recording happens below autograd, in a dispatch mode, and not by symbolic tracing: every spelling of an operation
(module, function, method, in-place, reused) arrives as the same few ATen operations, and any network that runs can be
recorded, also one whose control flow looks at values.
"""

from __future__ import annotations

import contextlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from convscope.errors import NetworkError
from convscope.graph import Graph, Node, Ref, Region, computes, operation


def record(module: nn.Module, images: Tensor) -> Graph:
    """Run `module` once in evaluation mode on `images` (n, c, h, w), and return the graph of what it did.

    The module, its mode and its `.grad` fields are as before afterwards, also when it raises.

    Raises:
        NetworkError: the forward pass fails, or gives no tensor.
    """
    images = images.clone()  # some networks write into their input
    recorder = _Recorder(module, images)
    with evaluating(module), torch.no_grad(), _module_stack(module, recorder.stack):
        try:
            with PlainLinear(), recorder:
                result = module(images)
        except Exception as error:
            shape = tuple(images.shape)
            raise NetworkError(f"the network does not run on images of shape {shape}: {error}") from error
    return recorder.finish(result)


class PlainLinear(TorchFunctionMode):
    """Runs every linear layer in the one way in which it is a single matrix product.

    On an input that is not contiguous, as (n, h, w, c) after a permute, PyTorch makes of it a product and a sum, or a
    batched product with expanded weights, as memory format and the weights' ``requires_grad`` will have it.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear:
            if args:
                args = (args[0].contiguous(), *args[1:])
            else:
                kwargs = kwargs | {"input": kwargs["input"].contiguous()}
        return func(*args, **kwargs)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the `with`; every submodule's own mode is restored afterwards."""
    modes = [(each, each.training) for each in module.modules()]
    try:
        module.eval()
        with _uncompiled():
            yield
    finally:
        for each, mode in modes:
            each.training = mode


def _uncompiled() -> contextlib.AbstractContextManager[Any]:
    """Functions that torch.compile has wrapped run as they are written, so that their operations can be seen."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and it takes seconds to import
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextlib.contextmanager
def _module_stack(module: nn.Module, stack: list[tuple[str, int]]) -> Iterator[None]:
    """Keep `stack` at the (name, call) of the modules that are running."""
    calls: dict[str, int] = defaultdict(int)
    handles = []

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            stack.append((name, calls[name]))
            calls[name] += 1

        return hook

    def leave(*_: Any) -> None:
        stack.pop()

    try:
        for name, child in module.named_modules():
            handles.append(child.register_forward_pre_hook(enter(name)))
            handles.append(child.register_forward_hook(leave, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # the base has no types
    """Writes down every operation that runs inside it."""

    def __init__(self, module: nn.Module, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack: list[tuple[str, int]] = []
        self.nodes: list[Node] = []
        self.shapes: list[tuple[int, ...]] = []
        self.constants: dict[int, Tensor] = {}
        self.names: dict[int, str] = {}
        self.values: dict[int, int] = {}  # id of a tensor -> the value it holds now
        self.alive: dict[int, list[Tensor]] = defaultdict(list)  # by memory; keeps ids from being used again
        # id of a tensor -> what was written into its memory through others: their values then, and the tensors
        self.stale: dict[int, list[tuple[int, Tensor]]] = defaultdict(list)
        self.ordinals = 0
        self.aliases = _aliases(module)
        tensors = dict(module.named_parameters()) | dict(module.named_buffers())
        self.parameters = {id(tensor): name for name, tensor in tensors.items()}
        self.input = self._new_value(images)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        arguments = _by_name(func, args, kwargs)
        refs: dict[str, Any] = tree_map(lambda leaf: Ref(self._value(leaf)) if _is_tensor(leaf) else leaf, arguments)
        result = func(*args, **kwargs)
        self._add(func, arguments, refs, result)
        return result

    def _add(self, func: Any, arguments: dict[str, Any], refs: dict[str, Any], result: Any) -> None:
        written = [
            leaf
            for argument in func._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
            for leaf in tree_flatten(arguments.get(argument.name))[0]
            if _is_tensor(leaf)
        ]
        results = [leaf for leaf in tree_flatten(result)[0] if _is_tensor(leaf)]
        results += [tensor for tensor in written if not any(tensor is other for other in results)]
        inputs = tuple(leaf.value for leaf in tree_flatten(refs)[0] if isinstance(leaf, Ref))
        outputs = tuple(self._new_value(tensor) for tensor in results)
        self._append(func, refs, inputs, outputs)
        for tensor in written:
            self._mark_stale(tensor)

    def _append(self, func: Any, refs: dict[str, Any], inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        counts = func is not None and computes(func)
        op = operation(func) if func is not None else "written_through"
        module = self.stack[-1] if self.stack else ("", 0)
        ordinal = self.ordinals if counts else None
        self.nodes.append(Node(len(self.nodes), op, func, refs, inputs, outputs, module, ordinal))
        self.ordinals += counts

    def _new_value(self, tensor: Tensor) -> int:
        self.values[id(tensor)] = len(self.shapes)
        self.alive[tensor.untyped_storage()._cdata].append(tensor)
        self.shapes.append(tuple(tensor.shape))
        return len(self.shapes) - 1

    def _value(self, tensor: Tensor) -> int:
        """The value that `tensor` holds; one that was never seen is a constant."""
        if id(tensor) not in self.values:
            value = self._new_value(tensor)
            self.constants[value] = tensor
            if id(tensor) in self.parameters:
                self.names[value] = self.parameters[id(tensor)]
        for value, other in self.stale.pop(id(tensor), ()):
            if _apart(tensor, other):
                continue
            before, inward = self.values[id(tensor)], other.numel() > tensor.numel()
            region = _region(tensor, other) if inward else _region(other, tensor)
            refs = {"self": Ref(before), "written": Ref(value), "region": region, "inward": inward}
            self._append(None, refs, (before, value), (self._new_value(tensor),))
        return self.values[id(tensor)]

    def _mark_stale(self, written: Tensor) -> None:
        """Other tensors that share memory with `written` hold something new as well, if anybody looks."""
        for tensor in self.alive[written.untyped_storage()._cdata]:
            if tensor is not written:
                self.stale[id(tensor)].append((self.values[id(written)], written))

    def finish(self, result: Any) -> Graph:
        tensors = [leaf for leaf in tree_flatten(result)[0] if _is_tensor(leaf)]
        if not tensors:
            raise NetworkError(f"the network gave a {type(result).__name__} without a tensor in it")
        outputs = tuple(self._value(tensor) for tensor in tensors)
        return Graph(
            tuple(self.nodes), tuple(self.shapes), self.input, outputs, self.constants, self.names, self.aliases
        )


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)


def _region(part: Tensor, whole: Tensor) -> Region | None:
    """Where `part` lies in `whole`, by what they share of their memory; None where no slices say it."""
    offset = int(part.storage_offset() - whole.storage_offset())
    left = {dim for dim, extent in enumerate(part.shape) if extent > 1}
    region: dict[int, tuple[int, int, int | None]] = {}
    # From the dimension with the largest steps through the memory on, what is left of the offset is less than a step.
    for dim in sorted(range(whole.ndim), key=whole.stride, reverse=True):
        step = whole.stride(dim)
        if whole.shape[dim] == 1:
            region[dim] = (0, 1, None)
            continue
        if step == 0:  # an expanded tensor, of which no element has a memory of its own
            return None
        start, offset = divmod(offset, step)
        fits = (inner for inner in left if part.stride(inner) % step == 0 and part.stride(inner) // step > 0
                and start + (part.shape[inner] - 1) * (part.stride(inner) // step) < whole.shape[dim])  # fmt: skip
        inner = max(fits, key=part.stride, default=None)
        if start < 0 or start >= whole.shape[dim]:
            return None
        left -= {inner}
        region[dim] = (start, 1 if inner is None else part.stride(inner) // step, inner)
    return None if left or offset else tuple(region[dim] for dim in range(whole.ndim))


def _apart(one: Tensor, other: Tensor) -> bool:
    """Whether two slices of a tensor have no element in common; False where their strides do not say so."""
    if one.storage_offset() > other.storage_offset():
        one, other = other, one
    dims = [dim for dim in range(one.ndim) if one.stride(dim)]
    dims.sort(key=one.stride, reverse=True)
    nested = all(one.stride(a) % one.stride(b) == 0 for a, b in pairwise(dims))
    if one.stride() != other.stride() or not nested:
        return False
    offset, before = int(other.storage_offset() - one.storage_offset()), 0
    for dim in dims:
        shift, offset = divmod(offset, one.stride(dim))
        # Or it is less by a whole period and the next larger one is one more; and so with it and a smaller one.
        back = before // one.stride(dim) - shift - (offset > 0)
        if shift >= one.shape[dim] and (not before or back >= other.shape[dim]):
            return True
        before = one.stride(dim)
    return offset > 0  # between the elements


def _by_name(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an ATen operation under the names of its schema, defaults filled in."""
    schema = func._schema.arguments
    given = {argument.name: value for argument, value in zip(schema, args, strict=False)} | kwargs
    return {argument.name: given.get(argument.name, argument.default_value) for argument in schema}


def _aliases(module: nn.Module) -> dict[str, str]:
    """Further names of modules that are registered more than once -> the first name."""
    first: dict[int, str] = {}
    aliases = {}
    for name, child in module.named_modules(remove_duplicate=False):
        if first.setdefault(id(child), name) != name:
            aliases[name] = first[id(child)]
    return aliases
