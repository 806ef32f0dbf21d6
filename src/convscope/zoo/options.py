"""A network of the zoo with its options in one string: ``alexnet``, ``alexnet:head=gap,width=0.25``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convscope.errors import NetworkError, nearest

LEAST, MOST = 0.01, 8.0  # factors on channel counts


@dataclass(frozen=True)
class Option:
    """What can be chosen of an architecture.

    Args:
        choices: what can be written, the default first; without any it is a factor, 1 by default.
    """

    name: str
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}={'|'.join(self.choices) or 'FACTOR'}"

    def read(self, text: str, origin: str) -> str | float:
        """The value that `text` says.

        Raises:
            NetworkError: it says none; the message names `origin` and what there is.
        """
        if self.choices:
            if text not in self.choices:
                expected = f"expected {' or '.join(self.choices)}"
                raise NetworkError(f"{origin}: {self.name} is {text!r}{nearest(text, self.choices)}; {expected}")
            return text
        try:
            factor = float(text)
        except ValueError:
            factor = 0.0
        if not LEAST <= factor <= MOST:
            raise NetworkError(
                f"{origin}: {self.name} is {text!r}; expected a factor on the channel counts, from {LEAST:g} to "
                f"{MOST:g}"
            )
        return factor


def read_options(text: str, known: Sequence[Option], origin: str) -> dict[str, str | float]:
    """The options that are written as ``head=gap,width=0.25``.

    Raises:
        NetworkError: one is unknown, stands twice, or has a value that makes no sense.
    """
    options = {option.name: option for option in known}
    found: dict[str, str | float] = {}
    for part in text.split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        listed = f"its options are {', '.join(map(str, known))}" if known else "it has no options"
        if not equals:
            raise NetworkError(f"{origin}: {part!r} is no option, which is written name=value; {listed}")
        if name not in options:
            raise NetworkError(f"{origin}: there is no option {name!r}{nearest(name, options)}; {listed}")
        if name in found:
            raise NetworkError(f"{origin}: the option {name!r} stands twice")
        found[name] = options[name].read(value, origin)
    return found
