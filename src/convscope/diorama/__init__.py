"""The diorama: a small world, drawn by rule, whose every pixel is known.

    from convscope.diorama import render

    scene = render("objects", "test", 7, 128)
    scene.image, scene.maps["part"], scene.things, scene.caption, scene.questions

24 kinds of objects made of named parts, 15 places, 8 textures, 6 materials, the 11 basic colours. Two label sets:
``objects``, where an image is about one thing that mostly stands off the centre, and ``scenes``, where it is about the
place. Splits ``train``, ``val`` and ``test``; for transfer ``novel``, 12 kinds that no other split has,
    and ``style``, the
same kinds printed in one ink.
"""

from convscope.diorama.clips import Clip, clip
from convscope.diorama.compose import class_of
from convscope.diorama.kinds import CLUTTER, NOVEL, TRAINED
from convscope.diorama.names import CATEGORIES, TABLES
from convscope.diorama.places import PLACES
from convscope.diorama.scene import VERSION, Scene, Thing, render
from convscope.diorama.splits import COUNTS, LABEL_SETS, SPLITS, check, classes
from convscope.diorama.words import Question

__all__ = [
    "CATEGORIES", "CLUTTER", "COUNTS", "LABEL_SETS", "NOVEL", "PLACES", "SPLITS", "TABLES", "TRAINED", "VERSION",
    "Clip", "Question", "Scene", "Thing", "check", "class_of", "classes", "clip", "render",
]  # fmt: skip
