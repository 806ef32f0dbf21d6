"""Streaming statistics of units: one file each, found by being here.

A statistic is a frozen configuration; `start` gives an accumulator that is fed batch by batch and can be merged with
others. It holds sums, counts and ordered keys, never means, and ids of images, never places in a batch, so that the
fold of shards in their order is the same whoever computed them.
"""

from __future__ import annotations

import importlib
import pkgutil

from convscope.statistics.base import Accumulator, Activations, Statistic

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def registered() -> dict[str, type[Statistic]]:
    """Every statistic by its name, in alphabetical order."""
    return {kind.name: kind for kind in sorted(Statistic.__subclasses__(), key=lambda kind: kind.name)}


__all__ = ["Accumulator", "Activations", "Statistic", "registered"]
