"""A network's card: the JSON beside its weights that says how images are prepared and what the outputs mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import NetworkError
from convscope.preprocess import Preprocess, shown
from convscope.rows import read_rows, whole

OUTPUTS = ("softmax", "sigmoid", "real")

Source = Preprocess | Mapping[str, Any] | str | Path  # a card, its JSON form, or a path to that


@dataclass(frozen=True)
class Card:
    """What the JSON beside a checkpoint says; the fields are those of `convscope.network.Network`."""

    preprocess: Preprocess
    output: str
    classes: tuple[str, ...] | None
    synonyms: Mapping[str, int] | None

    @classmethod
    def read(cls, source: Source) -> Card:
        """Read and check a card, or preprocessing alone.

        Raises:
            NetworkError: it cannot be read, or something in it makes no sense.
        """
        origin, folder = "the preprocessing", Path()
        if isinstance(source, Preprocess):
            source = source.to_json()  # so that it is checked as thoroughly
        if isinstance(source, str | Path):
            origin, folder = str(source), Path(source).parent
            source = _json(Path(source))
        if not isinstance(source, Mapping):
            raise NetworkError(f"{origin}: expected a JSON object, found {type(source).__name__}")
        data = dict(source)
        output = read_output(data.pop("output", "softmax"), origin)
        classes, synonyms = read_classes(data.pop("classes", None), folder, origin)
        return cls(Preprocess.from_json(data, origin), output, classes, synonyms)

    @classmethod
    def beside(cls, weights: Path) -> Card:
        """The card beside a checkpoint: the same name, with ``.json``.

        Raises:
            NetworkError: there is none; what it would hold is never guessed.
        """
        path = weights.with_suffix(".json")
        if not path.is_file():
            raise NetworkError(
                f"{weights}: there is no {path.name} beside it that says how its images are prepared, and that is "
                "never guessed; write one, or give preprocess= (--preprocess FILE), for example "
                '{"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "channels": "RGB"}'
            )
        return cls.read(path)


def read_output(value: Any, origin: str) -> str:
    """What the outputs are, checked; `origin` says where it was written."""
    if value not in OUTPUTS:
        raise NetworkError(f"{origin}: 'output' is {shown(value)}; expected one of {', '.join(OUTPUTS)}")
    return str(value)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except FileNotFoundError:
        raise NetworkError(f"{path}: there is no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise NetworkError(f"{path}: not readable as JSON ({error})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that stands twice Python would take the last value without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(next(name for name in names if names.count(name) > 1))} stands twice")
    return found


def read_classes(value: Any, folder: Path, origin: str) -> tuple[tuple[str, ...] | None, dict[str, int] | None]:
    """Class names, and the WordNet ids of a CSV as synonyms of them."""
    if value is None:
        return None, None
    if isinstance(value, list) and value and all(map(_is_text, value)):
        return tuple(value), None
    if not _is_text(value):
        raise NetworkError(f"{origin}: 'classes' is {shown(value)}; expected a list of names or a path to a CSV")
    return _class_table(folder / value)


def _is_text(value: Any) -> bool:
    """JSON can write half a surrogate pair, which no page and no terminal can show."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _class_table(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    try:
        rows = sorted(((whole(row["index"]), row) for _, row in read_rows(path)[1]), key=lambda pair: pair[0])
        names = tuple(row["name"] for _, row in rows)
        if not rows or [index for index, _ in rows] != list(range(len(rows))):
            raise ValueError("its indices are not 0, 1, 2, ...")
        if not all(names):
            raise ValueError(f"class {[bool(name) for name in names].index(False)} has no name")
    except (OSError, KeyError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise NetworkError(f"{path}: not readable as a CSV of classes with columns index and name ({what})") from error
    synonyms = {row["wnid"]: index for index, row in rows if row.get("wnid")}
    return names, synonyms
