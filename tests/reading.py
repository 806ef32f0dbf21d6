"""HTML of ours, read back: its tags and words, and the laws that every view of a notebook keeps."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import convscope

VOID = {"img"}  # drawings close their elements themselves


class Reader(HTMLParser):
    """Every tag with its attributes, and whether all were closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data

    def addresses(self) -> list[str]:
        """Everything that a browser would fetch."""
        return [attrs[name] for _, attrs in self.tags for name in ("src", "href") if name in attrs]


def check(html: str) -> Reader:
    """The view is whole, has no script, and asks for nothing from elsewhere."""
    read = Reader(html)
    assert not read.open
    assert read.tags[0] == ("section", read.tags[0][1])
    assert all(address.startswith("data:image/") for address in read.addresses())
    assert "url(" not in html
    assert "@import" not in html
    assert "://" not in html
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in read.tags}
    assert not any(name.startswith("on") for _, attrs in read.tags for name in attrs)
    assert all("alt" in attrs for tag, attrs in read.tags if tag == "img")
    return read


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def flagged_atlas(place: Path) -> convscope.Atlas:
    """Of four units one is dead, one always on, one gives NaN; names of the network and its images look like tags."""
    folder = place / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(50, 200, (16, 16, 3), np.uint8)).save(folder / f"{i}<b id=injected>.png")
    (folder / "broken<b id=injected>.png").write_bytes(b"nothing")
    conv = torch.nn.Conv2d(3, 4, 1)
    conv.weight.data.zero_()
    conv.bias.data.copy_(torch.tensor([-1.0, 1.0, torch.nan, 0.0]))
    conv.weight.data[3, 0] = 1
    network = convscope.wrap(
        torch.nn.Sequential(conv, torch.nn.ReLU()), preprocess={"size": [8, 8]}, name="<b id=injected>"
    )
    return convscope.scan(network, convscope.open_images(folder), place / "atlas")
