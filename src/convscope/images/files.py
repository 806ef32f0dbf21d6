"""Image files: a folder, or a CSV that lists them, and their labels."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from convscope.errors import ImagesError
from convscope.images.base import ImageSet, Label
from convscope.images.decoding import READ, decode
from convscope.images.labels import labels_of_files
from convscope.preprocess import Picture

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev"}
_PICTURES = {"images", "image", "imgs", "img", "jpegimages"}
_TRUTHS = {"labels", "label", "masks", "mask", "annotations", "segmentation", "segmentationclass", "segmentationobject"}


@dataclass(frozen=True, eq=False)
class Files(ImageSet):
    """Image files below a folder."""

    spec: str
    root: Path = field(repr=False)
    paths: Sequence[str] = field(repr=False)
    labels: Sequence[Label] = field(repr=False)
    remark: str | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    @functools.cached_property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        """The relative paths as text."""
        return [_text(path) for path in self.paths]

    def read(self, index: int) -> Picture:
        """See `ImageSet.read`."""
        return decode(self.root / self.paths[index])

    def signature(self, start: int, stop: int) -> str:
        """See `ImageSet.signature`: names, labels, sizes and times of change."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths[start:stop], self.labels[start:stop], strict=True):
            text = f"{path}\0{label!r}\0{file_state(self.root / path)}\0"
            digest.update(text.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def _text(path: str) -> str:
    """A path need not be UTF-8, and then it could neither be printed nor written on a page."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None where it cannot be known."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def from_folder(root: Path, spec: str, names: list[str]) -> Files:
    """The image files `names` below `root`, and what its ``labels.csv`` lists; else labels from class subfolders.

    Raises:
        ImagesError: there is none, or ``labels.csv`` is written wrongly.
    """
    table = root / "labels.csv"
    labels: dict[str, Label] = {}
    if table.is_file():
        labels = labels_of_files(table)
        names, remark = _without_truths(names, labels)
        names = _in_order({*names, *labels})
    else:
        names, remark = _without_truths(names)
        labels = _class_folders(names)
    if not names:
        raise ImagesError(f"{spec}: no image files in it; expected names that end in {', '.join(sorted(READ))}")
    return Files(spec, root, names, [labels.get(name) for name in names], remark)


def files_below(root: Path, suffixes: Iterable[str]) -> list[str]:
    """Relative paths of the files that end so, in order.

    Raises:
        ImagesError: a folder cannot be listed.
    """
    found = []
    for folder, subfolders, files in os.walk(root, onerror=_refuse, followlinks=True):
        subfolders[:] = [name for name in subfolders if _is_of_the_set(Path(folder, name))]
        relative = Path(folder).relative_to(root)
        found += [
            (relative / name).as_posix()
            for name in files
            if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        ]
    return _in_order(found)


def _in_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: PurePosixPath(name).parts)


def _is_of_the_set(folder: Path) -> bool:
    """Not hidden, no link back, and nothing that convscope itself has put there: an atlas's pictures are no images."""
    ours = ("run.json", "job.json", "convscope-report.json", "explanation.json")
    return not (folder.name.startswith(".") or _loops(folder) or any((folder / name).exists() for name in ours))


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed would be missing without a word."""
    raise ImagesError(f"{error.filename}: the folder cannot be listed ({error.strerror})")


def _loops(folder: Path) -> bool:
    """Whether it is a link to one of the folders that it lies in."""
    return folder.is_symlink() and folder.resolve() in {each.resolve() for each in folder.parents}


def _without_truths(names: list[str], listed: Container[str] = ()) -> tuple[list[str], str | None]:
    """The images where images and their label maps lie side by side: those folders are no classes.

    Args:
        listed: files that are images wherever they lie.
    """
    tops = {PurePosixPath(name).parts[0] for name in names if "/" in name}
    pictures = {top for top in tops if top.lower() in _PICTURES}
    truths = {top for top in tops if top.lower() in _TRUTHS}
    if len(pictures) != 1 or not truths or tops != pictures | truths:
        return names, None
    kept = [name for name in names if name in listed or PurePosixPath(name).parts[0] not in truths]
    left_out = len(names) - len(kept)
    if not left_out:
        return names, None
    return kept, f"the {left_out} files in {', '.join(sorted(truths))} were taken for label maps and left out"


def _class_folders(names: list[str]) -> dict[str, Label]:
    """The class of each image, where they lie in subfolders by class, or by split and class; else nothing."""
    parts = [PurePosixPath(name).parts for name in names]
    if all(part[0].lower() in SPLITS for part in parts):
        parts = [part[1:] for part in parts]
    if not all(len(part) > 1 for part in parts) or len({part[0] for part in parts}) < 2:
        return {}
    return {name: _text(part[0]) for name, part in zip(names, parts, strict=True)}


def from_csv(path: Path, spec: str) -> Files:
    """The files that a CSV lists, relative to it.

    Raises:
        ImagesError: it is written wrongly, or lists nothing.
    """
    labels = labels_of_files(path)
    if not labels:
        raise ImagesError(f"{spec}: it lists no images")
    names = _in_order(labels)
    return Files(spec, path.parent, names, [labels[name] for name in names])
