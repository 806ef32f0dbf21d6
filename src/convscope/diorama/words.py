"""Sentences: a caption, and questions with their answers. They are made of the things that are seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LIGHTS = {
    "day": "by day", "morning": "in the morning", "sunset": "at sunset", "dusk": "at dusk", "grey": "on a grey day",
        "mint": "on a mild day",
    "night": "by night", "lamp": "by lamplight",
}  # fmt: skip
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLURALS = {
    "fish": "fish",
    "bus": "buses",
    "bush": "bushes",
    "bicycle": "bicycles",
    "butterfly": "butterflies",
    "cactus": "cactuses",
}
PATTERNED = {"zigzag": "zigzagged"} | {
    name: name for name in ("striped", "dotted", "chequered", "wavy", "scaly", "woven", "speckled")
}
MADE_OF = {"wood": "wooden", "metal": "metal", "brick": "brick", "glass": "glass", "fabric": "cloth", "stone": "stone"}


class Seen(Protocol):
    """What sentences need to know of a thing."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def main(self) -> bool:
        """Whether the image is about it."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(y0, x0, y1, x1), half-open."""

    @property
    def area(self) -> float:
        """The share of the image that it covers."""

    @property
    def colour(self) -> str:
        """Its basic colour name."""

    @property
    def one_colour(self) -> bool:
        """Whether it is clear that this is its colour."""

    @property
    def material(self) -> str | None:
        """Its material."""

    @property
    def texture(self) -> str | None:
        """Its texture."""


@dataclass(frozen=True)
class Question:
    """A question and its answer.

    Args:
        type: ``what``, ``where``, ``how many``, ``colour``, ``is there`` or ``side``.
        things: the kinds that it names.
    """

    type: str
    text: str
    answer: str
    things: tuple[str, ...] = ()


def article(words: str) -> str:
    """The words with ``a`` or ``an``."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def plural(kind: str) -> str:
    """The plural of a kind."""
    return PLURALS.get(kind, kind + "s")


def described(thing: Seen) -> str:
    """A thing with its colour and surface: ``a striped red car``, ``a red wooden car``."""
    return article(
        " ".join(
            filter(
                None, (PATTERNED.get(thing.texture or ""), thing.colour, MADE_OF.get(thing.material or ""), thing.kind)
            )
        )
    )


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def caption(things: Sequence[Seen], phrase: str, light: str) -> str:
    """The image in a sentence or two: the things that it is about, the place, and what lies about."""
    when = "" if light == "night" and "night" in phrase else f" {LIGHTS[light]}"
    subjects = [thing for thing in things if thing.main]
    others = Counter(thing.kind for thing in things if not thing.main)
    if not subjects:
        return (
            f"Nothing but a view {phrase}{when}."
            if not things
            else f"{_capital(listed([described(t) for t in things]))} {phrase}{when}."
        )
    first = f"{_capital(listed([described(thing) for thing in subjects]))} {phrase}{when}."
    if not others:
        return first
    near = listed([article(kind) if n == 1 else f"{NUMBERS[n]} {plural(kind)}" for kind, n in sorted(others.items())])
    return f"{first} Near it: {near}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def questions(things: Sequence[Seen], place: str) -> tuple[Question, ...]:
    """All questions that have one true answer."""
    found = [Question("where", "What place is this?", place)]
    counts = Counter(thing.kind for thing in things)
    ranked = sorted(things, key=lambda thing: -thing.area)
    if ranked and (len(ranked) == 1 or ranked[0].area > 1.5 * ranked[1].area):
        found.append(Question("what", "What is the largest object?", ranked[0].kind))
    for kind, n in sorted(counts.items()):
        found.append(Question("how many", f"How many {plural(kind)} are there?", str(n), (kind,)))
        found.append(Question("is there", f"Is there {article(kind)}?", "yes", (kind,)))
    absent = [kind for kind in ASKED if kind not in counts]
    found += [Question("is there", f"Is there {article(kind)}?", "no", (kind,)) for kind in absent]
    single = [thing for thing in things if counts[thing.kind] == 1]
    found += [
        Question("colour", f"What colour is the {thing.kind}?", thing.colour, (thing.kind,))
        for thing in single
        if thing.one_colour
    ]
    for a in single:
        for b in single:
            side = _side(a, b)
            if a is not b and side:
                text = f"Is the {a.kind} left or right of the {b.kind}?"
                found.append(Question("side", text, side, (a.kind, b.kind)))
    return tuple(found)


ASKED = ("ball", "car", "cat", "crate", "house", "tree")  # asked for also where there is none


def _side(a: Seen, b: Seen) -> str | None:
    """On which side of b all of a lies, if it does."""
    if a.box[3] <= b.box[1]:
        return "left"
    return "right" if a.box[1] >= b.box[3] else None
