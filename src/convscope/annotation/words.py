"""Descriptions as labels that can be counted: lower case, without articles and signs, the last word in the singular."""

from __future__ import annotations

import re

_ARTICLES = {"a", "an", "the"}
_SMALL = _ARTICLES | {"of", "with", "in", "on", "at", "to", "and", "or", "for", "by", "from", "like"}
_IRREGULAR = {"buses": "bus", "leaves": "leaf", "knives": "knife", "feet": "foot", "men": "man", "women": "woman"}
_SAME = {"glasses", "stairs", "people", "clothes", "trousers", "scissors"}  # a plural by form alone
_ENDINGS = (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("lves", "lf"), ("s", ""))
_KEPT = re.compile(r"(ss|us|is|ous)$")  # glass, cactus, tennis


def label(description: str) -> str:
    """The label of a description: “The Ceiling Lamps.” is “ceiling lamp”.

    A description of signs alone stays as it is, in lower case.
    """
    words = _words(description)
    words = [word for word in words if word not in _ARTICLES] or words
    if not words:
        return description.strip().lower()
    return " ".join([*words[:-1], _singular(words[-1])])


def content(description: str) -> frozenset[str]:
    """The words of a description that say something, each in the singular: “wheels of a car” are “wheel” and “car”."""
    return frozenset(_singular(word) for word in _words(description) if word not in _SMALL)


def _words(description: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", description.lower())


def _singular(word: str) -> str:
    """By the rules of spelling; a word that these do not fit stays wrong, and the same each time."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _SAME or len(word) < 4 or _KEPT.search(word):
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + instead
    return word
