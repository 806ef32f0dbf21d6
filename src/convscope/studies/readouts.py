"""What can be read out of deep features by something linear, and where in an image it is read [METHODS 8.10].

::

    s(c) = Σ w(c, k) F(k) + b(c)          M(c, i, j) = Σ w(c, k) f(k, i, j)

Labels by a linear SVM against all others, numbers by ridge regression, clusters by k-means: each is linear in the
features, so that the mean of its map and the bias are its score, exactly. Features are standardised on the training
part, and w, b are folded back to features as they are. What is chosen (C, alpha) is chosen by cross-validation on the
training part alone; what is reported is of images that neither the fit nor the choice has seen.

>>> readout = fit_labels(features.values, labels)
>>> readout.scores(other.values), readout.maps(maps)
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor

from convscope.errors import ImagesError
from convscope.evaluation.intervals import Errors

Numbers = NDArray[np.float64]

FOLDS = 5
HELD_OUT = 0.25  # of the images, where no others are given to judge
PENALTIES = tuple(float(10.0**power) for power in range(-5, 1))  # C of the SVM
ALPHAS = tuple(float(10.0**power) for power in range(-2, 6))
_RESAMPLED = 1000  # times, for an interval


@dataclass(frozen=True, eq=False)
class Readout:
    """Scores that are linear in features.

    Args:
        kind: "labels", "values" or "clusters".
        names: (m,) of the scores.
        weights: (m, k), of features as they are.
        bias: (m,).
        chosen: by cross-validation on the training part, and how good it was there.
        zero: the score that says nothing: the mean of numbers.
    """

    kind: str
    names: tuple[str, ...]
    weights: Numbers
    bias: Numbers
    chosen: Mapping[str, float]
    zero: float = 0.0

    def scores(self, values: Numbers) -> Numbers:
        """(n, m) for features (n, k)."""
        scores: Numbers = values @ self.weights.T + self.bias
        return scores

    def maps(self, maps: Tensor) -> Tensor:
        """(n, m, rows, columns) for maps (n, k, rows, columns): their means and the bias are the scores."""
        return torch.einsum("mk,nkij->nmij", torch.from_numpy(self.weights).to(maps), maps)


def split(labels: Sequence[str] | None, count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `count` images to fit on and which to judge on, ascending: a quarter of each label, if there are labels.

    Raises:
        ImagesError: there are too few images.
    """
    try:
        parts = train_test_split(np.arange(count), test_size=HELD_OUT, random_state=seed, stratify=labels)
    except ValueError as error:
        raise ImagesError(
            f"a quarter of {count} images cannot be held out ({error}); give more images, or others to judge on"
        ) from error
    train, test = (np.sort(part) for part in parts)
    return train, test


def fit_labels(values: Numbers, labels: Sequence[str], seed: int = 0) -> Readout:
    """A linear SVM for each label against all others.

    Args:
        values: (n, k) features of the training images, and `labels` (n,) of them.
        seed: of the folds.

    Raises:
        ImagesError: there are fewer than two labels, or a label has a single image.
    """
    counts = Counter(labels)
    if len(counts) < 2 or min(counts.values()) < 2:
        rare, many = min(counts.items(), key=lambda item: item[1])
        raise ImagesError(
            f"{len(counts)} label(s), and {rare!r} on {many} of the images to fit on: labels are told apart by two or "
            "more, with two images each; give more images, or leave the label out"
        )
    folds = StratifiedKFold(min(FOLDS, *counts.values()), shuffle=True, random_state=seed)
    machine = LinearSVC(dual="auto", random_state=seed, tol=1e-3, max_iter=3000)
    model, chosen = _fitted(machine, "C", PENALTIES, folds, values, np.array(labels), "accuracy")
    weights, bias = _folded(model[0], model[1].coef_, model[1].intercept_)
    if len(weights) == 1:  # of two labels only the second has one
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    return Readout("labels", tuple(map(str, model[1].classes_)), weights, bias, chosen)


def fit_values(values: Numbers, numbers: Numbers, name: str = "value", seed: int = 0) -> Readout:
    """Ridge regression of a number `numbers` (n,), called `name`; the rest as `fit_labels`.

    Raises:
        ImagesError: there are too few images, or all have the same number.
    """
    if len(numbers) < 2 * FOLDS or np.ptp(numbers) == 0:
        raise ImagesError(
            f"{len(numbers)} images with {len(np.unique(numbers))} different value(s) to fit on; expected at least "
            f"{2 * FOLDS} images, and values that differ"
        )
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    model, chosen = _fitted(Ridge(), "alpha", ALPHAS, folds, values, numbers, "r2")
    weights, bias = _folded(model[0], model[1].coef_[None], np.atleast_1d(model[1].intercept_))
    return Readout("values", (name,), weights, bias, chosen, float(numbers.mean()))


