"""Every example runs as it stands, from the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_own_network(tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "own_network.py"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == [f"edges:{i}" for i in range(4)]
    assert (tmp_path / "report" / "index.html").exists()


def test_every_example_has_a_test():
    """That of the notebook is in test_notebook.py."""
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {"own_network.py", "notebook.ipynb"}
