"""A network: a PyTorch module with the preprocessing that belongs to its weights, class names, and its origin.

>>> network = convscope.load("weights/squeezenet1_0.safetensors", arch="squeezenet1_0")
>>> network = convscope.load("timm:resnet18@a1_in1k")
>>> network = convscope.wrap(my_module, preprocess=Preprocess(size=(64, 64)), classes=["cat", "dog"])
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from convscope import zoo
from convscope.card import Card, Source, read_classes, read_output
from convscope.checkpoint import SUFFIXES, load_weights
from convscope.errors import NetworkError, nearest
from convscope.preprocess import Preprocess
from convscope.zoo import external
from convscope.zoo.library import External
from convscope.zoo.surgery import Surgery, last_maps, operate


@dataclass(frozen=True, eq=False)
class Network:
    """A module and what must be known to use it rightly.

    Args:
        classes: names of the outputs; None where they are not known.
        output: what the outputs are: "softmax" (one class is true), "sigmoid" (several at once) or "real" values.
        synonyms: further names of classes, such as WordNet ids -> class index.
        spec: what `load` was given, enough to build the network again; None for a wrapped module.
        remarks: what must be known beside, such as which of several weights in a file were taken.
    """

    module: nn.Module
    preprocess: Preprocess
    name: str
    classes: tuple[str, ...] | None = None
    output: str = "softmax"
    synonyms: Mapping[str, int] | None = None
    spec: Mapping[str, Any] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the parameters are, or the buffers if there are no parameters."""
        tensors = itertools.chain(self.module.parameters(), self.module.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def example(self, count: int = 1) -> Tensor:
        """Some input of the right shape (count, c, h, w), always the same: for recording the graph."""
        generator = torch.Generator().manual_seed(0)
        return torch.rand(count, *self.preprocess.shape, generator=generator).to(self.device)

    @property
    def fingerprint(self) -> str:
        """A hash of the modules as PyTorch prints them, all weights and buffers by name, and the preprocessing.

        It is computed anew each time, because a wrapped module may have been trained since.
        """
        modules = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(self.module))  # addresses of functions are never the same
        digest = hashlib.sha256(json.dumps([modules, self.preprocess.to_json()]).encode())
        # Not the state dict: it leaves out buffers that are not saved, and may hold other things than tensors.
        parameters = self.module.named_parameters(remove_duplicate=False)
        for name, tensor in sorted([*parameters, *self.module.named_buffers(remove_duplicate=False)]):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def to(self, device: str | torch.device) -> Network:
        """The same network with its module moved to `device`, in place as PyTorch does.

        Raises:
            NetworkError: there is no such device here.
        """
        try:
            self.module.to(device)
        except (RuntimeError, AssertionError) as error:  # an assertion where PyTorch was built without CUDA
            raise NetworkError(f"the network cannot be moved to device {str(device)!r} ({error})") from error
        return self


def wrap(
    module: nn.Module,
    *,
    preprocess: Source,
    classes: Sequence[str] | None = None,
    output: str | None = None,
    name: str | None = None,
) -> Network:
    """A network from a module that is already there.

    Args:
        preprocess: a `Preprocess`, its JSON form, or a path to that.
        classes: names of the outputs, in order, or the path of a CSV; instead of those that the JSON gives.
        output: "softmax", "sigmoid" or "real"; without it what the JSON says, and without that "softmax".

    Raises:
        NetworkError: the module cannot be used as it is, or the preprocessing makes no sense.
    """
    module = _plain(module)
    card = Card.read(preprocess)
    names, synonyms = card.classes, card.synonyms
    if classes is not None:
        names, synonyms = read_classes(classes if isinstance(classes, str) else list(classes), Path(), "classes")
    kind = card.output if output is None else read_output(output, "wrap")
    return Network(module, card.preprocess, name or type(module).__name__, names, kind, synonyms)


