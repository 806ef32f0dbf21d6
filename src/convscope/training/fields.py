"""Tables of a recipe as frozen dataclasses: every key is known, every value checked, and a slip is named."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from convscope.errors import TrainingError, nearest
from convscope.preprocess import shown

Table = TypeVar("Table")
_NEEDED = dataclasses.MISSING


def value(read: Callable[[Any], Any], expected: str, default: Any = _NEEDED) -> Any:
    """A key of a table: `read` gives its value or raises ValueError, and `expected` is what a message then asks for."""
    return dataclasses.field(default=default, metadata={"read": read, "expected": expected})


def number(expected: str, default: Any = _NEEDED, low: float = 0.0, high: float = math.inf, above: bool = False) -> Any:
    """A number from `low` to `high`, or `above` low; it is a float also where the file says 1."""

    def read(given: Any) -> float:
        if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
            raise ValueError(given)
        if not low <= given <= high or (above and given == low):
            raise ValueError(given)
        return float(given)

    return value(read, expected, default)


def count(expected: str, default: Any = _NEEDED, low: int = 0, high: int = 1 << 31) -> Any:
    """A whole number."""

    def read(given: Any) -> int:
        return whole_number(given, low, high)

    return value(read, expected, default)


def counts(expected: str, default: Any = _NEEDED) -> Any:
    """A list of whole numbers from 1, which is kept sorted and without doubles."""

    def read(given: Any) -> tuple[int, ...]:
        if not isinstance(given, list | tuple):
            raise ValueError(given)
        return tuple(sorted({whole_number(each, 1) for each in given}))

    return value(read, expected, default)


def seeds(expected: str, default: Any = _NEEDED) -> Any:
    """A list of different whole numbers from 0, in its order."""

    def read(given: Any) -> tuple[int, ...]:
        if not isinstance(given, list | tuple) or not given or len(set(given)) < len(given):
            raise ValueError(given)
        return tuple(whole_number(each) for each in given)

    return value(read, expected, default)


def whole_number(given: Any, low: int = 0, high: int = 1 << 31) -> int:
    """`given`, if it is a whole number from `low` to `high`; else ValueError."""
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
        raise ValueError(given)
    return given


def switch(default: bool) -> Any:
    """True or false."""

    def read(given: Any) -> bool:
        if not isinstance(given, bool):
            raise ValueError(given)
        return given

    return value(read, "true or false", default)


def choice(names: Sequence[str], default: Any = _NEEDED) -> Any:
    """One of some words."""

    def read(given: Any) -> str:
        if given not in names:
            raise ValueError(given)
        return str(given)

    return value(read, "one of " + ", ".join(f'"{name}"' for name in names), default)


def text(expected: str, default: Any = _NEEDED) -> Any:
    """Some words."""

    def read(given: Any) -> str:
        if not isinstance(given, str) or not given.strip():
            raise ValueError(given)
        return given

    return value(read, expected, default)


def names(expected: str, default: Any = None) -> Any:
    """A list of different names, or none at all."""

    def read(given: Any) -> tuple[str, ...]:
        if not isinstance(given, list | tuple) or not given or not all(isinstance(each, str) for each in given):
            raise ValueError(given)
        if len(set(given)) < len(given):
            raise ValueError(given)
        return tuple(given)

    return value(read, expected, default)


def in_folder(folder: Path) -> list[str]:
    """The names of the TOML files in a folder of convscope's."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read_toml(spec: str | Path, folder: Path, what: str) -> tuple[dict[str, Any], Path]:
    """What is in a TOML file, or in the one with this name in a folder of convscope's, and where that is.

    Args:
        what: it is, for messages.

    Raises:
        TrainingError: there is none, or it is no TOML.
    """
    known = in_folder(folder)
    path = folder / f"{spec}.toml" if str(spec) in known else Path(spec)
    if not path.is_file():
        raise TrainingError(
            f"{spec}: there is no such {what}{nearest(str(spec), known)}; expected a .toml file, or one of "
            f"{', '.join(known)}"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), path
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: not readable as TOML ({error})") from error


def table(kind: type[Table], data: Any, where: str) -> Table:
    """A table of the file as the dataclass `kind`.

    Raises:
        TrainingError: a key is unknown or missing, or its value makes no sense; it names `where`.
    """
    if not isinstance(data, Mapping):
        raise TrainingError(f"{where}: expected a table of keys, found {shown(data)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    check_keys(data, fields, where)
    given: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            given[name] = _checked(field, data[name], where)
        elif field.default is _NEEDED:
            raise TrainingError(f"{where}: '{name}' is missing; expected {field.metadata['expected']}")
    return kind(**given)


def one_of(kinds: Mapping[str, type[Table]], data: Any, where: str) -> Table:
    """A table whose key ``kind`` says which dataclass it is."""
    known = ", ".join(f'"{name}"' for name in kinds)
    chosen = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(chosen, str) or chosen not in kinds:
        hint = nearest(chosen, kinds) if isinstance(chosen, str) else ""
        raise TrainingError(f"{where}: 'kind' is {shown(chosen)}; expected one of {known}{hint}")
    return table(kinds[chosen], data, where)


def check_keys(data: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """Raise where a key is not among those that are known."""
    for key in data:
        if key not in known:
            raise TrainingError(f"{where}: unknown key {shown(key)}{nearest(key, known)}; known are {', '.join(known)}")


def _checked(field: dataclasses.Field[Any], given: Any, where: str) -> Any:
    try:
        return field.metadata["read"](given)
    except (ValueError, OverflowError):
        expected = field.metadata["expected"]
        raise TrainingError(f"{where}: '{field.name}' is {shown(given)}; expected {expected}") from None
