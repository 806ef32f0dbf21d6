"""The scene categories: fifteen places."""

from convscope.diorama.places import far, indoors, leisure, nature, town
from convscope.diorama.places.base import Place, Room

PLACES = tuple(
    sorted((*far.PLACES, *leisure.PLACES, *nature.PLACES, *town.PLACES, *indoors.PLACES), key=lambda place: place.name)
)

__all__ = ["PLACES", "Place", "Room"]
