"""Do the maps lie where the evidence is? ``python -m benchmarks.truth [NETWORK ...] [--full]``.

Test images of the diorama, whose every pixel is known, and the two networks that come with the package. Each method
explains the true class, and is asked three things: whether its maximum lies in the object (pointing game), which share
of its positive part does (energy), and how far the box of its largest component above 20 % of the maximum overlaps with
the true one (IoU). The object is what is seen of it, to the pixel, and so is its box.

Beside them: a map that is the same everywhere, a centred box whose size is the best for 500 images of ``val``, the same
methods as Captum and pytorch-grad-cam have them, on the same network and images, and coarse maps of ours on a plain
resize. With each is the difference of ours to it. Of 500 images; methods that need many passes have the first 30 of
them (RISE 20) unless ``--full`` is given.
Five minutes on two cores, and two hours with ``--full``. It needs the packages captum and grad-cam.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import convscope
from benchmarks.toolkits import Entry, ours, resized, theirs
from convscope.errors import AttributionError
from convscope.evaluation.intervals import wilson
from convscope.images.diorama import Diorama
from convscope.localization.boxes import LargestComponent
from convscope.localization.scores import energy, iou, pointing
from convscope.network import Network

NETWORKS = ("diorama:objects", "diorama:objects-fc")
IMAGES = 500
FEWER = {"smoothgrad": 30, "integrated_gradients": 30, "scorecam": 30, "occlusion": 30, "rise": 20}
HEAD = (
    "| method | toolkit | images | pointing | energy | IoU of the box | ours − that: pointing | energy | IoU |\n"
    "|---|---|---|---|---|---|---|---|---|"
)

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """Images of which all is known.

    Args:
        images: (n, 3, h, w), prepared.
        classes: (n,) of the network.
        masks: (n, h, w), the visible pixels of the main object.
        boxes: (n, 4) around these.
    """

    images: Tensor
    classes: list[int]
    masks: Tensor
    boxes: NDArray[np.int64]

    def first(self, count: int) -> Truth:
        return Truth(self.images[:count], self.classes[:count], self.masks[:count], self.boxes[:count])


def truth(network: Network, images: Diorama, count: int) -> Truth:
    """The first images of a set whose images are about one object."""
    things = [next(thing for thing in images.scene(index).things if thing.main) for index in range(count)]
    return Truth(
        torch.stack([network.preprocess(images.read(index)) for index in range(count)]),
        images.class_indices(network, len(network.classes or ()))[0][:count].tolist(),
        torch.from_numpy(np.stack([thing.mask for thing in things])),
        np.array([thing.box for thing in things]),
    )


@dataclass(frozen=True, eq=False)
class Scores:
    """How right maps are, (n,) each."""

    pointing: Numbers
    energy: Numbers
    overlap: Numbers

    def __sub__(self, other: Scores) -> Scores:
        return Scores(self.pointing - other.pointing, self.energy - other.energy, self.overlap - other.overlap)

    def all(self) -> tuple[Numbers, Numbers, Numbers]:
        return self.pointing, self.energy, self.overlap


def score(maps: Tensor, true: Truth) -> Scores:
    """Of maps (n, h, w)."""
    boxes = np.stack([found[0] for found in LargestComponent(0.2).boxes(maps)])
    return Scores(pointing(maps, true.masks).astype(float), energy(maps, true.masks), iou(boxes, true.boxes))


# --- what needs no network -------------------------------------------------------------------------------------------


def everywhere(true: Truth) -> Scores:
    """Of a map that is the same everywhere; it points at any pixel, each as likely as the others."""
    share = true.masks.double().mean((1, 2)).numpy()
    whole = np.array([[0, 0, *true.masks.shape[1:]]])
    return Scores(share, share, iou(whole, true.boxes))


def centred(true: Truth, size: tuple[int, int]) -> Scores:
    """Of a centred box as a map, that points at the middle of the image."""
    height, width = true.masks.shape[1:]
    box = middle(size, (height, width))
    y0, x0, y1, x1 = box
    inside = true.masks[:, y0:y1, x0:x1].double().mean((1, 2)).numpy()
    return Scores(true.masks[:, height // 2, width // 2].double().numpy(), inside, iou(box[None], true.boxes))


def middle(size: tuple[int, int], image: tuple[int, int]) -> NDArray[np.int64]:
    """The box (4,) of a size in the middle of an image."""
    low = [(whole - side) // 2 for side, whole in zip(size, image, strict=True)]
    return np.array([*low, *(start + side for start, side in zip(low, size, strict=True))])


def best_size(boxes: NDArray[np.int64], image: tuple[int, int]) -> tuple[int, int]:
    """Height and width, in even pixels, of the centred box that has the largest mean IoU with others (n, 4)."""
    sizes = list(product(range(2, image[0] + 1, 2), range(2, image[1] + 1, 2)))
    overlaps = [iou(middle(size, image)[None], boxes).mean() for size in sizes]
    return sizes[int(np.argmax(overlaps))]


# --- chance, and the table -------------------------------------------------------------------------------------------


def share(hits: Numbers) -> str:
    """A share with its Wilson interval."""
    return f"{hits.mean():.3f} ({' to '.join(f'{end:.3f}' for end in wilson(int(hits.sum()), len(hits)))})"


def mean(values: Numbers, sign: str = "") -> str:
    """A mean with the 95 % interval of 2,000 bootstrap samples."""
    low, high = bootstrap(values)
    return f"{values.mean():{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def changed(differences: Numbers) -> str:
    """A mean difference, or that there is none but rounding."""
    return "none" if np.abs(differences).mean() < 1e-4 else mean(differences, "+")


def bootstrap(values: Numbers) -> tuple[float, float]:
    """The 95 % interval of the mean: of means of as many values, drawn with replacement."""
    drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(values[drawn].mean(1), (0.025, 0.975))
    return float(low), float(high)


def row(name: str, toolkit: str, found: Scores, difference: Scores | None = None) -> str:
    cells = [name, toolkit, str(len(found.energy))]
    cells += [share(found.pointing) if set(found.pointing) <= {0.0, 1.0} else mean(found.pointing)]
    cells += [mean(found.energy), mean(found.overlap)]
    cells += ["", "", ""] if difference is None else [changed(each) for each in difference.all()]
    return "| " + " | ".join(cells) + " |"


def baselines(network: Network, true: Truth) -> Iterator[str]:
    yield row("the same everywhere", "–", everywhere(true))
    others = truth(network, Diorama.open("diorama:objects/val"), IMAGES)
    size = best_size(others.boxes, (true.masks.shape[1], true.masks.shape[2]))
    yield row(f"centred box, {size[0]} × {size[1]} px", "–", centred(true, size))


def methods(network: Network, true: Truth, entries: Sequence[Entry], full: bool) -> Iterator[str]:
    """A row for each of our methods, followed by those of the others."""
    mine: dict[str, Scores] = {}
    for entry in entries:
        few = true if full else true.first(FEWER.get(entry.method, IMAGES))
        try:
            found = score(entry.maps(network, few.images, few.classes), few)
        except AttributionError as error:
            yield f"| `{entry.method}` | {entry.toolkit} | refuses: {str(error).partition(':')[0]} | | | | | | |"
            continue
        mine.setdefault(entry.method, found)
        difference = None if mine[entry.method] is found else mine[entry.method] - found
        yield row(f"`{entry.method}`", entry.toolkit, found, difference)


def main(names: Sequence[str], full: bool) -> None:
    """Print a table for each network."""
    entries = sorted(
        [*ours(), *resized(), *theirs()], key=lambda entry: entry.method
    )  # ours first: sorting keeps the order
    for name in names:
        network = convscope.load(name)
        true = truth(network, Diorama.open("diorama:objects/test"), IMAGES)
        print(f"\n{name}\n\n{HEAD}", flush=True)
        for line in baselines(network, true):
            print(line, flush=True)
        for line in methods(network, true, entries, full):
            print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--full", action="store_true", help="all methods on all images")
    chosen = parser.parse_args()
    main(chosen.networks, chosen.full)
