"""Does the map of a class lie on its own image in a 2×2 mosaic of real ones? ``python -m benchmarks.mosaics [--full]``.

SqueezeNet, and the images of ``imagenet_val227`` that it has right: shuffled with seed 0, each is used once, four to a
mosaic of 454×454 px. Each of the four classes is asked for, and a map hits if its maximum lies in the image of that
class; chance has a quarter. CAM and Grad-CAM, which read the logit, have all 54 mosaics: a minute on one core. With
``--full`` occlusion (32 px, 8 apart) and RISE (1,000 masks) have the first 12, and CAM and Grad-CAM are counted on
these as well: half an hour. Both are asked for the logit and for the probability. It needs the data beside the
repository, ``../shared/data``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import convscope
from convscope.attribution import CAM, RISE, Attribution, GradCAM, Occlusion
from convscope.attribution.occlusion import occluded, spread
from convscope.evaluation.intervals import wilson
from convscope.images import ImageSet
from convscope.network import Network
from convscope.recorder import evaluating, record
from convscope.replay import Replay

DATA = Path(__file__).parents[2] / "shared" / "data"
FEWER = 12  # mosaics for the methods that need a thousand passes for each


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Four images as one.

    Args:
        image: (3, 2 · h, 2 · w), prepared.
        classes: (4,) of the tiles, row by row.
    """

    image: Tensor
    classes: NDArray[np.int64]


def squeezenet() -> Network:
    network = convscope.load(DATA / "weights" / "squeezenet1_0.safetensors", arch="squeezenet1_0")
    network.module.to(memory_format=torch.channels_last)  # half of the time
    return network


def mosaics(network: Network, images: ImageSet, seed: int = 0) -> Iterator[Mosaic]:
    """Of all images that the network has right, each once, in groups of four; what is left over is left out."""
    prepared = torch.stack([network.preprocess(images.read(index)) for index in range(len(images))])
    truth, _ = images.truth(network, len(network.classes or ()))
    with evaluating(network.module), torch.no_grad():
        given = torch.cat([network.module(part).argmax(1) for part in prepared.split(16)]).numpy()
    right = np.flatnonzero(given == truth)
    for four in np.random.default_rng(seed).permutation(right)[: len(right) // 4 * 4].reshape(-1, 4):
        yield Mosaic(assembled(prepared[four]), truth[four])


def assembled(tiles: Tensor) -> Tensor:
    """Four images (4, c, h, w) row by row as one, (c, 2 · h, 2 · w)."""
    return torch.cat([torch.cat([*row], dim=2) for row in tiles.unflatten(0, (2, 2))], dim=1)


def hits(maps: Tensor, mosaic: Mosaic) -> NDArray[np.bool_]:
    """Whether the maximum of each of the four maps (4, 2 · h, 2 · w) lies in a tile of the class asked for, (4,)."""
    row, column = np.divmod(maps.flatten(1).argmax(1).numpy(), maps.shape[2])
    tile = 2 * (row >= maps.shape[1] // 2) + (column >= maps.shape[2] // 2)
    found: NDArray[np.bool_] = mosaic.classes[tile] == mosaic.classes
    return found


def by_method(method: Attribution, network: Network, chosen: Sequence[Mosaic]) -> NDArray[np.bool_]:
    """(4 · mosaics,), a question for each class of each."""
    found = []
    for each in chosen:
        images = each.image.expand(4, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        found.append(hits(method(network, images, each.classes.tolist()).on_image(), each))
    return np.concatenate(found)


# --- methods that hide parts of the image, for the four classes at once: the passes are the same ---------------------


def scores(logits: Tensor, classes: NDArray[np.int64]) -> Tensor:
    """The logits of four classes and their probabilities, (k, 8), from those of all (k, classes)."""
    return torch.cat([logits[:, classes], logits.softmax(1)[:, classes]], 1).double()


def by_occlusion(method: Occlusion, network: Network, mosaic: Mosaic) -> Tensor:
    """The maps of four logits and four probabilities, (8, h, w)."""
    with evaluating(network.module), torch.no_grad():
        graph = record(network.module, mosaic.image[None])
        replay, windows = Replay(network.module, graph), method.windows(*mosaic.image.shape[1:])
        colour = method.colour(network.preprocess)
        under = occluded(
            replay, mosaic.image, windows, colour, lambda values: scores(values[graph.outputs[0]], mosaic.classes)
        )
        whole = scores(network.module(mosaic.image[None]), mosaic.classes)[0]
    return spread((whole - under).movedim(2, 0), windows)


def by_rise(method: RISE, network: Network, mosaic: Mosaic) -> Tensor:
    """The maps of four logits and four probabilities, (8, h, w), averaged as in the paper: Σ S m / Σ m over all masks.

    The masks are those of the method, which takes the part of the scores that is linear in them out of the noise.
    """
    height, width = mosaic.image.shape[1:]
    sums, visible = torch.zeros(8, height, width, dtype=torch.float64), torch.zeros(height, width, dtype=torch.float64)
    with evaluating(network.module), torch.no_grad():
        for masks in method.draw(mosaic.image, 32):
            masked = (mosaic.image * masks[:, None]).contiguous(memory_format=torch.channels_last)
            logits = [network.module(each) for each in masked.split(1)]  # its maps stay in the cache: half of the time
            found = scores(torch.cat(logits), mosaic.classes)
            sums += torch.einsum("kt,khw->thw", found, masks.double())
            visible += masks.double().sum(0)
    return sums / visible


def row(name: str, found: NDArray[np.bool_]) -> str:
    count, right = len(found), int(found.sum())
    low, high = wilson(right, count)
    return f"| {name} | {count // 4} | {right} of {count} | {right / count:.3f} | {low:.3f} to {high:.3f} |"


def main(full: bool) -> None:
    """Print the table."""
    network = squeezenet()
    drawn = list(mosaics(network, convscope.open_images(DATA / "imagenet_val227")))
    twice = sum(len(set(each.classes.tolist())) < 4 for each in drawn)
    print(f"{len(drawn)} mosaics, {twice} with two images of one class\n")
    print("| method | mosaics | hits | rate | 95 % interval |\n|---|---|---|---|---|")
    for method in (CAM(), GradCAM()):
        found = by_method(method, network, drawn)
        print(row(f"`{type(method).__name__}`", found))
        print(row(f"`{type(method).__name__}`", found[: 4 * FEWER]), flush=True)
    if not full:
        return
    for name, maps in (
        ("`Occlusion`", lambda each: by_occlusion(Occlusion(), network, each)),
        ("`RISE(masks=1000)`, plainly averaged", lambda each: by_rise(RISE(masks=1000), network, each)),
    ):
        pairs = [[hits(four, each) for four in maps(each).split(4)] for each in drawn[:FEWER]]
        for score, found in zip(("logit", "probability"), zip(*pairs, strict=True), strict=True):
            print(row(f"{name}, {score}", np.concatenate(found)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="occlusion and RISE as well")
    main(parser.parse_args().full)
