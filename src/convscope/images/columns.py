"""What the columns of a table mean: which one holds the images, which one the labels, and the names of the classes.

The layout is that of Hugging Face: an image is a struct of ``bytes`` and ``path``, and the types of columns stand as
JSON in the schema. Plain bytes will do as well.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import ImagesError, UnreadableImage
from convscope.images.base import Label
from convscope.images.decoding import decode
from convscope.preprocess import Picture

_LABELS = ("label", "class_index")
_IMAGES = ("image", "img")


@dataclass(frozen=True)
class Columns:
    """The columns that matter.

    Args:
        image: the column of images; `nested` where its cells are structs of bytes and path.
        label: the column of labels, if there is one.
        classes: names of the class indices in it, if they are known.
        remark: what is to be said about labels that were left out.
    """

    image: str
    nested: bool
    label: str | None
    classes: Sequence[str] | None
    remark: str | None

    @classmethod
    def of(cls, schema: Any, spec: str) -> Columns:
        """Find them in an Arrow schema.

        Raises:
            ImagesError: no column holds the bytes of images, or several do and none is named ``image`` or ``img``.
        """
        image = _image_column(schema, spec)
        named = _class_labels(schema)
        label, remark = _label_column(schema, named)
        return cls(image, _is_struct(schema.field(image).type), label, named.get(label or ""), remark)

    def labels(self, values: Sequence[Any]) -> list[Label]:
        """Class names where they are known, else what stands in the column. -1 is no class, as on Hugging Face."""
        return [self._label(value) for value in values]

    def _label(self, value: Any) -> Label:
        if value is None or isinstance(value, str):
            return value
        index = int(value)
        if self.classes is None:
            return index
        return self.classes[index] if 0 <= index < len(self.classes) else None if index == -1 else index


def names_of(paths: Sequence[str | None]) -> list[str]:
    """The paths that a table gives its images, where they tell them apart; else ranks, as texts of equal length."""
    if None not in paths and "" not in paths and len(set(paths)) == len(paths):
        return [str(path) for path in paths]
    return [f"{i:0{len(str(len(paths) - 1))}}" for i in range(len(paths))]


def picture(cell: Any) -> Picture:
    """The picture in a cell: bytes, or a struct of bytes or else the path of a file.

    Raises:
        UnreadableImage: there is none, or it cannot be decoded.
    """
    data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if data is not None:
        return decode(bytes(data))
    if path:
        return decode(Path(path))
    raise UnreadableImage("its row holds no bytes of an image file")


def package(name: str, spec: str) -> Any:
    """A module of the extra ``hub``, which is imported for tables only.

    Raises:
        ImagesError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImagesError(
            f'{spec}: this needs the package {name.partition(".")[0]} ({error}); pip install "convscope[hub]"'
        ) from None


def _is_bytes(type_: Any) -> bool:
    return str(type_) in {"binary", "large_binary", "binary_view"}


def _is_struct(type_: Any) -> bool:
    return str(type_).startswith("struct<") and any(part.name == "bytes" and _is_bytes(part.type) for part in type_)


def _image_column(schema: Any, spec: str) -> str:
    found = [part.name for part in schema if _is_bytes(part.type) or _is_struct(part.type)]
    chosen = found if len(found) == 1 else [name for name in _IMAGES if found.count(name) == 1][:1]
    if chosen:
        return str(chosen[0])
    wanted = "expected a column 'image' with the bytes of image files"
    if found:
        raise ImagesError(f"{spec}: the columns {', '.join(found)} hold bytes, and none is named image; {wanted}")
    raise ImagesError(f"{spec}: {wanted}, found the columns {', '.join(schema.names) or 'none'}")


def _class_labels(schema: Any) -> dict[str, Sequence[str]]:
    """The columns of class indices, with the names of their classes, as `datasets` writes them into a schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = {key: value["names"] for key, value in features.items() if value.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    return {key: [str(name) for name in names] for key, names in labels.items() if isinstance(names, list)}


def _label_column(schema: Any, named: dict[str, Sequence[str]]) -> tuple[str | None, str | None]:
    found = [name for name in _LABELS if name in schema.names] or sorted(set(named) & set(schema.names))
    if len(found) > 1 and found[0] not in _LABELS:
        return None, f"the columns {', '.join(found)} hold labels, and none is named label; labels are left out"
    if not found:
        return None, None
    type_ = str(schema.field(found[0]).type)
    if not type_.replace("large_", "").startswith(("int", "uint", "bool", "string", "dictionary<values=string")):
        return None, f"the labels are of type {type_}, and no class indices or names; they are left out"
    return found[0], None
