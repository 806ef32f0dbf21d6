"""Rules that need labels: another preprocessing that does clearly better, and an accuracy that is chance.

Alternatives are screened on a few images, and the best is compared with the declared one on others, so that trying
many does not make one of them look good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope.images import ImageSet
from convscope.network import Network
from convscope.sanity.alternatives import Alternative, alternatives
from convscope.sanity.finding import Finding, rounded
from convscope.sanity.sample import scores_of

MORE = 24  # further labelled images that a comparison needs at least
_HINT, _GAIN = 0.03, 0.08  # of the right class's probability: to be looked at again, and to be believed
_SAVED, _CLIP, _T = 0.4, 3.0, 3.0  # nats an image, of which one counts so many at most, and over the standard error
_CLOSE = 1.3  # alternatives that the first images cannot tell apart: the likelier mistake is named
_WORKS = 0.3  # what the right class gets on average from a network that evidently works
_HOT, _FALLS = 16.0, 0.4  # scores 16 times too large, where the alternative has 0.4 of the surprise
_SUPPORTED = 2.0  # t of what a suspicion spares
_TEMPERATURES: list[float] = [2.0 ** (power / 2) for power in range(-10, 19)]
_UNLIKELY, _VERY_UNLIKELY = math.log(100), math.log(1e6)


@dataclass(frozen=True)
class Sample:
    """Scores (n, classes) of images with known classes (n,)."""

    scores: Tensor
    true: Tensor

    def join(self, other: Sample) -> Sample:
        """These and the others."""
        return Sample(torch.cat([self.scores, other.scores]), torch.cat([self.true, other.true]))

    def surprise(self, temperature: float = 1.0) -> Tensor:
        """(n,) the negative log-likelihood of the right class."""
        scaled = (self.scores.double() / temperature).log_softmax(1)
        return -scaled.gather(1, self.true[:, None])[:, 0].nan_to_num(nan=1e3)

    @property
    def temperature(self) -> float:
        """What the scores are best divided by."""
        means = [float(self.surprise(each).mean()) for each in _TEMPERATURES]
        return _TEMPERATURES[means.index(min(means))]

    @property
    def probability(self) -> Tensor:
        """(n,) of the right class at the best temperature, because networks are over- and underconfident."""
        return (-self.surprise(self.temperature)).exp()

    @property
    def right(self) -> int:
        """How many are predicted rightly."""
        return int((self.scores.argmax(1) == self.true).sum())


@dataclass(frozen=True)
class Comparison:
    """An alternative against what is declared, on the same images."""

    declared: Sample
    other: Sample

    @property
    def gain(self) -> float:
        """How much more probability the right class gets."""
        return float((self.other.probability - self.declared.probability).mean())

    @property
    def saved(self) -> Tensor:
        """(n,) the surprise that is spared at the best temperatures, nats, with outliers clipped."""
        declared, other = (each.surprise(each.temperature) for each in (self.declared, self.other))
        return (declared - other).clamp(-_CLIP, _CLIP)

    @property
    def cools(self) -> bool:
        """Whether the declared scores are absurdly large, and the alternative's are not, and as good."""
        declared, other = (float(each.surprise().mean()) for each in (self.declared, self.other))
        return self.declared.temperature >= _HOT and other <= _FALLS * declared and self.gain > -_GAIN

    @property
    def promises(self) -> bool:
        """Whether it is worth another look."""
        return self.gain >= _HINT or self.cools

    @property
    def convinces(self) -> bool:
        """Whether it is a finding."""
        works = float(self.other.probability.mean()) >= _WORKS
        saved = self.saved
        clear = float(saved.mean()) >= _SAVED and t(saved) >= _T
        return works and (self.cools or (self.gain >= _GAIN and clear))


