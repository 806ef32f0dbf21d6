"""Streaming statistics of units: one file each, found by being here.

A statistic is a frozen configuration; `start` gives an accumulator that is fed batch by batch and can be merged with
others. It holds sums, counts and ordered keys, never means, and ids of images, never places in a batch, so that the
fold of shards in their order is the same whoever computed them.
"""

from __future__ import annotations

import importlib
import pkgutil

from convscope.statistics.base import Accumulator, Activations, Scan, Statistic

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def registered() -> dict[str, type[Statistic]]:
    """Every statistic by its name, in alphabetical order."""
    return {kind.name: kind for kind in sorted(Statistic.__subclasses__(), key=lambda kind: kind.name)}


def of(scan: Scan) -> dict[str, Statistic]:
    """The statistics that a scan computes, by name."""
    chosen = {name: kind.of(scan) for name, kind in registered().items()}
    return {name: statistic for name, statistic in chosen.items() if statistic is not None}


__all__ = ["Accumulator", "Activations", "Scan", "Statistic", "of", "registered"]
