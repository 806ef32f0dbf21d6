"""What a network sees of a picture: one input, as its card says, or ten crops [METHODS 10.1]."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convscope.errors import NetworkError
from convscope.network import Network
from convscope.preprocess import Picture, Preprocess

_WHOLE, _CROP = 256, 224  # px: the picture and the crop in the papers


@dataclass(frozen=True)
class Crops:
    """The inputs of a network for one picture.

    Args:
        region: prepares the part of the picture from which crops are cut.
        size: (height, width) of a crop, px.
        corners: (top, left) of every crop in the region.
        mirrored: whether each is seen in a mirror as well.
    """

    region: Preprocess
    size: tuple[int, int]
    corners: tuple[tuple[int, int], ...] = ((0, 0),)
    mirrored: bool = False

    @property
    def count(self) -> int:
        """Inputs of a picture."""
        return len(self.corners) * (2 if self.mirrored else 1)

    def __call__(self, picture: Picture) -> Tensor:
        """(count, c, h, w); those in the mirror come last, in the same order.

        Raises:
            UnreadableImage: the picture has another number of channels.
        """
        region, (height, width) = self.region(picture), self.size
        crops = torch.stack([region[:, y : y + height, x : x + width] for y, x in self.corners])
        return torch.cat([crops, crops.flip(-1)]) if self.mirrored else crops


def one_crop(network: Network) -> Crops:
    """The input that the network's card says."""
    return Crops(network.preprocess, network.preprocess.size)


def ten_crops(network: Network) -> tuple[Crops, str | None]:
    """Four corners, row by row, and the centre, then their mirror images; and what there is to say of it.

    The shorter side of the picture gets the length that the card's ``resize`` says, and the crops are cut from the
    square in its middle, as in the papers; with a ``resize`` of (height, width), from all of it. The centre is at half
    the room, rounded down, so that where the room is odd a mirrored picture has other crops.

    Raises:
        NetworkError: the network's crops are resized after they were cut.
    """
    own = network.preprocess
    if own.crop not in (None, own.size):
        raise NetworkError(
            f"{network.name}: its card cuts {_sides(own.crop)} px and resizes that to {_sides(own.size)} px, and ten "
            "crops are cut at the size of the input: give 'crop' and 'size' the same value, or take one crop"
        )
    resize, remark = own.resize, None
    if resize is None:
        resize = _around(own.size)
        gets = f"gets a shorter side of {resize}" if isinstance(resize, int) else f"is resized to {_sides(resize)}"
        remark = f"its card has no 'resize', so every picture {gets} px, {_WHOLE}/{_CROP} of the crop"
    wanted = (resize, resize) if isinstance(resize, int) else resize
    height, width = (max(side, crop) for side, crop in zip(wanted, own.size, strict=True))
    bottom, right = height - own.size[0], width - own.size[1]
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    return Crops(replace(own, resize=resize, size=(height, width), crop=None), own.size, corners, True), remark


def _around(size: tuple[int, int]) -> int | tuple[int, int]:
    """What a picture is resized to, as much larger than the crop as in the papers."""
    height, width = (round(side * _WHOLE / _CROP) for side in size)
    return height if height == width else (height, width)


def _sides(size: tuple[int, int] | None) -> str:
    return " × ".join(map(str, size or ()))