def fit_clusters(values: Numbers, count: int, seed: int = 0) -> Readout:
    """k-means of standardised features z: an image belongs to the nearest centre c, which has the largest score.

    ``-|z - c|² / 2`` is ``c·z - |c|² / 2`` but for what all clusters have in common, as is the mean that is taken off.

    Raises:
        ImagesError: there are fewer images than clusters.
    """
    if not 2 <= count <= len(values):
        raise ImagesError(f"{count} clusters of {len(values)} images; expected 2 or more, and no more than images")
    scaler = StandardScaler().fit(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than clusters
        centres = KMeans(count, n_init=10, random_state=seed).fit(scaler.transform(values)).cluster_centers_
    scores = -np.square(centres).sum(1) / 2
    weights, bias = _folded(scaler, centres - centres.mean(0), scores - scores.mean())
    return Readout("clusters", tuple(f"cluster {k}" for k in range(count)), weights, bias, {})


def _fitted(
    machine: Any, name: str, grid: Sequence[float], folds: Any, values: Numbers, truth: Any, scoring: str
) -> tuple[Any, dict[str, float]]:
    """A scaler and a machine with what is best over folds, the scaler fitted anew in each; the first of equals."""
    model = make_pipeline(StandardScaler(), machine)
    key = f"{type(machine).__name__.lower()}__{name}"
    search = GridSearchCV(model, {key: list(grid)}, cv=folds, scoring=scoring)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a large C need not get to the end to lose
        search.fit(values, truth)
    best = {name: float(search.best_params_[key]), f"cross-validated {scoring}": float(search.best_score_)}
    return search.best_estimator_, best


def _folded(scaler: StandardScaler, weights: Numbers, bias: Numbers) -> tuple[Numbers, Numbers]:
    """Weights and bias for features as they are, of those for standardised ones."""
    plain = weights / scaler.scale_
    return plain, bias - plain @ scaler.mean_


# --- how good they are, on images that they have not seen ------------------------------------------------------------


def judge_labels(readout: Readout, values: Numbers, labels: Sequence[str]) -> dict[str, Any]:
    """How many images get their label, with the 95 % interval of Wilson, and what the most frequent label would get."""
    given = [readout.names[index] for index in readout.scores(values).argmax(1)]
    right = [one == other for one, other in zip(given, labels, strict=True)]
    errors, counts = Errors(len(labels) - sum(right), len(labels)), Counter(labels)
    hits = Counter(label for label, hit in zip(labels, right, strict=True) if hit)
    low, high = errors.interval
    return {
        "images": errors.images, "right": errors.right, "accuracy": 1 - errors.error, "interval": [1 - high, 1 - low],
        "most_frequent": max(counts.values()) / len(labels),
        "labels": {label: {"images": counts[label], "right": hits[label]} for label in sorted(counts)},
    }  # fmt: skip


def judge_values(readout: Readout, values: Numbers, numbers: Numbers, seed: int = 0) -> dict[str, Any]:
    """R², with the 95 % interval of images drawn again, and the typical error beside the spread.

    Raises:
        ImagesError: all images have the same number, and there is nothing to explain.
    """
    if np.ptp(numbers) == 0:
        raise ImagesError(
            f"all {len(numbers)} images to judge on have the number {numbers[0]:g}, so there is nothing to tell apart; "
            "give more images, with values that differ"
        )
    missed, spread = readout.scores(values)[:, 0] - numbers, numbers - numbers.mean()
    drawn = np.random.default_rng(seed).integers(0, len(numbers), (_RESAMPLED, len(numbers)))
    rests, wholes = (np.square(missed)[drawn].sum(1), numbers[drawn].var(1) * len(numbers))
    again = 1 - np.divide(rests, wholes, out=np.ones_like(rests), where=wholes > 0)
    return {
        "images": len(numbers), "r2": float(1 - np.square(missed).sum() / np.square(spread).sum()),
        "interval": [float(end) for end in np.quantile(again, (0.025, 0.975))],
        "rmse": float(np.sqrt(np.square(missed).mean())), "std": float(spread.std()),
    }  # fmt: skip


def judge_clusters(readout: Readout, values: Numbers, labels: Sequence[str] | None) -> dict[str, Any]:
    """How many images each cluster has, and, where there are labels, its most frequent one and what both share.

    That is the adjusted mutual information: 0 for clusters by chance, 1 for those of the labels.
    """
    given = readout.scores(values).argmax(1)
    clusters: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(readout.names):
        inside = np.flatnonzero(given == k).tolist()
        clusters[name] = {"images": len(inside)}
        if labels is not None and len(inside):
            label, many = Counter(labels[i] for i in inside).most_common(1)[0]
            clusters[name] |= {"label": label, "share": many / len(inside)}
    found: dict[str, Any] = {"images": len(values), "clusters": clusters}
    if labels is not None:
        found["adjusted_mutual_information"] = float(adjusted_mutual_info_score(list(labels), given))
    return found
