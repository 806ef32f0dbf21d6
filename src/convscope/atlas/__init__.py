"""The atlas: what one pass over the images said about every unit, as a folder that explains itself.

>>> atlas = Atlas.open("atlas")
>>> unit = atlas["features.7.expand3x3:12"]
>>> unit.top[0].name, unit.top[0].value, unit.summary["mean"]

====================  =================================================================================================
``run.json``          the job, fingerprints of network and images, layers and results, checksums of all other files
``samples.…``         the sample images' maps, maxima, positions and shares of zeros, named ``layer|array``
``statistics.…``      every statistic of every unit, as safetensors named ``layer|statistic|array``
``filters.…``         the weights of every layer with a kernel, their noise and colour, named ``layer|array``
``class_maps.…``      what in the sample images speaks for the classes that are predicted
``strips/``           the best patches of every unit, a row a unit, in sheets
``projections/``      the same patches, projected back from the unit to the pixels, in sheets
``pictures/``         the samples and the images in any unit's best ones, as the network sees them, in sheets
====================  =================================================================================================
"""

from convscope.atlas.filters import Filters
from convscope.atlas.folder import Atlas
from convscope.atlas.layers import AtlasLayer, AtlasUnit, TopImage
from convscope.atlas.samples import Guess, Response, Sample

__all__ = ["Atlas", "AtlasLayer", "AtlasUnit", "Filters", "Guess", "Response", "Sample", "TopImage"]
