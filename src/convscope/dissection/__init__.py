"""Network dissection: which concepts the units of a network detect, measured on images whose pixels are labelled.

D. Bau, B. Zhou, A. Khosla, A. Oliva and A. Torralba, "Network dissection: quantifying interpretability of deep visual
representations", CVPR 2017 [METHODS 6].

>>> found = convscope.dissect(network, "diorama:objects/test", "atlas")
>>> found["conv5:41"].label, found["conv5"].counts().unique

``task`` is what is asked for; ``passes`` are the two passes over the images, in shards: the ``tail`` of each unit's
values gives its threshold, and the ``kernels`` count the pixels above it, where ``placement`` puts a map on the
``labels``. ``sums`` adds up the counts of images and draws the bootstrap, ``run`` has all of it done and writes the
``section``, which a `Dissection` reads.
"""

from convscope.dissection.run import dissect
from convscope.dissection.section import Counts, Covered, DissectedLayer, DissectedUnit, Dissection, Match

__all__ = ["Counts", "Covered", "DissectedLayer", "DissectedUnit", "Dissection", "Match", "dissect"]
