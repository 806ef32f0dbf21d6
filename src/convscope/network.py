"""A network: a PyTorch module with the preprocessing that belongs to its weights, class names, and its origin.

>>> network = convscope.load("weights/squeezenet1_0.safetensors", arch="squeezenet1_0")
>>> network = convscope.wrap(my_module, preprocess=Preprocess(size=(64, 64)), classes=["cat", "dog"])
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from convscope import zoo
from convscope.checkpoint import SUFFIXES, put_weights, read_weights
from convscope.errors import NetworkError, nearest
from convscope.preprocess import Preprocess

_OUTPUTS = ("softmax", "sigmoid", "real")


@dataclass(frozen=True, eq=False)
class Network:
    """A module and what must be known to use it rightly.

    Args:
        classes: names of the outputs; None where they are not known.
        output: what the outputs are: "softmax" (one class is true), "sigmoid" (several at once) or "real" values.
        synonyms: further names of classes, such as WordNet ids -> class index.
        spec: what `load` was given, enough to build the network again; None for a wrapped module.
    """

    module: nn.Module
    preprocess: Preprocess
    name: str
    classes: tuple[str, ...] | None = None
    output: str = "softmax"
    synonyms: Mapping[str, int] | None = None
    spec: Mapping[str, Any] | None = None

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
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
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
    preprocess: Preprocess | Mapping[str, Any] | str | Path,
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
    card = _Card.read(preprocess)
    names, synonyms = card.classes, card.synonyms
    if classes is not None:
        names, synonyms = _classes(classes if isinstance(classes, str) else list(classes), Path(), "classes")
    kind = card.output if output is None else _output(output, "wrap")
    return Network(module, card.preprocess, name or type(module).__name__, names, kind, synonyms)


def load(
    spec: str | Path,
    *,
    arch: str | None = None,
    preprocess: Preprocess | Mapping[str, Any] | str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Network:
    """A network by name.

    Args:
        spec: a checkpoint (``.safetensors``, ``.pt``, ``.pth``), an embedded network (``digits:lenet5``), an
            architecture of the zoo with random weights (``squeezenet1_0``), or ``package.module:factory``.
        arch: what the checkpoint's weights belong to: a name of the zoo, or ``package.module:factory``.
        preprocess: a `Preprocess`, its JSON form, or a path to that; without it the JSON beside the weights is read.

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
        return _untrained(text, preprocess, given).to(device)
    if not path.is_file():
        raise NetworkError(f"{path}: there is no such file")
    if arch is None:
        raise NetworkError(
            f"{path}: weights do not say which architecture they belong to; give arch (--arch), a name of the zoo "
            f"({', '.join(zoo.ARCHITECTURES)}) or package.module:factory"
        )
    card = _Card.read(preprocess) if preprocess is not None else _beside(path)
    module, _ = _build(arch, "architecture", zoo.ARCHITECTURES)
    put_weights(module, read_weights(path), str(path))
    return card.network(module, name, given).to(device)


def _untrained(
    text: str, preprocess: Preprocess | Mapping[str, Any] | str | Path | None, given: dict[str, Any]
) -> Network:
    module, default = _build(text, "network", [*zoo.ARCHITECTURES, *zoo.EMBEDDED])
    if preprocess is None and default is None:
        raise NetworkError(f"{text}: give its preprocessing: preprocess= (--preprocess FILE)")
    return _Card.read(preprocess if preprocess is not None else default).network(module, text, given)


def _build(arch: str, kind: str, known: Iterable[str]) -> tuple[nn.Module, Preprocess | None]:
    """The module of an architecture, and the preprocessing that it is usually trained with."""
    entry = zoo.ARCHITECTURES.get(arch)
    if entry is None and ":" not in arch:
        files = f", a checkpoint ({', '.join(SUFFIXES)})" if kind == "network" else ""
        raise NetworkError(
            f"there is no {kind} {arch!r}{nearest(arch, known)}; known are {', '.join(known)}{files}, "
            "or package.module:factory"
        )
    # Random weights are the same every time, and the user's random numbers stay theirs. Not torch.manual_seed, which
    # would seed the accelerators as well.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if entry is None:
            return _plain(_from_factory(arch, known)), None
        return entry.factory(), entry.preprocess


