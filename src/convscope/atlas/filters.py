"""The filters of a layer in an atlas: the weights as small pictures, how noisy they are, and how coloured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEASURED, COLOURED = "noise.", "colour."


@dataclass(frozen=True, eq=False)
class Filters:
    """The filters of one layer.

    Args:
        first: whether the layer convolves the network's input itself.
        slices: (units, m, kh, kw). Of a first layer all input channels, in RGB order and divided by the standard
            deviation of the preprocessing [METHODS 3.1]; of a deeper one the 8 slices with the largest norm, or fewer
            where there are fewer, by falling norm.
        channels: (units, m): the input channel of each slice, as the network counts them.
        noise: a value a unit of ``hf``, ``autocorrelation``, ``variation``, ``entropy``, and whether it is ``noisy``,
            ``regular`` or ``flat`` [METHODS 3.5]; see `convscope.filters.noise`. Empty for
            kernels of one pixel or above 32.
        colour: of a first layer on three colours a value a unit of ``ratio``, 0 grey to 1 pure colour, and
            ``frequency`` in cycles per pixel [METHODS 3.6]; else empty.
    """

    first: bool
    slices: NDArray[np.float32]
    channels: NDArray[np.int32]
    noise: Mapping[str, NDArray[Any]]
    colour: Mapping[str, NDArray[np.float32]]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Filters:
        """From the arrays of one layer in ``filters.safetensors``."""
        return cls(
            bool(arrays["first"][0]),
            arrays["slices"],
            arrays["channels"],
            _named(arrays, MEASURED),
            _named(arrays, COLOURED),
        )


def _named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in sorted(arrays.items()) if name.startswith(prefix)}
