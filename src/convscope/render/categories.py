"""Colours of the six categories of concepts, in the order of the figures of network dissection (CVPR 2017)."""

COLOURS = {
    "object": "#4B4CBF",
    "scene": "#55B05B",
    "part": "#50BDAC",
    "material": "#D4CF24",
    "texture": "#F0883B",
    "colour": "#D92E2B",
}
