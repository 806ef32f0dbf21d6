"""What one image does to each unit: the reductions over positions that several statistics need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.statistics import kernels


@dataclass(frozen=True)
class PerImage:
    """What one image does to each unit: (n, c) each, on the CPU, NaN left out.

    Args:
        position: of the first maximum, in raster order.
        count: positions that are not NaN.
        total: their sum, float64.
        squares: sum of their squared differences from the mean of this image, float64.
        nonpositive: how many are <= 0.
    """

    maximum: Tensor
    position: Tensor
    minimum: Tensor
    count: Tensor
    total: Tensor
    squares: Tensor
    nonpositive: Tensor
    nans: Tensor


def reduce(rows: Tensor) -> PerImage:
    """Reduce (n, positions, c), float32: compiled where a CPU computes, by PyTorch elsewhere."""
    found = _compiled(rows) if rows.device.type == "cpu" else by_torch(rows)
    # A sum passes every NaN and infinity on, so an image is clean where its sums are finite. Finite numbers whose
    # squares are too large for float32 are treated with the same care.
    unclear = ~(torch.isfinite(found.total) & torch.isfinite(found.squares)).all(1)
    for image in unclear.nonzero()[:, 0].tolist():
        for column, value in zip(vars(found).values(), _careful(rows[image]), strict=True):
            column[image] = value.cpu()
    return found


def _compiled(rows: Tensor) -> PerImage:
    found = {name: torch.from_numpy(array) for name, array in kernels.reduce(rows.contiguous().numpy()).items()}
    nans = torch.zeros(found["total"].shape, dtype=torch.int64)
    found |= {name: found[name].long() for name in ("position", "nonpositive")}
    return PerImage(**found, count=torch.full_like(nans, rows.shape[1]), nans=nans)


def by_torch(rows: Tensor) -> PerImage:
    """The same by PyTorch's own reductions; where an image has a NaN or an infinity its numbers mean nothing."""
    mean = rows.mean(1)
    centred = rows - mean[:, None]
    # The mean is rounded to float32, which is coarse where it is large against the spread; what is left over corrects
    # it (Chan, Golub and LeVeque 1983, "corrected two-pass algorithm").
    offset = centred.sum(1, dtype=torch.float64)
    squares = centred.square().sum(1, dtype=torch.float64) - offset.square() / rows.shape[1]
    nans = torch.zeros(mean.shape, dtype=torch.int64, device=rows.device)
    columns = (
        rows.amax(1),
        rows.argmax(1),
        rows.amin(1),
        torch.full_like(nans, rows.shape[1]),
        mean.double() * rows.shape[1] + offset,
        squares.clamp(min=0),
        (rows <= 0).sum(1),
        nans,
    )
    return PerImage(*(column.cpu() for column in columns))


def _careful(image: Tensor) -> tuple[Tensor, ...]:
    """The fields of `PerImage` for (positions, c), each (c,), in float64 and without NaN."""
    nan = torch.isnan(image)
    count = (~nan).sum(0)
    total = image.masked_fill(nan, 0.0).sum(0, dtype=torch.float64)
    centred = (image - total / count.clamp(min=1)).masked_fill(nan, 0.0)
    filled = image.masked_fill(nan, -torch.inf)
    return (
        filled.amax(0),
        filled.argmax(0),
        image.masked_fill(nan, torch.inf).amin(0),
        count,
        total,
        centred.square().sum(0),
        (image <= 0).sum(0),
        nan.sum(0),
    )
