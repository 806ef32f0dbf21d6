"""What needs attention: warnings, images that were skipped, and units that are dead, noisy and so on; what to do."""

from __future__ import annotations

from typing import Any

from convscope.report.contents import Contents

_UNITS = 24  # shown of a layer

ADVICE = {
    "NaN": "A number overflowed or was divided by zero: look at the first layer in which it occurs. Half precision, "
    "exploding weights and inputs that are not finite are the usual causes.",
    "dead": "Look for a learning rate that was too high, a large negative bias, or pruning. A few dead units do no "
    "harm; where they are many, the layer is smaller than it looks. They can be removed without changing the output on "
    "such images. More or other images may still excite them.",
    "nearly dead": "They may answer to something rare: look at their best patches. Otherwise as for dead units.",
    "silent": "Their scale is so small that the next layer hardly hears them; weight decay does this to units that are "
    "not needed. Check that the next layer's weights do not make up for it.",
    "always on": "The rectifier does nothing here. Look at the bias; units like this often carry mean brightness or a "
    "position.",
    "saturated": "No gradient passes. Look for inputs that are scaled too large, or initial weights that were.",
    "noisy": "Train longer, or with more weight decay or data, and compare with an earlier layer. In a few units it is "
    "no matter; fine gratings have high frequencies too, and a low spectral entropy.",
}


def counts(contents: Contents) -> dict[str, int]:
    """How many units have each kind of trouble, where some have."""
    return {name: sum(map(len, layers.values())) for name, layers in contents.flags.items()}


def context(contents: Contents) -> dict[str, Any]:
    """What the template says."""
    found = [
        {
            "name": name,
            "count": sum(map(len, layers.values())),
            "advice": ADVICE[name],
            "layers": [
                {
                    "address": address,
                    "slug": contents.by_address[address].slug,
                    "count": len(units),
                    "of": contents.by_address[address].layer.units,
                    "units": [unit for unit in units if unit in contents.strips[contents.by_address[address].slug]][
                        :_UNITS
                    ],
                }
                for address, units in layers.items()
            ],
        }
        for name, layers in contents.flags.items()
    ]
    return {"title": "What needs attention", "found": found, "absent": contents.absent}
