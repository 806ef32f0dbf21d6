"""The kinds of objects: 24 that networks are trained on, 12 kept for transfer, and 8 of clutter."""

from convscope.diorama.kinds import animals, guests, made, plants, vehicles
from convscope.diorama.kinds.base import Kind, Part
from convscope.diorama.kinds.clutter import CLUTTER

TRAINED = tuple(
    sorted(
        (*vehicles.KINDS, *animals.ANIMALS, *plants.KINDS, *made.BUILDINGS, *made.HOUSEHOLD), key=lambda kind: kind.name
    )
)
NOVEL = tuple(sorted((*guests.OTHERS, *plants.OTHERS, *made.OTHERS), key=lambda kind: kind.name))
ALL = (*TRAINED, *NOVEL, *CLUTTER)

__all__ = ["ALL", "CLUTTER", "NOVEL", "TRAINED", "Kind", "Part"]
