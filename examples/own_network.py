"""Scan a network of your own, and ask the atlas about a unit: ``python examples/own_network.py FOLDER``."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import convscope


class Strokes(nn.Module):
    """Four filters for edges of different directions, planted by hand; the rectifier is a function, not a module."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.score = nn.Linear(4, 10)
        horizontal = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]])
        filters = [horizontal, -horizontal, horizontal.T, -horizontal.T]
        self.edges.weight.data = torch.stack(filters)[:, None]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.score(F.relu(self.edges(images)).mean((2, 3)))


def main(folder: Path) -> None:
    network = convscope.wrap(
        Strokes(), preprocess={"size": [32, 32], "channels": "L"}, classes=[str(digit) for digit in range(10)]
    )
    atlas = convscope.scan(network, convscope.open_images("digits:test"), folder / "atlas", limit=100)
    for unit in atlas.layer("edges"):
        best = unit.top[0]
        print(f"{unit.address} likes image {best.name} (a {best.label}) at {best.box.as_tuple()}: {best.value:.2f}")
    print("report:", convscope.write_report(atlas, folder / "report"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
