"""Dissections whose counts a test has written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from convscope.atlas.run import sealed
from convscope.concepts import CATEGORIES
from convscope.dissection import Dissection

Named = Sequence[tuple[str, str]]  # concepts: name and category


def pixels(ious: Mapping[int, Mapping[str, float]], concepts: Named, units: int) -> dict[str, NDArray[Any]]:
    """Counts in which unit k has an IoU of ``ious[k][name]`` with a concept, to a ten-thousandth, and 0 with others.

    Mask and concept have 5,000,000 pixels each, so that I of them together make an IoU of I / (10,000,000 - I).
    """
    half, names = 5_000_000, [name for name, _ in concepts]
    both = np.zeros((units, len(concepts)), np.int64)
    for unit, table in ious.items():
        for name, iou in table.items():
            both[unit, names.index(name)] = round(2 * half * iou / (1 + iou))
    return {
        "intersections": both,
        "areas": np.full((units, len(CATEGORIES)), half),
        "covered": np.full(len(concepts), half),
    }


def hand_made(
    folder: Path,
    concepts: Named,
    layers: Mapping[str, int],
    counts: Mapping[str, NDArray[Any]],
    control: Mapping[str, NDArray[Any]] | None = None,
    replicates: tuple[NDArray[Any], NDArray[Any]] | None = None,
    network: str = "planted",
    job: Mapping[str, Any] | None = None,
    remark: str | None = None,
) -> Dissection:
    """A dissection as `convscope.dissect` leaves it, with these counts of pixels; without `control` no false detectors.

    Args:
        layers: units by address.
        replicates: numbers of the candidates (units, k), and their IoU (units, k, replicates); without it none passes.
        job: what was asked for, instead of the defaults.
    """
    units = sum(layers.values())
    none = {name: np.zeros_like(counts[name]) for name in ("intersections", "areas", "covered")}
    candidates, drawn = replicates or (np.ones((units, 1)), np.zeros((units, 1, 3)))
    arrays = {
        "thresholds": np.arange(units, dtype=np.float32), "errors": np.zeros(units), "above": np.ones(units, np.int64),
        "seen": np.full(units, 200), "pixels": np.full(len(CATEGORIES), 50_000_000),
        "images": np.full(len(CATEGORIES), 12), "candidates": candidates.astype(np.int32),
        "replicates": drawn.astype(np.float32), **counts,
    }  # fmt: skip
    other = none | dict(control or {}) | {name: arrays[name] for name in ("pixels", "images")}
    arrays |= {f"control.{name}": array for name, array in other.items()}
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    asked = {"quantile": 0.005, "threshold": "exact", "upsampling": "anchored", "at": "response", "concepts": "planted"}
    run = {
        "format": "convscope-dissection", "version": 1, "network": network, "images": 12, "skipped": [],
        "remark": remark,
        "job": asked | dict(job or {}), "share": 0.005, "categories": list(CATEGORIES),
        "layers": [{"address": address, "units": many} for address, many in layers.items()],
        "concepts": [list(each) for each in concepts],
        "files": {"counts.safetensors": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}},
    }  # fmt: skip
    target = folder / "dissection"
    target.mkdir(parents=True)
    (target / "counts.safetensors").write_bytes(data)
    (target / "run.json").write_bytes(sealed(json.loads(json.dumps(run))))
    return Dissection.open(folder)
