"""How far a network's confidence can be believed: of the images where it says 80 %, are 80 % right?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.scanner.tally import rank

BINS = 15  # of equal width from 0 to 1, each with its upper edge


def _counts() -> NDArray[np.int64]:
    return np.zeros(BINS, np.int64)


@dataclass(eq=False)
class Calibration:
    """Images by confidence, which is the probability of the class that is predicted.

    Args:
        images: (15,) in each bin.
        right: (15,) of them predicted rightly.
        confidences: (15,) their sum.
        surprise: the negative logarithms of the right class's probability, summed over all images.
    """

    images: NDArray[np.int64] = field(default_factory=_counts)
    right: NDArray[np.int64] = field(default_factory=_counts)
    confidences: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    surprise: float = 0.0

    def add(self, logs: Tensor, true: Tensor) -> None:
        """Take in logarithms of probabilities (n, classes), none of them NaN, of images of known classes (n,)."""
        confidence = logs.amax(1).exp()
        bins = ((confidence * BINS).ceil().long() - 1).clamp(0, BINS - 1)
        self.images += torch.bincount(bins, minlength=BINS).numpy()
        self.right += torch.bincount(bins[rank(logs, true) == 0], minlength=BINS).numpy()
        self.confidences += torch.bincount(bins, confidence, minlength=BINS).numpy()
        self.surprise -= float(logs.gather(1, true[:, None]).sum())

    @property
    def expected_error(self) -> float | None:
        """The mean over images of how far their bin's accuracy is from its confidence; None where there are none.

        M. P. Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; with 15 bins
        by C. Guo et al., "On calibration of modern neural networks", ICML 2017. It is above 0 also for a calibrated
        network: by chance, the more so the fewer images there are.
        """
        count = self.images.sum()
        return float(np.abs(self.right - self.confidences).sum() / count) if count else None

    @property
    def nll(self) -> float | None:
        """The mean negative log-likelihood of the right class, nats; infinite where it once had no probability."""
        count = self.images.sum()
        return self.surprise / float(count) if count else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; bins without images are left out, and what is infinite is None."""
        nll = self.nll
        return {
            "expected_error": self.expected_error,
            "nll": nll if nll is not None and math.isfinite(nll) else None,
            "bins": [
                {
                    "low": k / BINS,
                    "high": (k + 1) / BINS,
                    "images": int(self.images[k]),
                    "right": int(self.right[k]),
                    "confidence": float(self.confidences[k] / self.images[k]),
                }
                for k in np.flatnonzero(self.images).tolist()
            ],
        }
