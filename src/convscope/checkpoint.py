"""Read weights from a file, and put them into a module: safetensors or plain tensors, never a pickle.

A pickle can run any code when it is opened, so `torch.load` is only ever used with ``weights_only=True``.

A checkpoint of a training run holds more than weights, under names that every framework chooses for itself. They are
not guessed by those names but by what fits: the weights are those whose names and shapes are the architecture's, at any
depth, behind any prefix (``model.`` of Lightning, ``module.`` of DataParallel and of averages). Where both the trained
weights and their running average (EMA) fit, the average is taken, as timm and torchvision do, and that is said.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from convscope.errors import NetworkError

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")

_REMEDY = "where it was made, save torch.save(model.state_dict(), ...) or a .safetensors file"


# What PyTorch puts between the names of modules when it wraps one.
_WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_AVERAGE = re.compile(r"(^|[^a-z])(ema|swa|averaged?)([^a-z]|$)", re.IGNORECASE)
_COUNTERS = {"decay", "num_updates", "n_averaged"}


@dataclass(frozen=True)
class _Weights:
    """A set of weights in a file.

    Args:
        place: where in the file: ``['state_dict']``, ``['state_dict'] model.*``, or nothing where it is all of it.
        others: names beside them in the same dictionary.
    """

    place: str
    tensors: dict[str, Tensor]
    others: tuple[str, ...] = ()


def load_weights(module: nn.Module, path: Path) -> tuple[str, ...]:
    """Copy the weights in a file into `module`, and say what is worth knowing: which of several were taken.

    Raises:
        NetworkError: the file cannot be read, or nothing in it, or more than one thing, fits.
    """
    found = read_weights(path)
    own = module.state_dict()
    fitting = [each for weights in found for each in _views(weights, own) if _fits(each.tensors, own)]
    remarks: tuple[str, ...] = ()
    if fitting:
        chosen, remarks = _choice(fitting, path)
    else:
        closest = [_closest(weights, own) for weights in found]
        chosen = max(closest, key=lambda weights: len(own.keys() & weights.tensors.keys()))
    put_weights(module, chosen.tensors, f"{path}{chosen.place}")
    return remarks


def _choice(fitting: list[_Weights], path: Path) -> tuple[_Weights, tuple[str, ...]]:
    if all(_same(each, fitting[0]) for each in fitting):  # one set under several names
        fitting = fitting[:1]
    if len(fitting) == 1:
        others = [name for name in fitting[0].others if name != "n_averaged"]  # torch's AveragedModel counts with it
        used = f"{path.name}: of {fitting[0].place.strip()} and {_first(others)} in it, only the first is used"
        return fitting[0], (used,) if others else ()
    averages = [each for each in fitting if _AVERAGE.search(each.place)]
    names = " and ".join(each.place.strip() or "the top" for each in fitting)
    if len(fitting) == 2 and len(averages) == 1:
        return averages[0], (
            f"{path.name} holds trained weights and their running average ({names}); the average is taken",
        )
    raise NetworkError(
        f"{path}: {len(fitting)} sets of weights in it fit the architecture ({names}); save the one alone"
    )


def read_weights(path: Path) -> list[_Weights]:
    """The sets of weights in a checkpoint, on the CPU: one, or as many as its dictionaries hold.

    Raises:
        NetworkError: the file is missing, damaged, holds Python objects, or no weights.
    """
    if not path.is_file():
        raise NetworkError(f"{path}: there is no such file")
    data = _safetensors(path) if path.suffix == ".safetensors" else _pytorch(path)
    found = list(_state_dicts(data))
    if not found:
        keys = ", ".join(map(repr, list(data)[:5])) if isinstance(data, dict) else type(data).__name__
        raise NetworkError(f"{path}: expected a state dict of tensors, found {keys or 'nothing'}")
    return found


def _state_dicts(data: Any, place: str = "", depth: int = 4) -> Iterator[_Weights]:
    """Every dictionary of tensors by name inside `data`."""
    if not isinstance(data, Mapping) or not data or not all(isinstance(key, str) for key in data):
        return
    if all(isinstance(value, Tensor) for value in data.values()):
        yield _Weights(place, dict(data))
    elif depth:
        for key, value in data.items():
            yield from _state_dicts(value, f"{place}[{key!r}]", depth - 1)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise NetworkError(f"{path}: not a readable safetensors file ({error})") from error


def _pytorch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch has to say of a file that is refused or read just below
            data = torch.load(path, map_location="cpu", weights_only=True)
        _check_sums(path)
        return data
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        objects = f" ({named[1]})" if named else ""
        raise NetworkError(
            f"{path}: holds Python objects{objects} beside weights, or is no checkpoint. It was not opened, because a "
            f"pickle can run any code; {_REMEDY}"
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything: KeyError, IndexError, struct.error, ...
        if "TorchScript" in str(error):  # torch's own advice is to read it with weights_only=False
            raise NetworkError(f"{path}: a TorchScript archive holds code; {_REMEDY}") from error
        raise NetworkError(f"{path}: not a readable PyTorch checkpoint ({type(error).__name__}: {error})") from error


def _check_sums(path: Path) -> None:
    """Raise where the content is not what was written: PyTorch does not compare the checksums of its own archive."""
    if zipfile.is_zipfile(path):  # it is a plain pickle where an old version wrote it
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"the content of {damaged} has changed since it was written")


def _views(weights: _Weights, own: Mapping[str, Tensor]) -> Iterator[_Weights]:
    """The weights as they are, or what stands behind each prefix under which the architecture's first name occurs."""
    first = next(iter(own), "")
    for tensors in _unwrapped(weights.tensors):
        prefixes = [name.removesuffix(first) for name in tensors if name == first or name.endswith(f".{first}")]
        if "" in prefixes:  # all of it, then
            prefixes = [""]
        views = [_behind(prefix, weights.place, tensors) for prefix in prefixes]
        if any(_fits(view.tensors, own) for view in views):
            yield from views
            return


