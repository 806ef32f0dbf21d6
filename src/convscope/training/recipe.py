"""A recipe: everything that determines a training, as a small TOML file. ``docs/training.md`` shows one.

Nothing is guessed: a key that is unknown, missing or out of its range is named with what was expected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from convscope.errors import ConvscopeError, TrainingError
from convscope.network import made_for
from convscope.preprocess import Preprocess, shown
from convscope.training.augmentation import Augmentation
from convscope.training.fields import (
    check_keys,
    choice,
    count,
    counts,
    in_folder,
    names,
    number,
    one_of,
    read_toml,
    table,
    text,
)
from convscope.training.optimizers import OPTIMIZERS, Descent
from convscope.training.schedules import SCHEDULES, Constant, Schedule

FOLDER = Path(__file__).parent / "recipes"
EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)  # at which Zeiler & Fergus looked at their features [METHODS 9.1]


@dataclass(frozen=True, kw_only=True)
class Net:
    """What is trained. Without `classes` they are the classes, or the sorted labels, of the training images.

    Args:
        weights: what it starts from, where their names and shapes are the architecture's; None for random weights. A
            path is looked for beside the recipe first.
    """

    arch: str = text(
        "an architecture of the zoo with its options, torchvision:NAME, timm:NAME or package.module:factory"
    )
    weights: str | None = text("a checkpoint, or an embedded network as diorama:objects", None)
    classes: tuple[str, ...] | None = names("a list of different names")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """On what: IMAGES, as everywhere; a path is looked for beside the recipe first."""

    train: str = text("what is trained on: a folder, a CSV, an array, digits:train, hub:NAME/SPLIT")
    val: str = text("what the accuracy is measured on: a folder, a CSV, an array, digits:test, hub:NAME/SPLIT")


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """After which epochs, and after which steps, counted from 1, the weights are kept; the last always are."""

    epochs: tuple[int, ...] = counts("a list of epochs, as [1, 2, 5, 10]", EPOCHS)
    steps: tuple[int, ...] = counts("a list of steps, as [10, 100]", ())


@dataclass(frozen=True, kw_only=True)
class Course:
    """The keys outside of all tables.

    Args:
        expected: the accuracy on the validation images that the recipe reaches, at least.
        label_smoothing: the share of each target that is spread over all classes.
        max_filter_rms: the radius of the filters of Zeiler & Fergus; None where they grow as they like.
        precision: of the forward and backward pass; weights, and everything else, are float32.
    """

    epochs: int = count("a number of epochs", low=1)
    batch_size: int = count("a number of images", low=1)
    seed: int = count("a whole number", 0)
    expected: float | None = number("an accuracy from 0 to 1", None, high=1.0)
    label_smoothing: float = number("a share from 0 to below 1", 0.0, high=0.999)
    max_filter_rms: float | None = number("a radius above 0, as 0.1", None, above=True)
    precision: str = choice(["float32", "bfloat16"], "float32")


@dataclass(frozen=True)
class Recipe:
    """A recipe, read and checked.

    Args:
        name: of the file, without ``.toml``.
        preprocess: how images become inputs, in training as later.
    """

    name: str
    net: Net
    pictures: Pictures
    preprocess: Preprocess
    optimizer: Descent
    schedule: Schedule
    augmentation: Augmentation
    checkpoints: Checkpoints
    course: Course

    @classmethod
    def open(cls, spec: str | Path) -> Recipe:
        """The recipe in a file, or the one with this name among those of convscope.

        Raises:
            TrainingError: there is none, or something in it makes no sense.
        """
        data, path = read_toml(spec, FOLDER, "recipe")
        return cls.read(data, path.stem, str(path), path.parent)

    @classmethod
    def read(cls, data: Mapping[str, Any], name: str, origin: str = "the recipe", folder: Path = Path()) -> Recipe:
        """The recipe in plain values; `folder` is where paths are looked for first.

        Raises:
            TrainingError: a key is unknown, missing, or has a value that makes no sense; it names `origin`.
        """
        keys = {field.name: field for field in dataclasses.fields(Course)}
        check_keys(data, dict.fromkeys([*keys, *_TABLES]), origin)
        parts = {key: data[key] for key in _TABLES if key in data}
        for key in ("network", "images", "optimizer"):
            if key not in parts:
                raise TrainingError(f"{origin}: the table [{key}] is missing")
        net = table(Net, parts["network"], f"{origin}: [network]")
        preprocess = _preprocess(net.arch, parts.get("preprocessing"), origin)
        augmentation = table(Augmentation, parts.get("augmentation", {}), f"{origin}: [augmentation]")
        augmentation.check(preprocess, f"{origin}: [augmentation]")
        schedule = one_of(SCHEDULES, parts["schedule"], f"{origin}: [schedule]") if "schedule" in parts else Constant()
        return cls(
            name,
            _beside(net, folder, "weights"),
            _beside(table(Pictures, parts["images"], f"{origin}: [images]"), folder, "train", "val"),
            preprocess,
            one_of(OPTIMIZERS, parts["optimizer"], f"{origin}: [optimizer]"),
            schedule,
            augmentation,
            table(Checkpoints, parts.get("checkpoints", {}), f"{origin}: [checkpoints]"),
            table(Course, {key: given for key, given in data.items() if key not in _TABLES}, origin),
        )

    def but(self, *, epochs: int | None = None, seed: int | None = None) -> Recipe:
        """The same recipe with another number of epochs, whose accuracy is not known then, or another seed."""
        course = self.course
        if epochs is not None and epochs != course.epochs:
            course = dataclasses.replace(course, epochs=epochs, expected=None)
        return dataclasses.replace(self, course=course if seed is None else dataclasses.replace(course, seed=seed))

    def to_json(self) -> dict[str, Any]:
        """Plain values: the same keys as in the file, and all of them."""
        return {
            **dataclasses.asdict(self.course),
            "network": dataclasses.asdict(self.net),
            "images": dataclasses.asdict(self.pictures),
            "preprocessing": self.preprocess.to_json(),
            "optimizer": dataclasses.asdict(self.optimizer),
            "schedule": dataclasses.asdict(self.schedule),
            "augmentation": dataclasses.asdict(self.augmentation),
            "checkpoints": dataclasses.asdict(self.checkpoints),
        }


Given = TypeVar("Given", Net, Pictures)
_TABLES = ("network", "images", "preprocessing", "optimizer", "schedule", "augmentation", "checkpoints")


def known() -> list[str]:
    """The names of the recipes that come with convscope."""
    return in_folder(FOLDER)


def _preprocess(arch: str, data: Any, origin: str) -> Preprocess:
    """What the file says, or else what the architecture is made for."""
    if data is not None:
        if not isinstance(data, Mapping):
            raise TrainingError(f"{origin}: [preprocessing]: expected a table of keys, found {shown(data)}")
        try:
            return Preprocess.from_json(dict(data), f"{origin}: [preprocessing]")
        except ConvscopeError as error:
            raise TrainingError(str(error)) from error
    found = made_for(arch)
    if found is not None:
        return found
    raise TrainingError(
        f"{origin}: the table [preprocessing] is missing, and nothing says how images are prepared for {arch!r}; "
        "give at least its size = [height, width], with mean, std and channels"
    )


def _beside(table_: Given, folder: Path, *fields: str) -> Given:
    """The table with paths that are there beside the recipe; all else as it is written."""
    specs = {field: getattr(table_, field) for field in fields}
    found: dict[str, Any] = {
        field: str(folder / spec) for field, spec in specs.items() if spec and (folder / spec).exists()
    }
    return dataclasses.replace(table_, **found)
