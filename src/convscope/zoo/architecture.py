"""An architecture of the zoo, and a network of it with its options and the input that it is made for."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from convscope.errors import NetworkError
from convscope.preprocess import Preprocess
from convscope.zoo.layers import TooSmallError, output_shape
from convscope.zoo.options import Option


@dataclass(frozen=True)
class Architecture:
    """A network without weights.

    Args:
        factory: builds it from `classes`, `channels`, its options, and where it is `sized` the `size` of its input.
        preprocess: the input that it is made for.
        title, year, source: what its paper calls it, and where that is.
        sized: whether it has fully connected layers that go with the size of the input.
    """

    factory: Callable[..., nn.Module]
    preprocess: Preprocess
    title: str
    year: int
    source: str
    options: tuple[Option, ...] = ()
    sized: bool = False


@dataclass(frozen=True)
class Variant:
    """An architecture with its options chosen; `text` is how it was written."""

    text: str
    architecture: Architecture
    options: Mapping[str, str | float] = field(default_factory=dict)

    def build(self, channels: int, size: tuple[int, int], classes: int | None = None) -> nn.Module:
        """The network with random weights, for images of (channels, *size); by default with the paper's classes.

        Raises:
            NetworkError: nothing is left of images of that size in one of its layers.
        """
        try:
            return self._made(channels, size, classes)
        except TooSmallError:
            least = self._least(channels)
            raise NetworkError(
                f"{self.text}: images of {size[0]} × {size[1]} px are too small for it; the least that it takes are "
                f"{least} × {least} px"
            ) from None

    def _made(self, channels: int, size: tuple[int, int], classes: int | None = None) -> nn.Module:
        given: dict[str, Any] = dict(self.options) | ({} if classes is None else {"classes": classes})
        given |= {"size": size} if self.architecture.sized else {}
        module = self.architecture.factory(channels=channels, **given)
        output_shape(module, (channels, *size))
        return module

    def _least(self, channels: int) -> int:
        """The least side of a square image that leaves something in every layer, px."""
        sides = range(1, max(self.architecture.preprocess.size) + 1)
        return sides[bisect.bisect_left(sides, True, key=lambda side: self._fits(channels, side))]

    def _fits(self, channels: int, side: int) -> bool:
        try:
            with torch.device("meta"):
                self._made(channels, (side, side))
        except TooSmallError:
            return False
        return True