def load(
    spec: str | Path,
    *,
    arch: str | None = None,
    preprocess: Source | None = None,
    device: str | torch.device = "cpu",
) -> Network:
    """A network by name.

    Args:
        spec: a checkpoint (``.safetensors``, ``.pt``, ``.ckpt``, ...), an embedded network (``digits:lenet5``), an
            architecture of the zoo with random weights (``squeezenet1_0``, ``alexnet:head=gap,width=0.25``), one of
            torchvision or timm with random weights (``timm:resnet18``) or trained ones (``timm:resnet18@a1_in1k``), or
            ``package.module:factory``.
        arch: what the checkpoint's weights belong to: an architecture of the zoo, torchvision or timm, or
            ``package.module:factory``.
        preprocess: a `Preprocess`, its JSON form, or a path to that; without it the JSON beside the weights is read,
            and torchvision and timm say what their networks are made for.

    Returns:
        The network in evaluation mode. `load(**network.spec)` gives the same one again.

    Raises:
        NetworkError: it cannot be built; the message says what to give.
    """
    text = str(spec)
    given = {"spec": text, "arch": arch, "preprocess": _portable(preprocess)}
    path = Path(text)
    if path.suffix not in SUFFIXES and arch is not None:
        raise NetworkError(
            f"{text!r} is not a checkpoint ({', '.join(SUFFIXES)}), so there is nothing to give arch for"
        )
    if text in zoo.EMBEDDED:
        path, arch, name = zoo.EMBEDDED[text].weights, zoo.EMBEDDED[text].arch, text
    elif path.suffix in SUFFIXES:
        name = path.stem
    else:
        return _by_name(text, preprocess, given).to(device)
    if not path.is_file():
        raise NetworkError(f"{path}: there is no such file")
    if arch is None:
        raise NetworkError(
            f"{path}: weights do not say which architecture they belong to; give arch (--arch), a name of the zoo "
            f"({', '.join(zoo.ARCHITECTURES)}), {_OTHERS}"
        )
    card = Card.read(preprocess) if preprocess is not None else Card.beside(path)
    module = _architecture(arch, card)
    remarks = load_weights(module, path)
    if getattr(module, "transform_input", None) is False:  # torchvision's GoogLeNet and Inception v3
        remarks += (f"{arch} is built with transform_input=False; weights tuned from torchvision's own need True",)
    return _network(module, card, name, given, *remarks).to(device)


_OTHERS = "torchvision:NAME, timm:NAME or package.module:factory"


def _by_name(text: str, preprocess: Source | None, given: dict[str, Any]) -> Network:
    """A network that is not in a file of the user's."""
    known = [*zoo.ARCHITECTURES, *zoo.EMBEDDED]
    if external.is_external(text):
        return _external(external.find(text), preprocess, given)
    if zoo.is_architecture(text) or Surgery.read(text) is not None:
        source = made_for(text) if preprocess is None else preprocess
        if source is None:
            raise NetworkError(f"{text}: give its preprocessing: preprocess= (--preprocess FILE)")
        card = Card.read(source)
        return _network(_architecture(text, card), card, text, given, _RANDOM)
    _check_known(text, "network", known)
    module = _from_factory(text, known)
    if preprocess is None:
        raise NetworkError(f"{text}: give its preprocessing: preprocess= (--preprocess FILE)")
    return _network(module, Card.read(preprocess), text, given)


_RANDOM = "its weights are random"


def made_for(arch: str) -> Preprocess | None:
    """How images are prepared for an architecture; None where nothing says it.

    Raises:
        NetworkError: there is no such architecture.
    """
    surgery = Surgery.read(arch)
    if surgery is not None:
        return made_for(surgery.arch)
    if zoo.is_architecture(arch):
        return zoo.find(arch).architecture.preprocess
    return external.find(arch.partition("@")[0]).card.preprocess if external.is_external(arch) else None


