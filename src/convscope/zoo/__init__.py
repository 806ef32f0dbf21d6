"""The networks of the field: one file a family, and the weights that come with convscope.

A network is named with its options in one string, as in ``vgg16`` or ``alexnet:head=gap,width=0.25``; `find` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from convscope.errors import NetworkError, nearest
from convscope.preprocess import Preprocess
from convscope.zoo.alexnet import alexnet, alexnet_one, alexnet_star_gap
from convscope.zoo.architecture import Architecture, Variant
from convscope.zoo.dioramanet import dioramanet, dioramanet_fc
from convscope.zoo.googlenet import googlenet, googlenet_torchvision
from convscope.zoo.lenet import lenet5
from convscope.zoo.nin import nin
from convscope.zoo.options import Option, read_options
from convscope.zoo.policy import alphago_policy
from convscope.zoo.resnet import resnet
from convscope.zoo.squeezenet import squeezenet1_0
from convscope.zoo.vgg import vgg
from convscope.zoo.zfnet import WIDE, zfnet

_DIGITS = Preprocess(size=(32, 32), channels="L")
_GO = Preprocess(size=(19, 19), channels=48)
_DIORAMA = Preprocess(size=(96, 96), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_224 = Preprocess(size=(224, 224), resize=256, mean=_MEAN, std=_STD)
_227 = Preprocess(size=(227, 227), resize=256, mean=_MEAN, std=_STD)
_HALVES = Preprocess(size=(224, 224), resize=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

WIDTH = Option("width")
_HEAD = Option("head", ("fc", "gap", "gmp"))
_LRN = Option("norm", ("lrn", "batch"))
_NONE = Option("norm", ("none", "batch"))
_STEM = Option("stem", ("paper", "small"))


@dataclass(frozen=True)
class Embedded:
    """Weights that come with the package, and the architecture they belong to."""

    arch: str
    weights: Path


ARCHITECTURES: dict[str, Architecture] = {
    "lenet5": Architecture(lenet5, _DIGITS, "LeNet-5", 1998, "LeCun et al., Proc. IEEE", sized=True),
    "alexnet": Architecture(
        alexnet, _227, "AlexNet", 2012, "Krizhevsky et al., NIPS", (_HEAD, _LRN, WIDTH), sized=True
    ),
    "alexnet-one": Architecture(
        alexnet_one, _224, "AlexNet, one tower", 2014, "Krizhevsky, arXiv", (_HEAD, _NONE, WIDTH), sized=True
    ),
    "alexnet-star-gap": Architecture(
        alexnet_star_gap, _227, "AlexNet*-GAP", 2016, "Zhou et al., CVPR", (_LRN, WIDTH)
    ),
    "zfnet": Architecture(zfnet, _224, "ZFNet", 2013, "Zeiler, Fergus, ECCV 2014", (_LRN, WIDTH), sized=True),
    "zfnet-wide": Architecture(
        partial(zfnet, widths=WIDE), _224, "ZFNet (b)", 2013, "Zeiler, Fergus, ECCV 2014", (_LRN, WIDTH), sized=True
    ),
    "nin": Architecture(nin, _224, "NIN", 2013, "Lin et al., ICLR 2014", (_NONE, WIDTH)),
    **{
        f"vgg{depth}": Architecture(
            partial(vgg, depth), _224, f"VGG-{depth}", 2014, "Simonyan, Zisserman, ICLR 2015", (_HEAD, _NONE, WIDTH),
            sized=True,
        )
        for depth in (11, 13, 16, 19)
    },
    "googlenet": Architecture(googlenet, _224, "GoogLeNet", 2014, "Szegedy et al., CVPR 2015", (_HEAD, _LRN, WIDTH)),
    "googlenet-torchvision": Architecture(
        googlenet_torchvision, _HALVES, "GoogLeNet, torchvision's", 2014, "Szegedy et al., CVPR 2015", (WIDTH,)
    ),
    **{
        f"resnet{depth}": Architecture(
            partial(resnet, depth), _224, f"ResNet-{depth}", 2015, "He et al., CVPR 2016", (_STEM, WIDTH)
        )
        for depth in (18, 34, 50, 101, 152)
    },
    "squeezenet1_0": Architecture(squeezenet1_0, _224, "SqueezeNet 1.0", 2016, "Iandola et al., arXiv"),
    "alphago-policy": Architecture(
        alphago_policy, _GO, "AlphaGo, policy", 2016, "Silver et al., Nature", (WIDTH,), sized=True
    ),
    "dioramanet": Architecture(dioramanet, _DIORAMA, "DioramaNet", 2026, "convscope"),
    "dioramanet-fc": Architecture(dioramanet_fc, _DIORAMA, "DioramaNet, fc", 2026, "convscope", sized=True),
}  # fmt: skip

EMBEDDED: dict[str, Embedded] = {
    name: Embedded(arch, Path(__file__).parent / "weights" / f"{name.replace(':', '-')}.safetensors")
    for name, arch in {
        "digits:lenet5": "lenet5",
        "diorama:objects": "dioramanet",
        "diorama:objects-fc": "dioramanet-fc",
        "diorama:scenes": "dioramanet",
    }.items()
}


def is_architecture(text: str) -> bool:
    """Whether `text` names an architecture of the zoo, with options or without; they may be wrong."""
    return text.partition(":")[0] in ARCHITECTURES


def find(text: str) -> Variant:
    """The architecture, with its options, that `text` names.

    Raises:
        NetworkError: there is none, or an option makes no sense.
    """
    name, colon, options = text.partition(":")
    if name not in ARCHITECTURES:
        raise NetworkError(
            f"there is no architecture {name!r} in the zoo{nearest(name, ARCHITECTURES)}; known are "
            f"{', '.join(ARCHITECTURES)}"
        )
    architecture = ARCHITECTURES[name]
    return Variant(text, architecture, read_options(options, architecture.options, text) if colon else {})
