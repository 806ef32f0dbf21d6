"""What is to be explained of every image: one target, several, or its best classes, a column of maps for each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope import gradients
from convscope.address import parse
from convscope.errors import TargetError
from convscope.graph import Graph
from convscope.network import Network
from convscope.scored import ClassTarget, Fixed, UnitTarget
from convscope.targets import Class, Target, understand

_BEST = re.compile(r"top([1-9][0-9]{0,3})")


@dataclass(frozen=True)
class Column:
    """A target for each image.

    Args:
        label: what it is called.
        rank: of the class that is meant, 0 for the best one; None where a target is given.
        targets: the one for all images, or one for each.
    """

    label: str
    rank: int | None
    targets: tuple[Any, ...] = ()

    def of(self, image: int) -> Any:
        """The target for the image with this place among all."""
        return self.targets[image] if len(self.targets) > 1 else self.targets[0]


@dataclass(frozen=True)
class Prediction:
    """What a network says of a class.

    Args:
        name: None where the classes have no names.
        value: its probability, or its real value where the network gives these.
        kind: which of the two: "probability" or "value".
    """

    index: int
    name: str | None
    value: float
    kind: str

    def __str__(self) -> str:
        return self.name if self.name is not None else f"class {self.index}"

    @property
    def said(self) -> str:
        """The value for people: a probability as a percentage."""
        if self.kind != "probability" or not math.isfinite(self.value):
            return f"{self.value:.4g}".replace("-", "−")
        share = 100 * self.value
        return f"{share:.0f} %" if share >= 9.95 else f"{share:.1f} %" if share >= 0.05 else "< 0.1 %"


def read_columns(targets: Any, network: Network, images: int) -> tuple[Column, ...]:
    """The columns that `targets` mean.

    Args:
        targets: a target as `convscope.targets` has them; "top3" for the best three classes of each image; a list of
            targets, one for each image; or a tuple of all these, a column for each.
        images: how many there are.

    Raises:
        TargetError: a list has another number of targets than there are images, or nothing is given.
    """
    if isinstance(targets, tuple):
        if not targets:
            raise TargetError("no target is given; leave targets out for the predicted class of each image")
        return tuple(column for each in targets for column in read_columns(each, network, images))
    if isinstance(targets, Tensor | np.ndarray):
        targets = targets.tolist()
    if isinstance(targets, list):
        if len(targets) != images:
            raise TargetError(
                f"{len(targets)} targets are given in a list for {images} images, where it has one for each; give "
                "several for every image as a tuple"
            )
        return (Column("given target", None, tuple(targets)),)
    best = _BEST.fullmatch(targets) if isinstance(targets, str) else None
    if best is not None and targets not in (network.classes or ()):
        return tuple(Column(f"top {rank + 1}", rank) for rank in range(int(best[1])))
    if targets is None:
        return (Column("predicted class", 0),)
    return (Column(_called(targets), None, (targets,)),)


def _called(target: Target) -> str:
    if isinstance(target, Class):
        return f"{_called(target.which)} ({target.of})" if target.of != "logit" else _called(target.which)
    if target is None:
        return "predicted class"
    return str(getattr(target, "__name__", target))


@dataclass(frozen=True, eq=False)
class Asked:
    """An image with its targets.

    Args:
        fixed: of each column, with the class or the position that was found on the image.
        predictions: all classes, the best first; none where the network's output is no score of classes.
    """

    fixed: tuple[Fixed, ...]
    predictions: tuple[Prediction, ...]

    def written(self, column: int) -> Target:
        """A fixed target as users write it, for a method."""
        target = self.fixed[column]
        if isinstance(target, ClassTarget):
            return Class(target.index, target.of)
        return parse(str(target)) if isinstance(target, UnitTarget) else target.function  # type: ignore[return-value]

    def explained(self, column: int) -> Prediction | None:
        """What the network says of the class that is the target; None where the target is none."""
        target = self.fixed[column]
        index = target.index if isinstance(target, ClassTarget) else None
        return next((each for each in self.predictions if each.index == index), None)


def ask(network: Network, graph: Graph, image: Tensor, columns: Sequence[Column], place: int) -> Asked:
    """Run the network on one image (c, h, w), alone, so that its targets do not depend on others.

    Args:
        place: of the image among all.

    Raises:
        TargetError, AddressError: there is no such class, unit or position.
        NotFiniteError: its scores are NaN or infinite.
    """
    classes = _classes(network, graph, columns)
    targets = [_target(column, classes, network, graph, place) for column in columns]
    keep = [value for each in (*targets, classes) if each is not None for value in each.values]
    with gradients.untouched(network), torch.no_grad():
        seen = gradients.run(network, graph, image[None], targets[:1], keep=keep).seen
        fixed = [_fixed(target, column, seen) for target, column in zip(targets, columns, strict=True)]
        scores = torch.stack([target.score(seen, 0).double() for target in fixed])
        gradients.check_finite(scores[None], "the score")
        return Asked(tuple(fixed), () if classes is None else tuple(_predictions(classes, seen, network)))


def _classes(network: Network, graph: Graph, columns: Sequence[Column]) -> ClassTarget | None:
    """The classes; None where the output is no score of classes, and none is asked for."""
    asked = max((column.rank + 1 for column in columns if column.rank is not None), default=0)
    try:
        target = understand(None, network, graph, 1)[0]
    except TargetError:
        if asked:
            raise
        return None
    assert isinstance(target, ClassTarget)
    count = graph.shapes[graph.outputs[0]][1]
    if asked > count:
        raise TargetError(f"the best {asked} classes are to be explained, and {network.name} has {count}")
    return target


def _target(column: Column, classes: ClassTarget | None, network: Network, graph: Graph, place: int) -> Fixed:
    if column.rank is None:
        return understand([column.of(place)], network, graph, 1)[0]
    assert classes is not None
    return classes


def _fixed(target: Fixed, column: Column, seen: Any) -> Fixed:
    if column.rank is None:
        return target.fix(seen, 0)
    assert isinstance(target, ClassTarget)
    return replace(target, index=target.ranked(seen, 0)[column.rank]).fix(seen, 0)


def _predictions(classes: ClassTarget, seen: Any, network: Network) -> Iterable[Prediction]:
    values, kind = classes.every(seen, 0).tolist(), "value" if network.output == "real" else "probability"
    for index in classes.ranked(seen, 0):
        yield Prediction(index, classes.names[index] if classes.names else None, values[index], kind)
