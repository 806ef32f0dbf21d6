"""An ensemble: the mean of several networks' probabilities, with equal weights [METHODS 10.1]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from convscope.errors import NetworkError
from convscope.evaluation.row import Row


def mean(logs: Tensor) -> Tensor:
    """Logarithms of probabilities (k, n, classes): that of their mean over the first dimension."""
    return logs.logsumexp(0) - math.log(len(logs))


def ensemble_row(rows: Sequence[Row]) -> Row:
    """An empty row for the mean of all networks."""
    names, parameters = tuple(row.name for row in rows), sum(row.parameters for row in rows)
    return Row(f"ensemble of {len(rows)}", rows[0].crops, parameters, rows[0].classes, rows[0].outputs, names)


def order(first: Row, other: Row) -> Tensor | slice:
    """Where the classes of the first network are among the outputs of another one.

    Raises:
        NetworkError: they have different ones.
    """
    if first.outputs != other.outputs:
        raise NetworkError(
            f"{first.name} has {first.outputs} classes and {other.name} {other.outputs}; an ensemble needs the same"
        )
    if first.classes == other.classes:
        return slice(None)
    own, theirs = _names(first), _names(other)
    if strange := sorted({*own} ^ {*theirs}):
        has = first if strange[0] in own else other
        raise NetworkError(
            f"{first.name} and {other.name} have different classes, such as {strange[0]!r}, which only {has.name} has; "
            "an ensemble needs the same"
        )
    return torch.tensor([theirs.index(name) for name in own])


def _names(row: Row) -> tuple[str, ...]:
    """The names of a network's classes, which must tell one from the other."""
    if row.classes is None or len({*row.classes}) < row.outputs:
        what = "no names of its classes" if row.classes is None else "several classes of one name"
        raise NetworkError(
            f"{row.name} has {what}, and outputs that may be in another order than those of the other networks of the "
            "ensemble: give 'classes' in the JSON of its preprocessing (--preprocess)"
        )
    return row.classes