def _external(entry: External, preprocess: Source | None, given: dict[str, Any]) -> Network:
    card = entry.card if preprocess is None else Card.read(preprocess)
    if entry.weights is None:
        remark = f"{_RANDOM}; trained ones, where there are some, are named behind an '@', as {entry}@DEFAULT"
        return _network(_from_external(entry, card), card, str(entry), given, remark)
    if card.classes is None:  # the classes belong to the weights, however the images are prepared
        card = replace(card, classes=entry.card.classes, synonyms=entry.card.synonyms)
    return _network(_from_external(entry, card), card, str(entry), given)


def _network(module: nn.Module, card: Card, name: str, spec: Mapping[str, Any] | None, *remarks: str) -> Network:
    return Network(module.eval(), card.preprocess, name, card.classes, card.output, card.synonyms, spec, remarks)


def untrained(arch: str, preprocess: Source, seed: int = 0) -> Network:
    """An architecture with random weights, as `load` makes it before it reads a checkpoint, for training it.

    Args:
        arch: as in `load`.
        preprocess: as in `load`; with the names of the classes, which say how many outputs there are.
        seed: of the random weights.

    Raises:
        NetworkError: there is no such architecture, or it cannot be built.
    """
    card = Card.read(preprocess)
    return _network(_architecture(arch, card, seed), card, arch, None, _RANDOM)


def _architecture(arch: str, card: Card, seed: int = 0) -> nn.Module:
    """The module that a checkpoint's weights belong to."""
    surgery = Surgery.read(arch)
    if surgery is not None:
        trunk = _architecture(surgery.arch, card, seed)
        return _operated(trunk, surgery, torch.zeros(2, *card.preprocess.shape), card.classes, seed)
    if external.is_external(arch):
        if "@" in arch:
            raise NetworkError(f"{arch}: the weights come from the checkpoint; give arch={arch.partition('@')[0]!r}")
        return _from_external(external.find(arch), card, seed)
    if zoo.is_architecture(arch):
        return _from_zoo(arch, card, seed)
    _check_known(arch, "architecture", zoo.ARCHITECTURES)
    return _from_factory(arch, zoo.ARCHITECTURES, seed)


def after_surgery(network: Network, head: str = "gap", layer: str | None = None) -> Network:
    """The trunk of a network, with its weights, and a random head whose class maps are exact [Zhou et al. 2016].

    Args:
        network: one that `load` gave; its name is the ``arch`` of weights that are saved from it.
        head: "gap", or "gmp" for the maximum of each map instead of its mean.
        layer: the last module that is kept; None for the last maps before the network's own pools.

    Raises:
        NetworkError: it was wrapped, cannot be traced, has no maps, or ends in such a head already.
    """
    if network.spec is None:
        raise NetworkError("surgery on a wrapped module has no name to load its weights by; load it as module:factory")
    text = str(network.spec["arch"] or network.spec["spec"])
    arch = zoo.EMBEDDED[text].arch if text in zoo.EMBEDDED else text.partition("@")[0]
    surgery = Surgery(head, layer or last_maps(network.module, network.example(2)), arch)
    module = _operated(network.module, surgery, network.example(2), network.classes)
    return Network(
        module, network.preprocess, str(surgery), network.classes, network.output, network.synonyms, None, (_RANDOM,)
    )


def _operated(
    module: nn.Module, surgery: Surgery, example: Tensor, classes: tuple[str, ...] | None, seed: int = 0
) -> nn.Module:
    """A network without its head, and a new one for these classes, or for as many as it told apart."""
    if classes is None:
        with torch.no_grad():
            count = logits(module.eval()(example)).shape[1]
    else:
        count = len(classes)
    with _seeded(seed):
        return operate(module, surgery, example, count).eval()


def _check_known(arch: str, kind: str, known: Iterable[str]) -> None:
    name, colon, options = arch.partition(":")
    if not colon or "=" in options:  # no factory of a module is written like this
        files = f", a checkpoint ({', '.join(SUFFIXES)})" if kind == "network" else ""
        raise NetworkError(
            f"there is no {kind} {name!r}{nearest(name, known)}; known are {', '.join(known)}{files}, {_OTHERS}"
        )


