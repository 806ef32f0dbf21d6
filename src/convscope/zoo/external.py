"""Networks of torchvision and timm by name, with the preprocessing and the class names that belong to their weights.

``torchvision:resnet50`` and ``timm:resnet50`` have random weights; the name of trained ones follows an ``@``, as in
``torchvision:resnet50@IMAGENET1K_V2`` and ``timm:resnet50@a1_in1k``, and ``@DEFAULT`` are those that the library
recommends. Both are the extra ``zoo``, and imported when a name asks for them.
"""

from __future__ import annotations

from convscope.zoo.from_timm import TimmNetwork
from convscope.zoo.from_torchvision import TorchvisionNetwork
from convscope.zoo.library import External

LIBRARIES: dict[str, type[External]] = {"torchvision": TorchvisionNetwork, "timm": TimmNetwork}


def is_external(text: str) -> bool:
    """Whether `text` names a network of another library, such as ``timm:resnet18``."""
    return text.partition(":")[0] in LIBRARIES and ":" in text


def find(text: str) -> External:
    """The network that `text` names.

    Raises:
        NetworkError: its library is not installed, or has no such network or weights.
    """
    library, _, rest = text.partition(":")
    name, at, weights = rest.partition("@")
    return LIBRARIES[library](name, weights if at else None)
