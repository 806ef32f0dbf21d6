"""The package as a whole: its public face, what importing it costs, and that its tests do not skip in silence."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import convscope

# Frozen, so that a name is added or removed on purpose only. The face of the package is a table of names that are
# imported when first used: a module that is renamed, or a line that is lost, breaks no import of ours, as our
# other tests take things from where they are defined. Only the programs of users would fail. kornia freezes its
# surface for the same reason (STYLE.md 3, rule 16). Whoever changes this list changes CHANGELOG.md in the same commit.
SURFACE = [
    "Arrays",
    "Atlas",
    "ConvscopeError",
    "ImageSet",
    "Network",
    "Preprocess",
    "WorkerError",
    "ablate",
    "dissect",
    "empirical_fields",
    "evaluate",
    "explain",
    "load",
    "localize",
    "merge",
    "open_images",
    "scan",
    "scan_part",
    "wrap",
    "write_report",
]


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def test_the_public_names_are_frozen() -> None:
    assert convscope.__all__ == SURFACE
    assert sorted(convscope._HOMES) == SURFACE


@pytest.mark.parametrize("name", SURFACE)
def test_every_public_name_is_there(name: str) -> None:
    thing = getattr(convscope, name)
    assert thing.__name__ == name
    assert thing.__module__.startswith("convscope.")
    assert thing.__doc__
    assert name in dir(convscope)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'convscope' has no attribute 'laod'"):
        convscope.laod  # noqa: B018


def test_importing_and_listing_the_package_does_not_import_torch() -> None:
    """The help of the command line must not wait seconds for torch."""
    heavy = "{'torch', 'numpy', 'PIL', 'sklearn', 'plotly'}"
    code = f"import sys, convscope; names = dir(convscope); print('load' in names, sorted({heavy} & set(sys.modules)))"
    assert python(code) == "True []"
    assert python("import sys, convscope; convscope.load; print('torch' in sys.modules)") == "True"


def test_all_but_the_figures_can_be_imported_without_the_extras() -> None:
    """What 'make demo' installs has no matplotlib; one import too high up, and a scan ends before it begins."""
    code = """
import importlib, pkgutil, sys
extras = ("matplotlib", "torchvision", "timm", "dask", "distributed", "datasets", "huggingface_hub", "pyarrow")
sys.modules.update(dict.fromkeys(extras))
import convscope, convscope.errors
for found in pkgutil.walk_packages(convscope.__path__, "convscope.", onerror=str):
    if found.name.startswith("convscope.render.figures."):
        continue
    try:
        importlib.import_module(found.name)
    except convscope.errors.ConvscopeError as error:
        print(found.name, "convscope[figures]" in str(error))
"""
    assert python(code).splitlines() == ["convscope.render.figures True", "convscope.report.explanations True"]


def test_methods_of_attribution_are_there_without_an_import_of_their_own() -> None:
    assert python("import sys, convscope; print('torch' in sys.modules, convscope.attribution.Saliency.name)") == (
        "False saliency"
    )


def test_a_star_import_gives_the_public_names() -> None:
    assert python("from convscope import *; print(callable(load), callable(scan), Preprocess.__name__)") == (
        "True True Preprocess"
    )


def test_the_version_is_that_of_the_distribution() -> None:
    assert importlib.metadata.version("convscope") == convscope.__version__


def test_the_package_is_typed_and_carries_its_weights() -> None:
    root = Path(convscope.__file__).parent
    for name in ("py.typed", "zoo/weights/digits-lenet5.safetensors", "zoo/weights/digits-lenet5.json"):
        assert (root / name).is_file(), name


# --- what conftest.py does where something is missing ----------------------------------------------------------------

PROBE = """
import pytest

@pytest.mark.real
def test_real(shared_data): assert shared_data.is_dir()

@pytest.mark.browser
def test_browser(): pass

def test_plain(): pass
"""


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 passed, 2 skipped"), ("true", "1 passed, 2 errors")])
def test_what_is_missing_is_named_and_fails_under_ci(tmp_path: Path, ci: str, outcome: str) -> None:
    """Run in a folder without ../shared and with a PATH without chromium."""
    tests = tmp_path / "copy" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("conftest.py"), tests)
    (tests / "test_probe.py").write_text(PROBE)
    (tests.parent / "pytest.ini").write_text("[pytest]\nmarkers =\n    real: x\n    browser: x\n")
    command = [sys.executable, "-m", "pytest", "-rsE", "-p", "no:cacheprovider", "--strict-markers", str(tests)]
    environment = {**os.environ, "CI": ci, "PATH": str(tmp_path), "COLUMNS": "300"}
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        environment.pop(name, None)
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tests.parent, check=False, timeout=120
    )
    assert outcome in done.stdout
    assert f"the real weights and images: the folder {tmp_path / 'shared' / 'data'}" in done.stdout
    assert "the program chromium or chromium-browser" in done.stdout or "the package playwright" in done.stdout
    assert done.returncode == (1 if ci else 0)
