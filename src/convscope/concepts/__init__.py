"""Concept sets: images whose pixels somebody has labelled, in six categories.

>>> concepts = convscope.concepts.open_concepts("diorama:objects/test")
>>> concepts.labels(7).maps  # (5, 96, 96): the number of a concept at each pixel, for each of five categories

``base`` says what a set is; ``diorama``, ``folder``, ``indexed``, ``broden``, ``ade20k`` and ``coco`` read one each,
four of them by ``masks`` (PNG files) and ``numbering`` (which number is which concept); ``colours`` adds the eleven
basic ones that ``colour_names`` tells, ``categories`` leaves some out, ``shuffle`` deals labels out anew, and
``coverage`` counts.
"""

from convscope.concepts.base import CATEGORIES, Concept, ConceptSet, Labels
from convscope.concepts.categories import only
from convscope.concepts.colours import with_colours
from convscope.concepts.coverage import Coverage, coverage
from convscope.concepts.opening import open_concepts
from convscope.concepts.shuffle import shuffled

__all__ = [
    "CATEGORIES", "Concept", "ConceptSet", "Coverage", "Labels", "coverage", "only", "open_concepts", "shuffled",
    "with_colours",
]  # fmt: skip
