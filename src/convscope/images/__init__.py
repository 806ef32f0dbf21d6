"""Sets of images: a folder, a CSV, arrays, or the embedded digits. An image's id is its rank in the set.

=====================  ================================================================================================
``photos/``            every image file below the folder, ranked by relative path; labels from ``labels.csv`` (columns
                       ``file`` and ``class_index`` or ``label``), or else from class subfolders
``list.csv``           the files that the CSV lists, with the same columns, relative to it
``images.npy``         (n, h, w) or (n, c, h, w); 8-bit, or floats from 0 (black) to 1 (white)
``images.npz``         the same under the key ``images``, with class indices under ``labels`` if there are any
``digits:test``        the handwritten digits that come with scikit-learn: ``train``, ``test`` or ``all``
=====================  ================================================================================================
"""

from convscope.images.arrays import Arrays, Digits
from convscope.images.base import ImageSet, Label
from convscope.images.files import SUFFIXES, Files, decode
from convscope.images.opening import open_images

__all__ = ["SUFFIXES", "Arrays", "Digits", "Files", "ImageSet", "Label", "decode", "open_images"]
