"""What a set of images is, and how its labels become the classes of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.errors import ImagesError, NetworkError, nearest
from convscope.network import Network
from convscope.preprocess import Picture

Label = int | str | None  # a class index, a class name, or not known


def source(spec: str) -> str:
    """A set of images by its name: without the folders above it, which are no business of who is shown it."""
    return Path(spec).name if Path(spec).is_absolute() else spec


class ImageSet(ABC):
    """Images in a fixed order, with names and perhaps labels.

    Attributes:
        spec: what the set was opened with.
        names: of each image: its relative path, or its rank in an array.
        labels: of each image, as they were given.
        classes: the names of the class indices 0, 1, ... where the set itself says so.
        remark: what a user must know about how the set was read.
        reopens: whether `open_images` gives the same set for `spec`, also in another process.
    """

    spec: str
    names: Sequence[str]
    labels: Sequence[Label]
    classes: Sequence[str] | None = None
    remark: str | None = None
    reopens: bool = True

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def read(self, index: int) -> Picture:
        """The picture with this id.

        Raises:
            UnreadableImage: it cannot be decoded; the message says why, without the name.
        """

    @abstractmethod
    def signature(self, start: int, stop: int) -> str:
        """A hash that changes when any of the images start to stop-1, or its label, is replaced.

        It is quick: files are not opened.
        """

    def class_indices(self, network: Network, outputs: int) -> tuple[NDArray[np.int64], str | None]:
        """The class index of every image, -1 where there is none, and what to say of the set, of labels that were left
        out, and of guesses.

        Args:
            outputs: scores that the network gives; 0 where its output is no score for each class, and labels are not
                compared with it.

        Raises:
            NetworkError: the network has another number of class names than outputs.
        """
        if outputs and network.classes is not None and len(network.classes) != outputs:
            raise NetworkError(
                f"{network.name}: {len(network.classes)} class names for {outputs} outputs; give a name for each, "
                "or none"
            )
        indices, remark = self._class_indices(network, outputs)
        return indices, "; ".join(filter(None, (self.remark, remark))) or None

    def truth(self, network: Network, outputs: int) -> tuple[NDArray[np.int64], str | None]:
        """The same where every image must have a class of the network.

        Raises:
            ImagesError: there are images without a label, or labels that are no class.
        """
        missing = [name for name, label in zip(self.names, self.labels, strict=True) if label is None]
        if missing:
            raise ImagesError(
                f"{self.spec}: {len(missing)} of {len(self)} images have no label, such as {missing[0]}; give them "
                "class subfolders, or a labels.csv with columns file and label"
            )
        indices, remark = self.class_indices(network, outputs)
        unknown = [label for label, index in zip(self.labels, indices, strict=True) if index < 0]
        if unknown:
            hint = nearest(str(unknown[0]), network.classes or ())
            nameless = "" if network.classes else " without names"
            raise ImagesError(
                f"{self.spec}: {len(unknown)} of {len(self)} labels are no class of the network, such as "
                f"{unknown[0]!r}{hint}; {network.name} has {outputs}{nameless}: correct the labels or its classes"
            )
        return indices, remark

    def _class_indices(self, network: Network, outputs: int) -> tuple[NDArray[np.int64], str | None]:
        if all(label is None for label in self.labels):
            return np.full(len(self), -1), None
        if not outputs:
            return np.full(len(self), -1), "the network's output is no score for each class, so labels do not count"
        table, remark = _class_table(network, self.labels, self.classes, outputs)
        found = [_class_index(label, table, outputs) for label in self.labels]
        unknown = [label for label, index in zip(self.labels, found, strict=True) if label is not None and index < 0]
        if unknown:
            example = unknown[0]
            hint = nearest(example, table) if isinstance(example, str) else ""
            remark = (
                f"{len(unknown)} of {len(self)} labels are not classes of the network, such as {example!r}{hint}; "
                "they do not count in the accuracy" + (f" ({remark})" if remark else "")
            )
        return np.array(found, np.int64), remark


def _class_table(
    network: Network, labels: Iterable[Label], classes: Sequence[str] | None, outputs: int
) -> tuple[dict[str, int], str | None]:
    """Class name -> index, and what there is to say about it. Names that stand for two classes are left out."""
    if network.classes is not None:
        return {**(network.synonyms or {}), **_once(network.classes)}, None
    names = sorted({label for label in labels if isinstance(label, str)})
    if classes is None and all(name.isascii() and name.isdigit() and len(name) < 19 for name in names):
        return {name: int(name) for name in names}, None  # class indices, written as text
    count = len(names if classes is None else classes)
    if count != outputs:
        return {}, f"the network has {outputs} classes without names, and there are {count} different labels"
    if classes is not None:
        return _once(classes), "the network's classes have no names; those of the images were taken, in their order"
    remark = "the network's classes have no names; the labels, sorted, were taken for them in this order"
    return {name: i for i, name in enumerate(names)}, remark


def _once(classes: Sequence[str]) -> dict[str, int]:
    counts = Counter(classes)
    return {name: i for i, name in enumerate(classes) if counts[name] == 1}


def _class_index(label: Label, table: dict[str, int], outputs: int) -> int:
    if isinstance(label, str):  # some data sets give all names of a class: "tench, Tinca tinca" is a tench
        label = table.get(label, table.get(label.partition(",")[0].strip()))
    return label if label is not None and 0 <= label < outputs else -1
