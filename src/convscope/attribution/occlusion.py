"""Occlusion: how far the target falls when a square of the image is hidden [zeiler2014visualizing].

::

    drop(i, j) = S(x) - S(x with window (i, j) filled)
    M(y, x)    = mean of drop over the windows that cover the pixel

Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2. They draw S itself, so
that what matters is low (blue); here it is the drop, so that what matters is positive. Windows lie fully inside the
image; where the stride does not divide what is left, the last one lies at the border all the same. A window hides two
things, what was there and what surrounds an even square: a grey square can be evidence of its own.

All windows of an image share one forward pass, and each is computed only as far as it can change something
(`convscope.replay`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from convscope import gradients
from convscope.attribution.base import Answer, Attribution, Question
from convscope.errors import AttributionError
from convscope.geometry import Grid, Ints, Spans
from convscope.graph import Graph
from convscope.preprocess import Preprocess
from convscope.replay import Replay, Values
from convscope.scored import Fixed, Seen


@dataclass(frozen=True)
class Occlusion(Attribution):
    """What the target loses where a window hides the image, (n, 1, h, w).

    Args:
        window: side of the square, px.
        stride: from one window to the next, px; at most `window`, so that every pixel is hidden by one.
        fill: what is put there: "mean", the colour that the preprocessing subtracts; or a grey, 0 black to 1 white; or
            such a number for each channel of the network's input.
    """

    name: ClassVar[str] = "occlusion"
    sign: ClassVar[str] = (
        "drop of the score: positive where hiding the pixel lowers it, mean over windows that cover it"
    )
    costly: ClassVar[bool] = True

    window: int = 32
    stride: int = 8
    fill: str | float | tuple[float, ...] = "mean"

    def explain(self, question: Question) -> Answer:
        """One pass on the images; of each one a pass for every window, as far as it differs."""
        with torch.no_grad():
            explained = question.run()
        colour = self.colour(question.network.preprocess)
        windows = self.windows(*question.images.shape[2:])
        found = []
        for image, target, score in zip(question.images, explained.targets, explained.scores, strict=True):
            replay = Replay(question.network.module, question.graph, target.ends(question.graph))
            measure = partial(scores_of, target=target, explained=explained, graph=question.graph)
            scores = occluded(replay, image, windows, colour, measure)
            drop = (score.double() - scores.double()).cpu()
            found.append(torch.where(_hiding_something(image, windows, colour), drop, 0.0))
        drops = torch.stack(found)
        blank = tuple(
            None if each.any() else _BLANK.format(t) for each, t in zip(drops, explained.targets, strict=True)
        )
        evidence = {"largest drop": drops.amax((1, 2)), "largest rise": -drops.amin((1, 2))}
        return Answer(spread(drops, windows)[:, None], explained, evidence, blank=blank)

    def windows(self, height: int, width: int) -> Grid:
        """Where the windows lie on an image, rows by columns of them.

        Raises:
            AttributionError: there are none, or they leave pixels out.
        """
        if self.window < 1 or self.window > min(height, width):
            raise AttributionError(
                f"a window of {self.window} px does not lie inside an image of {height}×{width} px; give window (1 to "
                f"{min(height, width)})"
            )
        if not 1 <= self.stride <= self.window:
            raise AttributionError(
                f"a stride of {self.stride} px with a window of {self.window} px leaves pixels out; give stride (1 to "
                f"{self.window})"
            )
        rows, columns = (_starts(extent, self.window, self.stride) for extent in (height, width))
        return Grid(
            Spans(rows, rows + self.window, height, self.stride),
            Spans(columns, columns + self.window, width, self.stride),
        )

    def colour(self, preprocess: Preprocess) -> Tensor:
        """What hides the image, as the network takes it, (c, 1, 1) float64."""
        if self.fill == "mean":
            return torch.zeros(preprocess.planes, 1, 1, dtype=torch.float64)
        numbers = self.fill if isinstance(self.fill, tuple) else (self.fill,)
        if len(numbers) not in (1, preprocess.planes) or not all(isinstance(each, int | float) for each in numbers):
            raise AttributionError(
                f"fill={self.fill!r}: expected 'mean', a number from 0 (black) to 1 (white), or one for each of "
                f"{preprocess.planes} channels"
            )
        low, high = preprocess.range
        grey, mean, std = (
            torch.tensor(each, dtype=torch.float64) for each in (numbers, preprocess.mean, preprocess.std)
        )
        return ((grey * (high - low) + low - mean) / std).expand(preprocess.planes)[:, None, None]


_BLANK = "no window changes {}: the map is zero everywhere"


@torch.no_grad()
def occluded(
    replay: Replay, image: Tensor, windows: Grid, colour: Tensor, measure: Callable[[Values], Tensor]
) -> Tensor:
    """What `measure` gives for the image with each window in turn filled with a colour, (rows, columns, ...).

    Args:
        image: (c, h, w).
        colour: (c, 1, 1).
        measure: of the replay's values of k images, (k, ...).
    """
    rows, columns = windows.cells
    top, left = windows.rows.low.repeat(columns), np.tile(windows.columns.low, rows)
    bottom, right = windows.rows.high.repeat(columns), np.tile(windows.columns.high, rows)
    result: Tensor | None = None
    for numbers, values in replay.windows(image, np.stack([top, left, bottom, right], 1), colour):
        measured = measure(values)
        if result is None:
            result = measured.new_empty(rows * columns, *measured.shape[1:])
        result[torch.from_numpy(numbers)] = measured
    assert result is not None
    return result.reshape(rows, columns, *result.shape[1:])


def spread(values: Tensor, windows: Grid) -> Tensor:
    """Of every pixel the mean over the windows that cover it, (n, h, w), from one value a window (n, rows, columns)."""
    rows, columns = _covering(windows)
    sums = rows.T @ values.double() @ columns
    return sums / torch.outer(rows.sum(0), columns.sum(0))


def _covering(windows: Grid) -> tuple[Tensor, Tensor]:
    """Which rows of pixels each row of windows covers (rows, h), and the same for columns; 1 or 0."""
    rows, columns = (
        torch.from_numpy((np.arange(each.extent) >= each.low[:, None]) & (np.arange(each.extent) < each.high[:, None]))
        for each in (windows.rows, windows.columns)
    )
    return rows.double(), columns.double()


def _hiding_something(image: Tensor, windows: Grid, colour: Tensor) -> Tensor:
    """The windows in which the image is not of that colour anyway, (rows, columns)."""
    rows, columns = _covering(windows)
    differs = (image != colour.to(image)).any(0).double().cpu()
    return rows @ differs @ columns.T > 0


def _starts(extent: int, window: int, stride: int) -> Ints:
    return np.array([*range(0, extent - window, stride), extent - window], np.int64)


def scores_of(values: Values, target: Fixed, explained: gradients.Pass, graph: Graph) -> Tensor:
    """The scores of a target for the values of k images, (k,), as in the pass that explained it."""
    count = len(next(iter(values.values())))
    leaves, form = tree_flatten(explained.seen.output)
    tensors = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    for i, value in zip(tensors, graph.outputs, strict=True):
        leaves[i] = values.get(value, leaves[i])
    seen = Seen(count, tree_unflatten(leaves, form), values)
    return torch.stack([target.score(seen, row) for row in range(count)])