class Trial:
    """The declared preprocessing and its alternatives, on some images first and on more where that is worth it.

    Args:
        first: scores with the declared preprocessing of the images `ids`.
        more: other labelled images.
        truth: class index of every image of the set, -1 where it is not known.
    """

    def __init__(
        self, network: Network, images: ImageSet, first: Tensor, ids: Sequence[int], more: Sequence[int], truth: Tensor
    ) -> None:
        self.network, self.images, self.truth = network, images, truth
        self.ids, self.more = ids, more
        self.first = Sample(first, truth[list(ids)])
        self._second: Sample | None = None

    @property
    def enough(self) -> bool:
        """Whether there are images to compare on, of different classes."""
        used = self.truth[[*self.ids, *self.more]]
        classes = self.first.scores.shape[1]
        different = len(set(used.tolist()))
        varied = different >= max(2, min(10, (classes + 1) // 2, len(used) // 4))
        return len(self.more) >= MORE and len(self.ids) > 1 and varied

    def declared(self) -> Sample:
        """All images with the declared preprocessing."""
        if self._second is None:
            self._second = self._sample([self.network.preprocess], self.more)[0]
        return self.first if self._second is None else self.first.join(self._second)

    def better(self) -> Finding | None:
        """The alternative that does better for certain."""
        if float(self.first.probability.mean()) > 1 - _GAIN:  # as well as it can be
            return None
        tried = alternatives(self.network.preprocess)
        screened = zip(tried, self._sample(tried, self.ids), strict=True)
        compared = [(way, Comparison(self.first, other)) for way, other in screened if other is not None]
        promising = [(way, each) for way, each in compared if each.promises]
        if not promising:
            return None
        surprises = [float(each.other.surprise().mean()) for _, each in promising]
        best = next(way for (way, _), each in zip(promising, surprises, strict=True) if each <= _CLOSE * min(surprises))
        comparison = self._again(best)
        return _better(best, comparison, self.network) if comparison is not None and comparison.convinces else None

    def contradicts(self, way: Alternative) -> bool:
        """Whether the labels speak against a suspicion: they are no less surprising in the other way."""
        comparison = self._again(way)
        if comparison is None:
            return False
        saved = comparison.declared.surprise() - comparison.other.surprise()
        return t(saved) < _SUPPORTED

    def _again(self, way: Alternative) -> Comparison | None:
        declared, other = self._sample([self.network.preprocess, way], self.more)
        self._second = declared if self._second is None else self._second
        return None if declared is None or other is None else Comparison(declared, other)

    def _sample(self, ways: Sequence[Any], ids: Sequence[int]) -> list[Sample | None]:
        found, read = scores_of(self.network, self.images, ids, ways)
        return [None if scores is None else Sample(scores, self.truth[list(read)]) for scores in found]


def t(differences: Tensor) -> float:
    """The mean over its standard error."""
    return float(differences.mean() / (differences.std() + 1e-9) * len(differences) ** 0.5)


def _better(way: Alternative, comparison: Comparison, network: Network) -> Finding:
    declared, other = comparison.declared, comparison.other
    count = len(declared.true)
    evidence = {
        "images": count,
        "right": declared.right,
        "right_otherwise": other.right,
        "probability": rounded(float(declared.probability.mean())),
        "probability_otherwise": rounded(float(other.probability.mean())),
        "surprise": rounded(float(declared.surprise().mean())),
        "surprise_otherwise": rounded(float(other.surprise().mean())),
        "changes": way.changes(network.preprocess),
    }
    return Finding(
        "preprocess",
        f"another preprocessing fits the labels better: of {count} labelled images {other.right} are right instead of "
        f"{declared.right}, and the right class is less surprising ({evidence['surprise_otherwise']:g} instead of "
        f"{evidence['surprise']:g} nats); probably {way.cause}: {way.remedy(network.preprocess)}",
        evidence,
    )


def wrong_labels(right: int, labelled: int, trial: Trial, network: Network) -> Finding | None:
    """An accuracy that a network which works would exceed: classes in another order, or no better than chance.

    Args:
        right, labelled: the accuracy, of as many images as are known.
    """
    classes = trial.first.scores.shape[1]
    if not is_poor(right, labelled, classes):
        return None
    sample = trial.declared()
    evidence: dict[str, Any] = {"right": right, "labelled": labelled, "classes": classes}
    what = f"{right} of {labelled} labelled images are right ({right / labelled:.1%}), and a guess is {1 / classes:.1%}"
    for cause, mapped in _orders(sample.true, classes, network):
        hits = int((sample.scores.argmax(1) == mapped).sum())
        share = hits / len(mapped)
        if share >= max(_WORKS, 2 / classes) and len(mapped) * divergence(share, 1 / classes) > _VERY_UNLIKELY:
            evidence |= {"images": len(mapped), "right_otherwise": hits}
            fix = f"{hits} of {len(mapped)} would be right if {cause}"
            return Finding("labels", f"{what}; {fix}: correct the labels or the class names", evidence)
    return _chance(what, evidence, sample) if is_chance(right, labelled, classes) else None


def _chance(what: str, evidence: dict[str, Any], sample: Sample) -> Finding:
    count, answers = len(sample.true), len(set(sample.scores.argmax(1).tolist()))
    varied = answers > max(2, min(evidence["classes"], count) // 4)
    likely = (
        "its answers differ from image to image, so the labels or class names are probably in another order than its "
        "outputs, or the weights are untrained"
        if varied
        else f"it gives only {answers} different answers to {count} images, so the weights are probably untrained or "
        "not those of this architecture, or 'mean', 'std' and 'range' are wrong"
    )
    message = f"{what}; {likely}: check the labels, the weights and the preprocessing"
    return Finding("chance", message, evidence | {"images": count, "different_answers": answers})


def is_poor(right: int, labelled: int, classes: int) -> bool:
    """Whether an accuracy is for certain (1 %) below what a network that works would have at least."""
    if not labelled or classes < 2:
        return False
    share, modest = right / labelled, 1 / classes + 0.1 * (1 - 1 / classes)
    return share < modest and labelled * divergence(share, modest) > _UNLIKELY


def is_chance(right: int, labelled: int, classes: int) -> bool:
    """Whether a poor accuracy is not for certain (1 %) above that of guesses."""
    if not is_poor(right, labelled, classes):
        return False
    share = right / labelled
    above = share > 1 / classes and labelled * divergence(share, 1 / classes) > _UNLIKELY
    return not above


def divergence(share: float, expected: float) -> float:
    """Of one coin from another, nats: exp(-n · divergence) bounds how likely n throws give such a share (Chernoff)."""
    parts = ((share, expected), (1 - share, 1 - expected))
    return sum(p * math.log(p / q) for p, q in parts if p > 0)


def _orders(true: Tensor, classes: int, network: Network) -> Iterator[tuple[str, Tensor]]:
    """Other orders in which people number classes."""
    yield "the labels counted from 0 (they seem to count from 1)", (true - 1) % classes
    yield "the labels counted from 1 (they seem to count from 0)", (true + 1) % classes
    orders = [("numbers sorted as text (0, 1, 10, 11, ..., 2)", [str(index) for index in range(classes)])]
    if network.classes is not None and len(network.classes) == classes:
        orders.append(("class names in alphabetical order", list(network.classes)))
    for what, names in orders:
        order = torch.tensor(sorted(range(classes), key=lambda index: names[index]))
        yield f"the labels stood for {what}", order[true]
        yield f"the network's outputs stood for {what}", order.argsort()[true]
