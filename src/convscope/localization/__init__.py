"""Localisation: boxes from maps, by the protocols of the papers, and how right they are.

>>> found = convscope.localize(network, "diorama:objects/test", methods=["cam", "cam/heuristics"], limit=500)
>>> found.rows[0].top1.error, found.rows[0].maps.pointing

``boxes`` and ``graphcut`` make boxes of maps, ``scores`` says how right maps and boxes are, ``localizer`` names a
method with a protocol, ``truth`` knows the true boxes, ``frame`` where an input lies on its picture, ``run`` makes the
pass, and ``result`` is all that was found.
"""

from convscope.localization.boxes import BoxProtocol, LargestComponent, Released
from convscope.localization.graphcut import GraphCut
from convscope.localization.localizer import Localizer
from convscope.localization.result import Localization
from convscope.localization.run import localize

__all__ = ["BoxProtocol", "GraphCut", "LargestComponent", "Localization", "Localizer", "Released", "localize"]
