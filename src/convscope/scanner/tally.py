"""What a scan counts beside the units: images read and skipped, predictions that are right, a digest of the inputs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from convscope.network import logits

_TOP = 5


@dataclass
class Tally:
    """Counts of some images, joined with those of the images after them.

    Args:
        skipped: id, name and reason of every image that could not be read, in the order of the set.
        labelled: images whose class is known to the network; `top1` and `top5` of them are predicted rightly.
        digest: a hash of all inputs, chained batch by batch.
    """

    read: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    labelled: int = 0
    top1: int = 0
    top5: int = 0
    digest: str = ""

    def skip(self, images: Sequence[dict[str, Any]]) -> None:
        """Take in images that could not be read."""
        self.skipped += images

    def count(self, result: Any, digests: Sequence[bytes], true: Tensor) -> None:
        """Take in what the network gave for a batch.

        Args:
            digests: a hash of each input.
            true: (n,) class indices, -1 where they are not known.
        """
        self.read += len(digests)
        self.digest = hashlib.sha256(self.digest.encode() + b"".join(digests)).hexdigest()
        known = true >= 0
        if known.any():
            before = rank(logits(result).cpu()[known], true[known])
            self.labelled += int(known.sum())
            self.top1 += int((before < 1).sum())
            self.top5 += int((before < _TOP).sum())

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
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, read again by `from_json`."""
        return dataclasses.asdict(self)

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
        }


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
