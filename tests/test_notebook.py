"""Notebooks: when views are registered, and the example, run in a kernel and looked at in a browser."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import convscope
from accessibility import violations
from browsing import PHONE, watched
from convscope.render import notebook, views
from reading import check, flagged_atlas

EXAMPLE = Path(__file__).parents[1] / "examples" / "notebook.ipynb"


# --- registration -----------------------------------------------------------------------------------------------------


def test_views_are_registered_for_classes_that_exist():
    """They are registered by name, so a class that moves would lose its view without an error."""
    for (module, name), view in notebook.VIEWS.items():
        assert getattr(importlib.import_module(module), name).__module__ == module
        assert callable(getattr(views, view))


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_outside_of_ipython_nothing_is_imported_for_it():
    assert (
        python("import sys, convscope; print({'IPython', 'convscope.render', 'torch'} & set(sys.modules))") == "set()"
    )


SHELL = """
    import os, sys, tempfile
    os.environ["IPYTHONDIR"] = tempfile.mkdtemp()
    from IPython.core.interactiveshell import InteractiveShell
    {before}
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    {after}
    heavy = {{"torch", "numpy", "jinja2", "convscope.render.views"}} & set(sys.modules)
    formatter = shell.display_formatter.formatters["text/html"]
    known = {{key for key in formatter.deferred_printers if key[0].startswith("convscope")}}
    print(len(heavy), len(known))
"""


@pytest.mark.parametrize(
    ("before", "after", "known"),
    [
        ("", "import convscope", len(notebook.VIEWS)),
        ("import convscope", "", 0),  # IPython was imported, and did not run yet
        ("import convscope", "shell.run_line_magic('load_ext', 'convscope')", len(notebook.VIEWS)),
        ("", "shell.run_line_magic('load_ext', 'convscope')", len(notebook.VIEWS)),
        ("", "import convscope; shell.run_line_magic('load_ext', 'convscope')", len(notebook.VIEWS)),
        ("", "shell.run_line_magic('load_ext', 'convscope'); shell.run_line_magic('unload_ext', 'convscope')", 0),
    ],
)
def test_registering_is_quick_and_by_name(before, after, known):
    assert python(SHELL.format(before=before, after=after)) == f"0 {known}"


def test_a_shell_shows_html_beside_the_plain_text_until_it_is_told_not_to(lenet):
    from IPython.core.formatters import DisplayFormatter

    class Shell:
        display_formatter = DisplayFormatter()

    before, _ = Shell.display_formatter.format(lenet)
    convscope.load_ipython_extension(Shell)
    shown, _ = Shell.display_formatter.format(lenet)
    assert "text/html" not in before
    assert shown["text/plain"] == before["text/plain"]
    assert shown["text/html"] == views.network(lenet)
    convscope.unload_ipython_extension(Shell)
    assert Shell.display_formatter.format(lenet)[0] == before


# --- the example, in a kernel -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The example, run by a kernel of this Python; all that Jupyter writes stays in a temporary folder."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    home = tmp_path_factory.mktemp("jupyter")
    kernel = home / "data" / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    places = {name: str(home / name) for name in ("config", "data", "runtime", "ipython", "tmp")}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("config", "data", "runtime"):
            patch.setenv(f"JUPYTER_{name.upper()}_DIR", places[name])
        patch.setenv("IPYTHONDIR", places["ipython"])
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        patch.setenv("TMPDIR", places["tmp"])
        patch.setenv("OMP_NUM_THREADS", "1")
        (home / "tmp").mkdir()
        book = nbformat.read(EXAMPLE, as_version=4)
        nbclient.NotebookClient(book, timeout=300, kernel_name="here", resources={"metadata": {"path": home}}).execute()
    return book


def shown(book) -> list[str]:
    return [
        output["data"]["text/html"]
        for cell in book.cells
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]


def test_the_example_is_committed_without_outputs():
    book = json.loads(EXAMPLE.read_text())
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert all(set(cell) <= {"cell_type", "id", "metadata", "outputs", "execution_count", "source"} for cell in code)


def test_the_example_runs_and_shows_six_views(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    assert {output["output_type"] for output in outputs} == {"execute_result", "display_data", "stream"}
    assert all(output["name"] == "stdout" for output in outputs if output["output_type"] == "stream")
    views_ = [check(html) for html in shown(executed)]
    labels = [read.tags[0][1]["aria-label"] for read in views_]
    assert labels == [
        "network digits:lenet5", "atlas of digits:lenet5", "layer c3 of digits:lenet5", "unit c3:3 of digits:lenet5",
        "unit output:4 of digits:lenet5", "unit output:9 of digits:lenet5",
    ]  # fmt: skip
    assert [len(read.addresses()) for read in views_] == [0, 5, 16, 27, 18, 18]
    plain = [output["data"]["text/plain"] for output in outputs if "data" in output]
    assert plain[-1] == "<unit output:9>"


def test_what_the_example_says_is_so(executed):
    said = "".join(
        o["text"] for cell in executed.cells for o in cell.get("outputs", ()) if o["output_type"] == "stream"
    )
    assert re.search(r"image \d+, a \d: 0\.99\d\d at \(\d+, \d+, \d+, \d+\)", said)
    for mine, other in ((4, 9), (9, 4)):
        values = dict(
            re.findall(r"([49]): ([+-][\d.]+)", said.partition(f"output:{mine} answers")[2].partition("\n")[0])
        )
        assert float(values[str(mine)]) > float(values[str(other)])


@pytest.fixture(scope="module")
def flagged(tmp_path_factory):
    return flagged_atlas(tmp_path_factory.mktemp("flagged"))


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "ink", "paper"), [("light", "#212121", "#fff"), ("dark", "#e0e0e0", "#111")])
@pytest.mark.parametrize("viewport", [(1000, 800), PHONE])
def test_views_can_be_read_on_light_and_dark_paper(executed, flagged, browser, tmp_path, scheme, ink, paper, viewport):
    warned = [views.atlas(flagged), views.layer(flagged.layers[0]), *map(views.unit, flagged.layers[0])]
    body = "".join([*shown(executed), *warned])
    page_file = tmp_path / "page.html"
    page_file.write_text(
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>Views</title></head>"
        f"<body style='color:{ink};background:{paper};margin:8px'><main><h1>Views</h1>{body}</main></body></html>"
    )
    with watched(browser, viewport, scheme) as page:
        page.goto(page_file.as_uri())
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport[0]
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
