"""How fast the diorama is drawn, and how little its simplest statistics say of the classes.

``python -m benchmarks.diorama [--full]``; two minutes on one core, six with ``--full``. Seconds are processor time. The
statistics are given to a logistic regression, standardised, trained on 4,800 images of ``train``, or with ``--full`` on
all of them, and tested on ``val``.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from convscope import diorama

SIZE, TRAINED, TESTED = 96, 4_800, 2_000
FLOORS = {96: 300, 224: 100}  # images a second and core, with all label maps
MOST = 0.20  # of the object task, for each of the statistics


def speed(label_set: str, size: int, images: int) -> float:
    """Images a second of processor time, with all label maps and instances."""
    diorama.render(label_set, "test", 0, size).image.sum()
    start = time.process_time()
    for index in range(images):
        scene = diorama.render(label_set, "test", index, size)
        scene.image, scene.maps, scene.instances  # noqa: B018
    return images / (time.process_time() - start)


def colours(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The histogram of 4×4×4 colours."""
    level = image.astype(int) // 64
    return np.sqrt(np.bincount((level @ (16, 4, 1)).ravel(), minlength=64))


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """12×12 mean colours."""
    side = SIZE // 12
    return image.reshape(12, side, 12, side, 3).mean((1, 3)).ravel()


def texture(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Energies of 24 Gabor bands: 4 frequencies in 6 directions."""
    power = np.abs(np.fft.fftshift(np.fft.fft2(image.mean(2) - image.mean()))) ** 2
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    octave, angle = np.log2(np.hypot(x, y) + 1e-9), np.arctan2(y, x) % np.pi
    bands = []
    for low in (2, 3, 4, 5):
        for k in range(6):
            turn = np.abs((angle - k * np.pi / 6 + np.pi / 2) % np.pi - np.pi / 2)
            bands.append((power * np.exp(-2 * (octave - low) ** 2 - 8 * turn**2)).sum())
    return np.log(np.array(bands) + 1)


def patterns(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The histogram of local binary patterns of 8 neighbours (256 bins)."""
    grey = image.astype(int).sum(2)
    around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    codes = sum(
        (grey[a : SIZE - 2 + a, b : SIZE - 2 + b] > grey[1:-1, 1:-1] + 6) << k for k, (a, b) in enumerate(around)
    )
    return np.sqrt(np.bincount(np.asarray(codes).ravel(), minlength=256))


FEATURES = {
    "colour histogram": colours,
    "12×12 thumbnail": thumbnail,
    "Gabor energies": texture,
    "binary patterns": patterns,
}


def baselines(label_set: str, images: int) -> dict[str, float]:
    """Accuracy on ``val`` of a linear classifier on each of the statistics."""
    found = {name: ([], []) for name in FEATURES}
    for side, (split, count) in enumerate((("train", images), ("val", TESTED))):
        for index in range(count):
            image = diorama.render(label_set, split, index, SIZE).image
            for name, feature in FEATURES.items():
                found[name][side].append(feature(image))
    labels = [
        [diorama.class_of(label_set, split, 0, index) for index in range(count)]
        for split, count in (("train", images), ("val", TESTED))
    ]
    accuracies = {}
    for name, (train, test) in found.items():
        scale = StandardScaler().fit(train)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = LogisticRegression(C=0.02, max_iter=150).fit(scale.transform(train), labels[0])
        accuracies[name] = float(fit.score(scale.transform(test), labels[1]))
    return accuracies


def main() -> None:
    """Print all figures; ends with an error where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="train the classifiers on the whole split")
    images = diorama.COUNTS["train"] if parser.parse_args().full else TRAINED
    broken = []
    for size, floor in FLOORS.items():
        rates = {label_set: speed(label_set, size, 300 if size < 200 else 150) for label_set in diorama.LABEL_SETS}
        print(f"{size} px: " + ", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items()), flush=True)
        broken += [f"{size} px: {rate:.0f} images/s" for rate in rates.values() if rate < floor]
    for label_set in diorama.LABEL_SETS:
        chance = 1 / len(diorama.classes(label_set, "train"))
        print(f"{label_set}: chance {chance:.1%}", flush=True)
        for name, accuracy in baselines(label_set, images).items():
            print(f"  {name}: {accuracy:.1%}", flush=True)
            if label_set == "objects" and accuracy >= MOST:
                broken.append(f"{name}: {accuracy:.1%}")
    if broken:
        raise SystemExit("not kept: " + "; ".join(broken))


if __name__ == "__main__":
    main()
