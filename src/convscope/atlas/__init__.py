"""The atlas: what one pass over the images said about every unit, as a folder that explains itself.

>>> atlas = Atlas.open("atlas")
>>> unit = atlas["features.7.expand3x3:12"]
>>> unit.top[0].name, unit.top[0].value, unit.summary["mean"]

====================  =================================================================================================
``run.json``          the job, fingerprints of network and images, layers and results, checksums of all other files
``statistics.…``      every statistic of every unit, as safetensors named ``layer|statistic|array``
``strips/``           the best patches of every unit, a row a unit, in sheets
``pictures/``         the images that occur in any unit's best ones, as the network sees them, in sheets
====================  =================================================================================================
"""

from convscope.atlas.folder import Atlas
from convscope.atlas.layers import AtlasLayer, AtlasUnit, TopImage

__all__ = ["Atlas", "AtlasLayer", "AtlasUnit", "TopImage"]