def _from_factory(arch: str, known: Iterable[str]) -> nn.Module:
    module_name, _, function = arch.partition(":")
    try:
        factory: Callable[[], Any] = getattr(importlib.import_module(module_name), function)
    except Exception as error:  # importing runs the user's code, which can raise anything
        what = f"({type(error).__name__}: {error}){nearest(arch, known)}"
        raise NetworkError(f"{arch!r}: cannot import {function!r} from {module_name!r} {what}") from error
    try:
        module = factory()
    except Exception as error:
        raise NetworkError(f"{arch}() raised {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise NetworkError(f"{arch}() gave a {type(module).__name__}, not a torch.nn.Module")
    return module


def _plain(module: nn.Module) -> nn.Module:
    """The module whose operations can be seen: wrappers taken off, and what cannot be looked into refused by name."""
    if not isinstance(module, nn.Module):
        raise NetworkError(f"expected a torch.nn.Module, not a {type(module).__name__}")
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return _plain(module.module)
    original = getattr(module, "_orig_mod", None)  # torch.compile
    if isinstance(original, nn.Module):
        return _plain(original)
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            where = f"its part {name!r}" if name else "it"
            raise NetworkError(
                f"{type(module).__name__}: {where} is a scripted module, which hides its operations; give the Python "
                "module that it was made from"
            )
    return module


@dataclass(frozen=True)
class _Card:
    """What the JSON beside a checkpoint says."""

    preprocess: Preprocess
    output: str
    classes: tuple[str, ...] | None
    synonyms: Mapping[str, int] | None

    @classmethod
    def read(cls, source: Preprocess | Mapping[str, Any] | str | Path | None) -> _Card:
        origin, folder = "the preprocessing", Path()
        if isinstance(source, Preprocess):
            source = source.to_json()  # so that it is checked as thoroughly
        if isinstance(source, str | Path):
            origin, folder = str(source), Path(source).parent
            source = _json(Path(source))
        if not isinstance(source, Mapping):
            raise NetworkError(f"{origin}: expected a JSON object, found {type(source).__name__}")
        data = dict(source)
        output = _output(data.pop("output", "softmax"), origin)
        classes, synonyms = _classes(data.pop("classes", None), folder, origin)
        return cls(Preprocess.from_json(data, origin), output, classes, synonyms)

    def network(self, module: nn.Module, name: str, spec: Mapping[str, Any]) -> Network:
        """The network of a module that was made for it."""
        return Network(module.eval(), self.preprocess, name, self.classes, self.output, self.synonyms, spec)


def _output(value: Any, origin: str) -> str:
    if value not in _OUTPUTS:
        raise NetworkError(f"{origin}: 'output' is {value!r}; expected one of {', '.join(_OUTPUTS)}")
    return str(value)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NetworkError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise NetworkError(f"{path}: not readable as JSON ({error})") from error


def _beside(path: Path) -> _Card:
    card = path.with_suffix(".json")
    if not card.is_file():
        raise NetworkError(
            f"{path}: there is no {card.name} beside it that says how its images are prepared, and that is never "
            "guessed; write one, or give preprocess= (--preprocess FILE), for example "
            '{"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "channels": "RGB"}'
        )
    return _Card.read(card)


def _classes(value: Any, folder: Path, origin: str) -> tuple[tuple[str, ...] | None, dict[str, int] | None]:
    """Class names, and the WordNet ids of a CSV as synonyms of them."""
    if value is None:
        return None, None
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value), None
    if not isinstance(value, str):
        raise NetworkError(f"{origin}: 'classes' is {value!r}; expected a list of names or a path to a CSV")
    return _class_table(folder / value)


def _class_table(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
        rows.sort(key=lambda row: int(row["index"]))
        names = tuple(row["name"] for row in rows)
        if not rows or [int(row["index"]) for row in rows] != list(range(len(rows))):
            raise ValueError("its indices are not 0, 1, 2, ...")
        if not all(names):
            raise ValueError(f"class {[bool(name) for name in names].index(False)} has no name")
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        what = f"{type(error).__name__}: {error}"
        raise NetworkError(f"{path}: not readable as a CSV of classes with columns index and name ({what})") from error
    synonyms = {row["wnid"]: i for i, row in enumerate(rows) if row.get("wnid")}
    return names, synonyms


def _portable(preprocess: Preprocess | Mapping[str, Any] | str | Path | None) -> Any:
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
