"""The tables of labels: index 0 is no label, the others are names in a fixed order."""

from __future__ import annotations

from convscope.diorama.colours import COLOURS
from convscope.diorama.kinds import ALL
from convscope.diorama.textures import MATERIALS, TEXTURES

KIND_NAMES = tuple(kind.name for kind in ALL)

# What places consist of.
STUFF = (
    "awning", "bale", "bed", "big wheel", "blanket", "blossom", "bollard", "bubble", "building", "bunting",
    "casement", "cloud", "coral", "crane", "cupboard", "curtain", "curtain rail", "cushion", "fence", "field", "firs",
    "floor", "flower bed", "grass", "ground", "hedge", "hill", "hood", "island", "jar", "kerb", "lake", "lawn",
    "marking", "meadow", "mesa", "moon", "mountain", "path", "pavement", "picture", "pillow", "quay", "road", "rock",
    "roof tiles", "rug", "sand", "sea", "seabed", "seaweed", "shadow", "shelf", "shop", "skirting", "sky", "snow",
    "snowcap", "snowflake", "sofa", "star", "street light", "sun", "tent", "tiles", "tower", "undergrowth", "wall",
    "warehouse", "water", "woods", "worktop",
)  # fmt: skip

# Parts of things; most are shared between kinds.
PARTS = (
    "antenna", "arm", "back", "band", "base", "basket", "beak", "bell", "belly", "body", "bridge", "bumper", "cab",
    "canopy", "cap", "cargo", "centre", "chest", "chimney", "collar", "crown", "cushion", "door", "ear", "envelope",
    "eye", "face", "fin", "flag", "flame", "frame", "fruit", "hand", "handle", "hat", "head", "headlight", "hinge",
    "hole", "horn", "hub", "hull", "leaf", "leg", "lid", "mast", "neck", "nose", "page", "pedal", "peg", "petal",
    "pot", "rib", "rim", "roof", "rope", "runner", "saddle", "sail", "scarf", "seat", "shade", "skirt", "slat",
    "snout", "spot", "spout", "stand", "stem", "string", "switch", "tail", "tip", "top", "trunk", "tub", "tusk",
    "wall", "wheel", "whisker", "window", "wing",
)  # fmt: skip

TABLES: dict[str, tuple[str, ...]] = {
    "object": ("", *KIND_NAMES, *STUFF),
    "part": ("", *PARTS),
    "material": ("", *MATERIALS),
    "texture": ("", *TEXTURES),
    "colour": ("", *COLOURS),
}
CATEGORIES = tuple(TABLES)
INDEX = {category: {name: i for i, name in enumerate(table)} for category, table in TABLES.items()}
