"""Concept sets: images whose pixels somebody has labelled, in six categories."""

from convscope.concepts.base import CATEGORIES, Concept, ConceptSet, Labels
from convscope.concepts.opening import open_concepts

__all__ = ["CATEGORIES", "Concept", "ConceptSet", "Labels", "open_concepts"]
