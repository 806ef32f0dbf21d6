"""The recipe of ``digits-lenet5.safetensors``: LeNet-5 on four fifths of scikit-learn's handwritten digits.

``python -m convscope.zoo.weights.digits_lenet5 FOLDER`` trains it again, in about a minute on one core, and says how
many of the held-out fifth are right. The same machine and libraries give the same weights.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from convscope import digits
from convscope.preprocess import Preprocess
from convscope.zoo.lenet import lenet5

EPOCHS, BATCH, RATE, DECAY = 60, 64, 2e-3, 1e-2
# Ink is 1 on a background of 0; LeCun et al. scale the input so that its mean is about 0 and its variance about 1.
PREPROCESS = Preprocess(size=(32, 32), mean=(0.3,), std=(0.35,), channels="L", interpolation="bilinear")


def train(seed: int = 0) -> nn.Module:
    """LeNet-5 after training with small random shifts, turns and changes of scale."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    images, labels = _prepared("train")
    module = lenet5()
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for index in torch.split(torch.randperm(len(images)), BATCH):
            loss = F.cross_entropy(module(_jittered(images[index])), labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return module.eval()


def accuracy(module: nn.Module, part: str) -> tuple[int, int]:
    """How many images of a part are right, and how many there are."""
    images, labels = _prepared(part)
    with torch.no_grad():
        return int((module(images).argmax(1) == labels).sum()), len(labels)


def _prepared(part: str) -> tuple[Tensor, Tensor]:
    images, labels = digits.read(part)
    return torch.stack([PREPROCESS(image[None]) for image in images]), torch.from_numpy(labels)


def _jittered(images: Tensor) -> Tensor:
    """Each image turned by up to 12 degrees, scaled by up to 12 %, and shifted by up to 2 px."""
    count = len(images)
    turn, scale = (torch.rand(count) * 2 - 1) * math.radians(12), 1 + (torch.rand(count) * 2 - 1) * 0.12
    shift = (torch.rand(count, 2) * 2 - 1) * (2 / 16)
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    affine = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def main(folder: Path) -> None:
    """Train, and write the weights and what they need into `folder`."""
    module = train()
    right, count = accuracy(module, "test")
    print(f"held-out digits right: {right} of {count} ({right / count:.2%})")
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()},
              folder / "digits-lenet5.safetensors")  # fmt: skip
    card = PREPROCESS.to_json() | {"output": "softmax", "classes": [str(digit) for digit in range(10)]}
    (folder / "digits-lenet5.json").write_text(json.dumps(card) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
