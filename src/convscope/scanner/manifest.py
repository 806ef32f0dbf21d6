"""``run.json``: what an atlas says about itself, and the checksums of everything else in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import convscope
from convscope import shards
from convscope.atlas.run import ARRAYS, FORMAT, VERSION
from convscope.graph import LayerNode
from convscope.outline import outline
from convscope.scanner.plan import Plan
from convscope.scanner.tally import Tally
from convscope.shards import ShardState
from convscope.statistics.topk import NOBODY


def describe(plan: Plan, state: ShardState, pictures: Mapping[str, Any], strips: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``run.json`` but for the checksums.

    Args:
        pictures, strips: what `convscope.sprites.write_pictures` gave.
    """
    tally, places = Tally.from_json(state.meta["tally"]), pictures["places"]
    about = {name: value for name, value in pictures.items() if name != "places"}
    names = plan.images.names  # some sets make them up anew each time
    shown = [_image(plan, names, image) | {"place": list(place)} for image, place in places.items()]
    others = [_image(plan, names, image) for image in _liked(state) if image not in places]
    return {
        "format": FORMAT,
        "version": VERSION,
        "convscope": convscope.__version__,
        "job": plan.job,
        "network": _network(plan),
        "images": {
            "spec": plan.images.spec,
            "count": len(plan.images),
            "signature": signature(plan),
            "fingerprint": tally.digest,
            "others": others,
        },
        "layers": [_layer(plan, layer) for layer in plan.layers],
        "graph": outline(plan.graph, plan.layers),
        "results": tally.results() | {"remark": plan.remark},
        "pictures": about | {"images": shown},
        "strips": strips,
    }


def signature(plan: Plan) -> str:
    """A hash that changes with the job and with any of its images, without reading them."""
    return shards.key(*plan.keys)


def files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and checksum of everything in the atlas but ``run.json`` itself and what is removed before it is done."""
    arrays = [folder / name for name in ARRAYS if (folder / name).exists()]
    sheets = [path for name in ("pictures", "strips", "projections") for path in sorted(folder.glob(f"{name}/*"))]
    found = [*arrays, *sheets]
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in found
    }


def same_job(run: Mapping[str, Any], plan: Plan) -> bool:
    """Whether an atlas's ``run.json`` is that of the plan's job."""
    return bool(run["job"] == json.loads(json.dumps(plan.job)))


def _network(plan: Plan) -> dict[str, Any]:
    network = plan.network
    return {
        "name": network.name,
        "spec": network.spec,
        "remarks": list(network.remarks),
        "fingerprint": plan.job["network"],
        "preprocess": network.preprocess.to_json(),
        "output": network.output,
        "classes": network.classes,
        "parameters": sum(tensor.numel() for tensor in network.module.parameters()),
    }


def _layer(plan: Plan, layer: LayerNode) -> dict[str, Any]:
    return {
        "address": str(layer.address),
        "slug": plan.slug(layer),
        "kind": layer.kind,
        "units": layer.units,
        "shape": list(layer.shape),
        "nonlinearity": layer.nonlinearity if plan.at == "response" else None,
        "parameters": layer.parameters,
        "flops": layer.flops,
        "grid": plan.grid(layer).to_json(),
        "exact": plan.grid(layer, "exact").to_json(),
        "bound": plan.fields.bounds.get(layer.value(plan.at)),
    }


def _liked(state: ShardState) -> list[int]:
    """The ids of all images in anybody's list of the best, ascending."""
    lists = [tensor.numpy().ravel() for name, tensor in state.tensors.items() if name.endswith("|topk|ids")]
    return [int(image) for image in np.unique(np.concatenate(lists)) if image != NOBODY]


def _image(plan: Plan, names: Sequence[str], image: int) -> dict[str, Any]:
    """Id, name and label, as the network's class name where there is one."""
    label, truth = plan.images.labels[image], int(plan.truth[image])
    if truth >= 0 and plan.network.classes is not None and truth < len(plan.network.classes):
        label = plan.network.classes[truth]
    return {"id": image, "name": names[image], "label": None if label is None else str(label)}
