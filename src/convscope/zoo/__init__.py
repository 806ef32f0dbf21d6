"""The networks of the field: one file a family, and the weights that come with convscope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from convscope.preprocess import Preprocess
from convscope.zoo.dioramanet import dioramanet, dioramanet_fc
from convscope.zoo.lenet import lenet5
from convscope.zoo.squeezenet import squeezenet1_0

_DIORAMA = Preprocess(size=(96, 96), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
_IMAGENET = Preprocess(size=(224, 224), resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Architecture:
    """A network without weights: how to build it (with `classes` and `channels`), and the input it is made for."""

    factory: Callable[..., nn.Module]
    preprocess: Preprocess


@dataclass(frozen=True)
class Embedded:
    """Weights that come with the package, and the architecture they belong to."""

    arch: str
    weights: Path


ARCHITECTURES: dict[str, Architecture] = {
    "dioramanet": Architecture(dioramanet, _DIORAMA),
    "dioramanet-fc": Architecture(dioramanet_fc, _DIORAMA),
    "lenet5": Architecture(lenet5, Preprocess(size=(32, 32), channels="L")),
    "squeezenet1_0": Architecture(squeezenet1_0, _IMAGENET),
}

EMBEDDED: dict[str, Embedded] = {
    name: Embedded(arch, Path(__file__).parent / "weights" / f"{name.replace(':', '-')}.safetensors")
    for name, arch in {
        "digits:lenet5": "lenet5",
    }.items()
}