def _same(one: _Weights, other: _Weights) -> bool:
    names = one.tensors.keys()
    return names == other.tensors.keys() and all(torch.equal(one.tensors[name], other.tensors[name]) for name in names)


def _behind(prefix: str, place: str, tensors: Mapping[str, Tensor]) -> _Weights:
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if prefix:  # what averages keep beside the weights
        inside = {name: tensor for name, tensor in inside.items() if name not in _COUNTERS}
    others = tuple(name for name in tensors if not name.startswith(prefix))
    return _Weights(f"{place} {prefix}*" if prefix else place, inside, others)


def _unwrapped(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights, and then without the names of PyTorch's wrappers, where that leaves every name another one."""
    yield tensors
    names = [".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in tensors]
    if len(set(names)) == len(names) and names != list(tensors):
        yield dict(zip(names, tensors.values(), strict=True))


def _closest(weights: _Weights, own: Mapping[str, Tensor]) -> _Weights:
    """The weights the way in which most names are the architecture's."""
    ways = [
        _behind(prefix, weights.place, tensors)
        for tensors in _unwrapped(weights.tensors)
        for prefix in ["", *dict.fromkeys(prefix for name in tensors for prefix in _prefixes(name)[:3])]
    ]
    return max(ways, key=lambda way: len(own.keys() & way.tensors.keys()))


def _fits(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return not _faults(weights, own)


def put_weights(module: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Copy `weights` into `module`; both must have the same names and shapes, but not the same precision.

    Raises:
        NetworkError: they do not fit; it lists what is missing, unexpected, wrongly shaped, and of a wrong type.
    """
    faults = _faults(weights, module.state_dict())
    if faults:
        raise NetworkError(f"{origin}: the weights do not fit the architecture; " + "; ".join(faults))
    try:
        module.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # sparse ones, of four bits, or of a device without memory
        raise NetworkError(f"{origin}: the weights cannot be copied into the architecture ({error})") from error


def start_from(module: nn.Module, path: Path) -> tuple[str, ...]:
    """Copy what fits of the weights in a file into `module`, to train on from there; the names of what stays as it was.

    A tensor fits where the module has one of the same name and shape. So a head for other classes begins anew.

    Raises:
        NetworkError: the file cannot be read, or none of its weights fits.
    """
    own = module.state_dict()
    fitting = max((_fitting(weights, own) for weights in read_weights(path)), key=len)
    if not fitting:
        raise NetworkError(f"{path}: none of its weights fits the architecture by name and shape; it has {_first(own)}")
    put_weights(module, {**own, **fitting}, str(path))
    return tuple(name for name in own if name not in fitting and not name.endswith("num_batches_tracked"))


def _fitting(weights: _Weights, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = _closest(weights, own).tensors
    return {name: tensors[name] for name in own if name in tensors and _fits({name: tensors[name]}, {name: own[name]})}


def _faults(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What of `weights` does not fit those of a module, in words."""
    # BatchNorm counts its batches; checkpoints from elsewhere often leave that out, and evaluation never reads it.
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    missing = set(needed) - weights.keys()
    unexpected = weights.keys() - own.keys()
    if weights and own and not own.keys() & weights.keys():
        return [f"no name is that of one: it has {_first(own)}, and the file {_first(weights)}"]
    both = [name for name in own if name in weights]
    shapes = [name for name in both if weights[name].shape != own[name].shape]
    # Whole numbers for a weight are codes of a quantisation, which PyTorch would copy as if they were the values.
    types = [name for name in both if own[name].is_floating_point() and not weights[name].is_floating_point()]
    parts = {
        "missing": _groups(missing, needed),
        "unexpected": _groups(unexpected, weights),
        "of another shape": [
            f"{name} is {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}" for name in shapes
        ],
        "of another type": [f"{name} is {weights[name].dtype}, expected {own[name].dtype}" for name in types],
    }
    counts = (len(missing), len(unexpected), len(shapes), len(types))
    faults = [f"{n} {title}: {_first(names)}" for n, (title, names) in zip(counts, parts.items(), strict=True) if n]
    return faults + _hint([(tuple(weights[name].shape), tuple(own[name].shape)) for name in shapes])


def _hint(shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[str]:
    """What shapes that differ in the same way everywhere come from: other classes, or other channels of the images."""
    for axis, what, remedy in [
        (0, "classes", "name them in the JSON beside it"),
        (1, "channels", "say so in the JSON"),
    ]:
        pairs = {(file[axis], own[axis]) for file, own in shapes if _differ_in(axis, file, own)}
        if len(pairs) == 1 and all(_differ_in(axis, *pair) for pair in shapes):
            (file, own) = pairs.pop()
            return [f'perhaps it is for {file} {what}, not {own}: {remedy} ("{what}")']
    return []


def _differ_in(axis: int, first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether two shapes differ along this axis, and along no other."""
    if len(first) != len(second):
        return False
    return [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b] == [axis]


def _groups(names: Collection[str], all_names: Collection[str]) -> list[str]:
    """The names in order; those of a module that is there with all its names become one, as ``layer4.* (12)``."""
    others = {prefix for name in all_names if name not in names for prefix in _prefixes(name)}
    groups: dict[str, list[str]] = defaultdict(list)
    for name in all_names:
        if name in names:
            groups[next((prefix for prefix in _prefixes(name) if prefix not in others), name)].append(name)
    return [f"{prefix}* ({len(group)})" if len(group) > 1 else group[0] for prefix, group in groups.items()]


def _prefixes(name: str) -> list[str]:
    """``a.b.c`` to ``a.``, ``a.b.``."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) + "." for i in range(len(parts) - 1)]


def _first(names: Collection[str], limit: int = 4) -> str:
    ordered = list(names)
    return ", ".join(ordered[:limit]) + (f" and {len(ordered) - limit} more" if len(ordered) > limit else "")
