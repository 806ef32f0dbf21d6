"""Fixtures for all tests, and what happens where real data or a browser is missing.

A test that is skipped looks like one that passes, and where nobody sees it that goes on for ever. So a skip names what
is missing, and under ``CI=true`` it is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # importing torch takes seconds, and not every test needs it
    from playwright.sync_api import Browser, Page

    from convscope.images import ImageSet
    from convscope.network import Network

SHARED = Path(__file__).parents[2] / "shared" / "data"
BROWSERS = ("chromium", "chromium-browser")

settings.register_profile("any machine", deadline=None)  # no test is timed: a busy machine is no fault
settings.load_profile("any machine")


def missing(marker: str) -> str | None:
    """What a test with this marker needs and is not here."""
    if marker == "real":
        return None if SHARED.is_dir() else f"the real weights and images: the folder {SHARED}"
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright"
    return None if any(map(shutil.which, BROWSERS)) else f"the program {' or '.join(BROWSERS)}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in ("real", "browser"):
        what = missing(marker) if item.get_closest_marker(marker) else None
        if what and os.environ.get("CI") == "true":
            pytest.fail(f"missing, and CI must not skip: {what}", pytrace=False)
        if what:
            pytest.skip(f"missing: {what}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real weights and images; only for tests with the marker `real`."""
    return SHARED


@pytest.fixture(scope="session")
def full_atlas(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The atlas of the demo: the embedded LeNet-5 on all held-out digits."""
    import convscope

    network = convscope.load("digits:lenet5")
    return convscope.scan(network, convscope.open_images("digits:test"), tmp_path_factory.mktemp("digits") / "atlas")


@pytest.fixture(scope="session")
def full_report(full_atlas: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its report."""
    import convscope

    return convscope.write_report(full_atlas, tmp_path_factory.mktemp("digits") / "report").parent


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test on any script error, failed file or request that is not to the disk."""
    from browsing import watched

    with watched(browser) as opened:
        yield opened


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For scans of tiny networks: they are no faster with more, and much slower where the machine is busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, for tests with the marker `browser`; `browsing.watched` opens pages in it."""
    from browsing import chromium

    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def lenet() -> Network:
    """The embedded LeNet-5."""
    import convscope

    return convscope.load("digits:lenet5")


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    """The held-out digits."""
    import convscope

    return convscope.open_images("digits:test")


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Five PNG files of (10, 12) px in the class subfolders cat (3) and dog (2); image i is all of the grey 40·i."""
    import numpy as np
    from PIL import Image

    root = tmp_path / "photos"
    for i, name in enumerate(["cat/a.png", "cat/b.png", "cat/c.png", "dog/a.png", "dog/b.png"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 12, 3), 40 * i, np.uint8)).save(path)
    return root


@pytest.fixture
def tiny_network() -> Network:
    """Two classes, cat and dog, from RGB pictures of 8×8 px; the weights are random and always the same."""
    import torch
    from torch import nn

    import convscope

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return convscope.wrap(module.eval(), preprocess={"size": [8, 8]}, classes=["cat", "dog"], name="tiny")


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """The oracle, also where its compiled part does not load."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("missing: the package torchvision, an oracle")
    import warnings

    from convscope.zoo.library import import_torchvision

    module = import_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchvision.transforms  # noqa: F401
    return module
