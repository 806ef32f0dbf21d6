"""What a scan counts beside the units: images read and skipped, what was predicted, a digest of the inputs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from convscope.network import logits

_TOP = 5
_NONE = -1  # what is predicted where a score is NaN


@dataclass
class Tally:
    """Counts of some images, joined with those of the images after them.

    Args:
        skipped: id, name and reason of every image that could not be read, in the order of the set.
        labelled: images whose class is known to the network; `top1` and `top5` of them are predicted rightly.
        digest: a hash of all inputs, chained batch by batch.
        confusions: of the labelled images, how many of a true class had which prediction, by ``true,predicted``;
            -1 is no prediction. Keys are text, as JSON has them, and only what occurs is counted.
        near: by true class, how many images have it among the first five.
        wrong: id of the first labelled image whose prediction is not right; None where there is none.
    """

    read: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    labelled: int = 0
    top1: int = 0
    top5: int = 0
    digest: str = ""
    confusions: dict[str, int] = field(default_factory=dict)
    near: dict[str, int] = field(default_factory=dict)
    wrong: int | None = None

    def skip(self, images: Sequence[dict[str, Any]]) -> None:
        """Take in images that could not be read."""
        self.skipped = [*self.skipped, *images]

    def count(self, result: Any, digests: Sequence[bytes], true: Tensor, ids: Tensor) -> None:
        """Take in what the network gave for a batch.

        Args:
            digests: a hash of each input.
            true: (n,) class indices, -1 where they are not known.
            ids: (n,) of the images, ascending.
        """
        self.read += len(digests)
        self.digest = hashlib.sha256(self.digest.encode() + b"".join(digests)).hexdigest()
        known = true >= 0
        if known.any():
            self.judge(logits(result).cpu()[known], true[known], ids[known])

    def judge(self, scores: Tensor, true: Tensor, ids: Tensor) -> None:
        """Take in the scores (n, classes) of images whose class is known."""
        before = rank(scores, true)
        self.labelled += len(true)
        self.top1 += int((before < 1).sum())
        self.top5 += int((before < _TOP).sum())
        classes = true.tolist()
        pairs = (f"{one},{other}" for one, other in zip(classes, predicted(scores).tolist(), strict=True))
        near = (str(one) for one, place in zip(classes, before.tolist(), strict=True) if place < _TOP)
        self.confusions, self.near = _sum(self.confusions, Counter(pairs)), _sum(self.near, Counter(near))
        wrong = ids[before >= 1].tolist()
        self.wrong = wrong[0] if wrong and self.wrong is None else self.wrong

    def merge(self, other: Tally) -> Tally:
        """The tally of these images and the ones after them."""
        digest = hashlib.sha256((self.digest + other.digest).encode()).hexdigest()
        return Tally(
            self.read + other.read,
            self.skipped + other.skipped,
            self.labelled + other.labelled,
            self.top1 + other.top1,
            self.top5 + other.top5,
            digest,
            _sum(self.confusions, other.confusions),
            _sum(self.near, other.near),
            other.wrong if self.wrong is None else self.wrong,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, read again by `from_json`; they are not copied."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tally:
        """The inverse of `to_json`."""
        return cls(**data)

    def results(self) -> dict[str, Any]:
        """The figures of ``run.json`` and of ``scan --json``; shares are None where no image has a label."""
        share = {"top1": self.top1 / self.labelled, "top5": self.top5 / self.labelled} if self.labelled else {}
        return {
            "images": self.read,
            "skipped": self.skipped,
            "labelled": self.labelled,
            "top1": share.get("top1"),
            "top5": share.get("top5"),
            "top1_right": self.top1,
            "top5_right": self.top5,
            "classes": self._classes(),
            "confusions": [[*pair, count] for pair, count in self._pairs().items()],
        }

    def _pairs(self) -> dict[tuple[int, int], int]:
        """How many images of a true class had which prediction, by both, in order."""
        pairs = {tuple(map(int, both.split(","))): count for both, count in self.confusions.items()}
        return {(true, given): count for (true, given), count in sorted(pairs.items())}

    def _classes(self) -> list[dict[str, int]]:
        """Of every class that occurs among the labels: its images, and how many of them are right."""
        pairs, images = self._pairs(), Counter[int]()
        for (true, _), count in pairs.items():
            images[true] += count
        return [
            {"class": true, "images": count, "top1": pairs.get((true, true), 0), "top5": self.near.get(str(true), 0)}
            for true, count in images.items()
        ]


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Both counts together."""
    return dict(Counter(one) + Counter(other))


def predicted(scores: Tensor) -> Tensor:
    """The class (n,) with the best of the scores (n, classes), of equal ones the lowest; -1 where a score is NaN.

    It is the true class exactly where `rank` is 0.
    """
    return scores.argmax(1).masked_fill(torch.isnan(scores).any(1), _NONE)


def rank(scores: Tensor, true: Tensor) -> Tensor:
    """How many classes come before the true one; of equal scores the lower index comes first, and NaN is never right.

    Args:
        scores: (n, classes).
        true: (n,) class indices.
    """
    own = scores.gather(1, true[:, None])
    classes = torch.arange(scores.shape[1])
    before = (scores > own) | ((scores == own) & (classes < true[:, None])) | torch.isnan(scores) | torch.isnan(own)
    return before.sum(1)