def _from_zoo(arch: str, card: Card, seed: int = 0) -> nn.Module:
    """An architecture of the zoo, with as many channels and classes as the card says, for images of its size."""
    classes = None if card.classes is None else len(card.classes)
    with _seeded(seed):
        return zoo.find(arch).build(card.preprocess.planes, card.preprocess.size, classes)


def _from_external(entry: External, card: Card, seed: int = 0) -> nn.Module:
    with _seeded(seed):
        return _plain(entry.build(card))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random weights are the same every time, and the user's random numbers stay theirs."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators as well
        yield


def _from_factory(arch: str, known: Iterable[str], seed: int = 0) -> nn.Module:
    module_name, _, function = arch.partition(":")
    try:
        factory: Callable[[], Any] = getattr(importlib.import_module(module_name), function)
    except (Exception, SystemExit) as error:  # importing runs the user's code, which can raise anything
        what = f"({type(error).__name__}: {error}){nearest(arch, known)}"
        raise NetworkError(f"{arch!r}: cannot import {function!r} from {module_name!r} {what}") from error
    try:
        with _seeded(seed):
            module = factory()
    except (Exception, SystemExit) as error:
        raise NetworkError(f"{arch}() raised {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise NetworkError(f"{arch}() gave a {type(module).__name__}, not a torch.nn.Module")
    return _plain(module)


def _plain(module: nn.Module) -> nn.Module:
    """The module whose operations can be seen: wrappers taken off, and what cannot be looked into refused by name.

    What is compiled inside stays: it runs as it is written as long as its operations are recorded or read.
    """
    if not isinstance(module, nn.Module):
        exported = "; give the module that it was exported from" if type(module).__name__ == "ExportedProgram" else ""
        raise NetworkError(f"expected a torch.nn.Module, not a {type(module).__name__}{exported}")
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return _plain(module.module)
    original = getattr(module, "_orig_mod", None)  # torch.compile
    if isinstance(original, nn.Module):
        return _plain(original)
    for name, part in module.named_modules():
        for kind, what in _HIDING.items():
            if what(part):
                where = f"its part {name!r}" if name else "it"
                raise NetworkError(
                    f"{type(module).__name__}: {where} is {kind}; give the Python module that it was made from"
                )
    return module


def _is_exported(part: nn.Module) -> bool:
    """Whether a module is the graph that torch.export or make_fx gave; one of torch.fx calls the modules it had."""
    if not isinstance(part, torch.fx.GraphModule):
        return False
    return any(isinstance(node.target, torch._ops.OpOverload) for node in part.graph.nodes)


_HIDING: dict[str, Callable[[nn.Module], bool]] = {
    "a scripted module, which hides its operations": lambda part: isinstance(part, torch.jit.ScriptModule),
    "an exported graph, which has lost its modules and its evaluation mode": _is_exported,
    "spread over several devices (DataParallel), where its operations cannot be followed": (
        lambda part: isinstance(part, nn.DataParallel) and len(part.device_ids) > 1
    ),
}


def _portable(preprocess: Source | None) -> Any:
    if isinstance(preprocess, Preprocess):
        return preprocess.to_json()
    if isinstance(preprocess, Mapping):
        return dict(preprocess)
    return str(preprocess) if isinstance(preprocess, Path) else preprocess


def logits(result: Any) -> Tensor:
    """The tensor (n, classes) among the outputs of a network.

    Raises:
        NetworkError: the first output is not of that shape.
    """
    tensors = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
    if not tensors or tensors[0].dim() != 2:
        shape = tuple(tensors[0].shape) if tensors else None
        raise NetworkError(f"the network's first output has shape {shape}, where (images, classes) is expected")
    return tensors[0]
