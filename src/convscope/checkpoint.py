"""Read weights from a file, and put them into a module: safetensors or plain tensors, never a pickle.

A pickle can run any code when it is opened, so `torch.load` is only ever used with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from convscope.errors import NetworkError

SUFFIXES = (".safetensors", ".pt", ".pth")

_REMEDY = "where it was made, save torch.save(model.state_dict(), ...) or a .safetensors file"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Raises:
        NetworkError: the file is missing, damaged, holds more than weights, or no weights.
    """
    if not path.is_file():
        raise NetworkError(f"{path}: there is no such file")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    return _state_dict(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise NetworkError(f"{path}: not a readable safetensors file ({error})") from error


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch has to say of a file that is refused or read just below
            data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NetworkError(
            f"{path}: holds Python objects beside weights, or is no checkpoint. It was not opened, because a pickle "
            f"can run any code; {_REMEDY}"
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything: KeyError, IndexError, struct.error, ...
        if "TorchScript" in str(error):  # torch's own advice is to read it with weights_only=False
            raise NetworkError(f"{path}: a TorchScript archive holds code; {_REMEDY}") from error
        raise NetworkError(f"{path}: not a readable PyTorch checkpoint ({type(error).__name__}: {error})") from error
    if not isinstance(data, dict) or not data or not all(_is_weight(*item) for item in data.items()):
        keys = ", ".join(map(repr, list(data)[:5])) if isinstance(data, dict) else type(data).__name__
        raise NetworkError(f"{path}: expected a state dict of tensors, found {keys or 'nothing'}")
    return data


def _is_weight(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def put_weights(module: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Copy `weights` into `module`; both must have the same names and shapes, but not the same precision.

    Raises:
        NetworkError: they do not fit; it lists what is missing, unexpected, wrongly shaped, and of a wrong type.
    """
    own = module.state_dict()
    missing, unexpected = own.keys() - weights.keys(), weights.keys() - own.keys()
    # BatchNorm counts its batches; checkpoints from elsewhere often leave that out, and evaluation never reads it.
    missing = {name for name in missing if not name.endswith("num_batches_tracked")}
    shapes = {
        f"{name} is {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if weights[name].shape != own[name].shape
    }
    # Whole numbers for a weight are codes of a quantisation, which PyTorch would copy as if they were the values.
    types = {
        f"{name} is {weights[name].dtype}, expected {own[name].dtype}"
        for name in own.keys() & weights.keys()
        if own[name].is_floating_point() and not weights[name].is_floating_point()
    }
    parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes), ("of another type", types)]
    faults = [f"{len(names)} {title}: {_first(names)}" for title, names in parts if names]
    if faults:
        raise NetworkError(f"{origin}: the weights do not fit the architecture; " + "; ".join(faults))
    module.load_state_dict(weights, strict=False)


def _first(names: Iterable[str], limit: int = 4) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (f" and {len(ordered) - limit} more" if len(ordered) > limit else "")
