"""What is done to the images of a batch so that no image comes twice: shifts, flips, turns, scale, light, colour.

Each function takes a batch (n, c, h, w) and a generator of the CPU, whatever device the batch is on, so that the same
seed moves the same images in the same way everywhere. With a strength of zero it gives back the batch itself and draws
no number. What comes in from outside an image repeats its border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from convscope.errors import TrainingError
from convscope.preprocess import Preprocess
from convscope.training.fields import count, number, switch


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to each batch, in this order; without a table ``[augmentation]`` nothing is.

    Args:
        flip: every second image, by chance, is mirrored left to right.
        turn: up to so many degrees, either way.
        scale: larger or smaller by up to this share.
        shift: up to so many pixels along each axis: a random crop of the image with so wide a border.
        brightness: all values times 1 ± up to this.
        contrast: the differences from the image's mean times 1 ± up to this.
        colour: each channel times its own 1 ± up to this.
    """

    flip: bool = switch(False)
    turn: float = number("degrees from 0 to 180", 0.0, high=180.0)
    scale: float = number("a share from 0 to 0.9", 0.0, high=0.9)
    shift: int = count("a number of pixels", 0, high=1 << 16)
    brightness: float = number("a share from 0 to 1", 0.0, high=1.0)
    contrast: float = number("a share from 0 to 1", 0.0, high=1.0)
    colour: float = number("a share from 0 to 1", 0.0, high=1.0)

    def check(self, preprocess: Preprocess, where: str) -> None:
        """Raise where something makes no sense for such inputs.

        Raises:
            TrainingError: light or colour of what is no picture, or colour of grey.
        """
        no_picture = isinstance(preprocess.channels, int)
        if no_picture and (self.brightness or self.contrast or self.colour):
            raise TrainingError(
                f"{where}: brightness, contrast and colour are for pictures, and the inputs are "
                f"{preprocess.channels} channels of other numbers; leave them out"
            )
        if self.colour and preprocess.planes == 1:
            raise TrainingError(f"{where}: 'colour' is {self.colour}, and the inputs are grey; use brightness instead")

    def __call__(self, images: Tensor, preprocess: Preprocess, generator: Generator) -> Tensor:
        """A new batch; `images` are the network's inputs, prepared by `preprocess`."""
        images = flip(images, generator) if self.flip else images
        images = turn_and_scale(images, self.turn, self.scale, generator)
        images = shift(images, self.shift, generator)
        if not (self.brightness or self.contrast or self.colour):
            return images
        values = _picture(images, preprocess)
        values = contrast(brightness(values, self.brightness, generator), self.contrast, generator)
        values = colour(values, self.colour, generator)
        return _input(values.clamp(0, 1), preprocess)


def flip(images: Tensor, generator: Generator, share: float = 0.5) -> Tensor:
    """Mirror each image left to right with the probability `share`."""
    if share == 0:
        return images
    chosen = torch.rand(len(images), generator=generator) < share
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)


def shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Move each image by whole pixels, up to `pixels` along each axis: a random crop of it with a repeated border."""
    if pixels == 0:
        return images
    moves = torch.randint(-pixels, pixels + 1, (len(images), 2), generator=generator)
    return shift_by(images, moves)


def shift_by(images: Tensor, moves: Tensor) -> Tensor:
    """Move each image down and right by its own (n, 2) whole pixels."""
    height, width = images.shape[2:]
    rows = (torch.arange(height) - moves[:, :1]).clamp(0, height - 1).to(images.device)
    columns = (torch.arange(width) - moves[:, 1:]).clamp(0, width - 1).to(images.device)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    # Indices around a slice come first in the result, so the channels end up last.
    return images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def turn_and_scale(images: Tensor, degrees: float, share: float, generator: Generator) -> Tensor:
    """Turn each image by up to `degrees` either way, and scale it by a factor of 1 ± `share`, about its centre."""
    if degrees == 0 and share == 0:
        return images
    turns, factors = _symmetric(len(images), generator) * degrees, 1 + _symmetric(len(images), generator) * share
    return turn_and_scale_by(images, turns, factors)


def turn_and_scale_by(images: Tensor, degrees: Tensor, factors: Tensor) -> Tensor:
    """Turn each image counter-clockwise by its own angle and magnify it by its own factor (n,), bilinearly."""
    height, width = images.shape[2:]
    angles = torch.deg2rad(degrees.double())
    cosine, sine, none = torch.cos(angles) / factors, torch.sin(angles) / factors, torch.zeros(len(images))
    # Where each pixel of the result comes from, in units of half the image, which is no square perhaps.
    rows = [[cosine, -sine * height / width, none], [sine * width / height, cosine, none]]
    places = torch.stack([torch.stack(row, 1) for row in rows], 1).to(images)
    grid = F.affine_grid(places, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def brightness(pictures: Tensor, share: float, generator: Generator) -> Tensor:
    """Multiply all values of each picture, from 0 (black), with a factor of 1 ± `share`."""
    if share == 0:
        return pictures
    return pictures * _factors(pictures, (len(pictures), 1), share, generator)


def contrast(pictures: Tensor, share: float, generator: Generator) -> Tensor:
    """Multiply the differences of each picture from its mean with a factor of 1 ± `share`."""
    if share == 0:
        return pictures
    mean = pictures.mean((1, 2, 3), keepdim=True)
    return mean + (pictures - mean) * _factors(pictures, (len(pictures), 1), share, generator)


def colour(pictures: Tensor, share: float, generator: Generator) -> Tensor:
    """Multiply each channel of each picture with its own factor of 1 ± `share`: another colour of the light."""
    if share == 0:
        return pictures
    return pictures * _factors(pictures, (len(pictures), pictures.shape[1]), share, generator)


def _factors(pictures: Tensor, shape: tuple[int, int], share: float, generator: Generator) -> Tensor:
    drawn = _symmetric(math.prod(shape), generator).reshape(*shape, 1, 1)
    return (1 + drawn * share).to(pictures)


def _symmetric(count: int, generator: Generator) -> Tensor:
    """Numbers from -1 to 1."""
    return torch.rand(count, generator=generator) * 2 - 1


def _picture(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Inputs of a network as values from 0 (black) to 1 (white)."""
    low, high = preprocess.range
    return (images * _column(preprocess.std, images) + _column(preprocess.mean, images) - low) / (high - low)


def _input(pictures: Tensor, preprocess: Preprocess) -> Tensor:
    """The inverse of `_picture`."""
    low, high = preprocess.range
    return (pictures * (high - low) + low - _column(preprocess.mean, pictures)) / _column(preprocess.std, pictures)


def _column(values: tuple[float, ...], images: Tensor) -> Tensor:
    return torch.tensor(values).to(images)[:, None, None]
