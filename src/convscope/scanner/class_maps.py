"""Class maps of the sample images as a section of the atlas: where the classes that are predicted first come from.

CAM where the network ends in global pooling and a linear layer, else Grad-CAM [METHODS 8.1, 8.2]. The maps are kept on
their own coarse grid, whose place on the image goes with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from convscope import shards
from convscope.atlas.run import CLASS_MAPS
from convscope.attribution import Attribution, AttributionMap
from convscope.attribution.cam import CAM
from convscope.attribution.gradcam import GradCAM
from convscope.errors import ConvscopeError
from convscope.scanner.batches import batches
from convscope.scanner.plan import Plan
from convscope.scanner.worker import threads

_CLASSES = 3  # of an image


def write(plan: Plan, folder: Path, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the maps; how they were made, or the reason why there are none, comes back for ``run.json``.

    Args:
        samples: what ``run.json`` says of every sample image.
    """
    path = folder / CLASS_MAPS
    path.unlink(missing_ok=True)  # of an earlier try
    guesses = {each["id"]: [index for index, _ in each["prediction"][:_CLASSES]] for each in samples}
    explained = [image for image, classes in guesses.items() if classes]
    if not explained:
        return {"reason": "the network gives no score for each class"}
    methods: list[Attribution] = [CAM(), GradCAM()]
    found: list[AttributionMap] = []
    maps: dict[str, Tensor] = {}
    with threads(int(plan.job["threads"])):
        for batch in batches(plan.images, plan.network.preprocess, explained, plan.batch_size):
            ids = batch.ids.tolist()
            try:
                found = _found(plan, methods, batch.inputs, [guesses[image] for image in ids])
                found[0].on_image()  # not where no cell sees anything
            except ConvscopeError as error:
                return {"reason": str(error)}
            stacked = torch.stack([each.values[:, 0] for each in found], 1)
            maps |= {f"{image}|maps": each for image, each in zip(ids, stacked.contiguous().unbind(), strict=True)}
    shards.write(path, save({name: each.clone() for name, each in maps.items()}))
    first = found[0]
    return {"method": first.method.name, "grid": first.grid.to_json(), "notes": list(first.notes)}


def _found(
    plan: Plan, methods: list[Attribution], inputs: Tensor, classes: Sequence[Sequence[int]]
) -> list[AttributionMap]:
    """The maps of the first class of every image, of the second, and of the third.

    Args:
        methods: to try in turn; one that the network does not suit is removed.
    """
    try:
        return [methods[0](plan.network, inputs, list(some)) for some in zip(*classes, strict=True)]
    except ConvscopeError:
        if len(methods) == 1:
            raise
        methods.pop(0)
        return _found(plan, methods, inputs, classes)
