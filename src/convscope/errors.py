"""The errors of convscope: each message names the thing, the value that was wrong, and the remedy."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class ConvscopeError(Exception):
    """Base of every error that convscope raises for a user's input."""


class AddressError(ConvscopeError):
    """A layer, unit or neuron that is not there, or is written wrongly."""


class NetworkError(ConvscopeError):
    """A network that cannot be loaded or run: wrong file, wrong architecture, wrong preprocessing."""


class ImagesError(ConvscopeError):
    """A set of images that cannot be used at all: not there, empty, or every file unreadable."""


class UnreadableImage(ConvscopeError):  # noqa: N818 — it is skipped and listed, not a failure of the run
    """One image that cannot be read; a scan skips it, counts it and lists it."""


class CaptureError(ConvscopeError):
    """A forward pass that did not do what the recorded one did, so its values cannot be told apart."""


class TargetError(ConvscopeError):
    """A class, unit or function that is to be explained and cannot be: not there, or not what is expected."""


class AttributionError(ConvscopeError):
    """A method that would be wrong for this network or these images: a non-linearity out of reach, NaN, no gradient."""


class NotFiniteError(AttributionError):
    """Something of an image is NaN or infinite.

    Args:
        what: it is, as in "the score".
        image: its place among those that were given.
    """

    def __init__(self, what: str, image: int) -> None:
        super().__init__(
            f"{what} of image {image} is not finite (NaN or infinity), so there is nothing to explain; look at the "
            "network's weights and its input"
        )
        self.what, self.image = what, image


class WorkerError(ConvscopeError):
    """A process, or a cluster of them, that was asked to compute and cannot."""


class AtlasError(ConvscopeError):
    """A folder that is not an atlas, is damaged, or belongs to another job."""


class AnnotationError(ConvscopeError):
    """People's words for units that cannot be: of a unit that is not there, in no category, twice, or not readable."""


class TrainingError(ConvscopeError):
    """A recipe that is written wrongly, a training that went astray, or a folder that belongs to another one."""


PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}  # faults of the machine now, and not of a file


def is_passing(error: BaseException) -> bool:
    """Whether the machine has run out of something: that says nothing of the file that was being read."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in PASSING)


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence fragment that offers the closest names: ``; did you mean 'a' or 'b'?``, or an empty string."""
    matches = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    if not matches:
        return ""
    return "; did you mean " + " or ".join(repr(match) for match in matches) + "?"
