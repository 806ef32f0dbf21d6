"""The real handwritten digits that come with scikit-learn: 1,797 images of 8×8 px from 43 people.

E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998. They
carry no network with them, no download and no licence to click, so they are convscope's first embedded images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PARTS = ("train", "test", "all")


def read(part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images (n, 8, 8) from 0 (background) to 1 (ink), and their digits (n,).

    Every fifth image is held out as ``test``, the others are ``train``.
    """
    from sklearn.datasets import load_digits  # slow to import, and not needed for other images

    data = load_digits()
    images, labels = (data.images / 16).astype(np.float32), data.target.astype(np.int64)
    held_out = np.arange(len(images)) % 5 == 4
    chosen = {"train": ~held_out, "test": held_out, "all": np.ones(len(images), bool)}[part]
    return images[chosen], labels[chosen]
