"""Sets of images: a folder, a CSV, arrays, tables, the embedded digits or world. An image's id is its rank in the set.

=====================  ================================================================================================
``photos/``            every image file below the folder, ranked by relative path; labels from ``labels.csv`` (columns
                       ``file`` and ``class_index`` or ``label``), or else from class subfolders
``list.csv``           the files that the CSV lists, with the same columns, relative to it
``images.npy``         (n, h, w) or (n, c, h, w), see `Arrays`; labels from ``images.labels.csv``, if it is there
``images.npz``         the same under the key ``images``, with class indices or names under ``labels``, if it is there
``photos.parquet``     the bytes of an image file in each row, as Hugging Face lays it out; also a folder of such files
``saved/``             a data set that ``datasets.Dataset.save_to_disk`` has written
``hub:NAME/SPLIT``     a data set of Hugging Face; ``hub:NAME:CONFIG/SPLIT`` where it has several configurations
``digits:test``        the handwritten digits that come with scikit-learn: ``train``, ``test`` or ``all``
``diorama:objects/…``  the embedded world: ``objects`` or ``scenes``; ``train``, ``val``, ``test``, ``novel`` or
                       ``style``; ``diorama:objects/test:128`` for another size than 96 px
=====================  ================================================================================================

Parquet and Hugging Face need the extra ``hub``. Every set but an array in memory can be opened again by its `spec`.
"""

from convscope.images.arrays import Arrays, Digits
from convscope.images.base import ImageSet, Label
from convscope.images.chosen import choose
from convscope.images.decoding import SUFFIXES, decode
from convscope.images.diorama import Diorama
from convscope.images.files import Files
from convscope.images.hub import Hub
from convscope.images.opening import open_images
from convscope.images.tables import Parquet

__all__ = [
    "SUFFIXES", "Arrays", "Digits", "Diorama", "Files", "Hub", "ImageSet", "Label", "Parquet", "choose", "decode",
    "open_images",
]  # fmt: skip
