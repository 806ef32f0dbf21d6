"""How the weights that come with convscope were made: ``python -m convscope.training.embedded diorama:objects FOLDER``.

It trains by the recipe of the same name (``diorama-objects.toml``), which is a matter of minutes, rounds the weights of
the last epoch to float16, writes them with their card into FOLDER, and says how many of the images of the test split
that gets right. The same machine and libraries give the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from convscope import load, zoo
from convscope.evaluation import evaluate
from convscope.training.recipe import Recipe
from convscope.training.run import train

TESTED = {
    "digits:lenet5": "digits:test",
    "diorama:objects": "diorama:objects/test",
    "diorama:objects-fc": "diorama:objects/test",
    "diorama:scenes": "diorama:scenes/test",
}


def make(name: str, folder: Path) -> Path:
    """Train the embedded network `name`, and write ``NAME.safetensors`` and ``NAME.json`` into `folder`."""
    file = zoo.EMBEDDED[name].weights.name
    trained = train(Recipe.open(Path(file).stem), folder / Path(file).stem, tell=_say)
    weights = load_file(trained.last)
    half = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    save_file(half, folder / file)
    (folder / file).with_suffix(".json").write_bytes(trained.last.with_suffix(".json").read_bytes())
    return folder / file


def _say(epoch: Mapping[str, Any]) -> None:
    print(f"epoch {epoch['epoch']}: {epoch['val_top1']:.1%} of the validation images after {epoch['seconds']:.0f} s")


def main(name: str, folder: Path) -> None:
    """Make the weights, and print their accuracy."""
    file = make(name, folder)
    errors = evaluate(load(file, arch=zoo.EMBEDDED[name].arch), TESTED[name]).rows[0].top1
    print(
        f"{file}: {file.stat().st_size / 1e6:.2f} MB; {errors.right} of {errors.images} of {TESTED[name]} "
        f"right ({1 - errors.error:.2%})"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
