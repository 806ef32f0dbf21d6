"""What a set of images is, and how its labels become the classes of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from convscope.errors import NetworkError, nearest
from convscope.network import Network
from convscope.preprocess import Picture

Label = int | str | None  # a class index, a class name, or not known


class ImageSet(ABC):
    """Images in a fixed order, with names and perhaps labels.

    Attributes:
        spec: what the set was opened with.
        names: of each image: its relative path, or its rank in an array.
        labels: of each image, as they were given.
    """

    spec: str
    names: Sequence[str]
    labels: Sequence[Label]

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
        """The class index of every image, -1 where there is none, and a remark on labels that were left out or guessed.

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
        if all(label is None for label in self.labels):
            return np.full(len(self), -1), None
        if not outputs:
            return np.full(len(self), -1), "the network's output is no score for each class, so labels do not count"
        table, remark = _class_table(network, self.labels, outputs)
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


def _class_table(network: Network, labels: Iterable[Label], outputs: int) -> tuple[dict[str, int], str | None]:
    """Class name -> index, and what there is to say about it. Names that stand for two classes are left out."""
    if network.classes is None:
        names = sorted({label for label in labels if isinstance(label, str)})
        if all(name.isascii() and name.isdigit() for name in names):
            return {name: int(name) for name in names}, None  # class indices, written as text
        if len(names) != outputs:
            return {}, f"the network has {outputs} classes without names, and there are {len(names)} different labels"
        remark = "the network's classes have no names; the labels, sorted, were taken for them in this order"
        return {name: i for i, name in enumerate(names)}, remark
    counts = Counter(network.classes)
    names_once = {name: i for i, name in enumerate(network.classes) if counts[name] == 1}
    return {**(network.synonyms or {}), **names_once}, None


def _class_index(label: Label, table: dict[str, int], outputs: int) -> int:
    index = table.get(label) if isinstance(label, str) else label
    return index if index is not None and 0 <= index < outputs else -1
