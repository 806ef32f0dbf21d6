"""The command line, as a person or a script uses it: in a process of its own where that is the point."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import convscope
from convscope.cli import main
from convscope.cli.common import print_json

PREPROCESS = {"size": [32, 32], "mean": [0.3], "std": [0.35], "channels": "L"}


@pytest.fixture
def run():
    runner = CliRunner()

    def run(*words, code=0):
        result = runner.invoke(main, [str(word) for word in words])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def test_help_imports_no_torch():
    program = "import sys; from convscope.cli import main\n" \
              "try: main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "microscope" in done.stdout


def test_layers_as_a_table_and_as_json(run):
    table = run("layers", "digits:lenet5").stdout
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["c1", "c3", "c5", "f6", "output", "network"]
    assert "61,706" in table
    assert "…" not in table
    about = json.loads(run("layers", "digits:lenet5", "--json").stdout)
    assert about["parameters"] == 61706
    c3 = about["layers"][1]
    assert (c3["name"], c3["kind"], c3["shape"]) == ("c3", "conv2d", [16, 10, 10])
    assert (c3["parameters"], c3["flops"]) == (2416, 2 * 2400 * 100)
    assert (c3["field"], c3["stride"], c3["start"]) == ([14, 14], [2, 2], [0, 0])


def test_scan_and_report(run, tmp_path):
    atlas, report = tmp_path / "atlas", tmp_path / "report"
    scan = ["scan", "digits:lenet5", "digits:test", "-o", atlas, "--limit", "40", "--layers", "c1,c3"]
    done = run(*scan, "--report", report, "--json")
    result = json.loads(done.stdout)
    assert {"atlas", "images", "skipped", "top1", "top5", "seconds", "images_per_second"} <= result.keys()
    assert (result["atlas"], result["images"], result["skipped"]) == (str(atlas), 40, 0)
    assert "scanning: 40 of 40" in done.stderr
    assert (report / "index.html").exists()
    assert [str(layer.address) for layer in convscope.Atlas.open(atlas).layers] == ["c1", "c3"]
    run(*scan)  # the same command again: it is there
    again = run("report", atlas, "-o", tmp_path / "second")
    assert (tmp_path / "second" / "index.html").exists()
    assert str(tmp_path / "second" / "index.html") in again.stdout


def test_a_report_of_some_layers_and_units(run, tmp_path):
    atlas, report = tmp_path / "atlas", tmp_path / "report"
    run("scan", "digits:lenet5", "digits:test", "-o", atlas, "--limit", "20", "--layers", "c1,c3,f6")
    result = json.loads(run("report", atlas, "-o", report, "--layers", "c*", "--units", "top:2", "--json").stdout)
    assert (result["layers"], result["report"]) == (2, str(report / "index.html"))
    files = [path for path in report.rglob("*") if path.is_file()]
    assert (result["files"], result["bytes"]) == (len(files), sum(path.stat().st_size for path in files))
    assert "has no layer 'x'" in run("report", atlas, "-o", tmp_path / "other", "--layers", "x", code=1).stderr
    for words in (["--units", "5"], ["--units", "top:0"], ["--units", "top:x"], ["--layers", ","]):
        assert "Error" in run("report", atlas, "-o", tmp_path / "other", *words, code=2).stderr
    assert not (tmp_path / "other").exists()


def test_people_are_told_what_was_skipped(run, tmp_path, image_folder):
    (image_folder / "broken.png").write_bytes(b"no picture")
    done = run("scan", "lenet5", image_folder, "-o", tmp_path / "atlas")
    assert "skipped broken.png" in done.stderr
    result = json.loads(run("scan", "lenet5", image_folder, "-o", tmp_path / "atlas", "--json").stdout)
    assert result["skipped"] == 1
    assert result["skipped_files"][0]["name"] == "broken.png"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scan", "digits:lenet", "digits:test"], "did you mean 'digits:lenet5'"),
        (["scan", "squeezenet1", "digits:test"], "did you mean 'squeezenet1_0'"),
        (["scan", "digits:lenet5", "digits:tset"], "did you mean 'test'"),
        (["scan", "digits:lenet5", "nowhere"], "no such folder or file"),
        (["scan", "digits:lenet5", "digits:test", "--layers", "c2"], "'c1'"),
        (["scan", "nowhere.safetensors", "digits:test", "--arch", "lenet5"], "no such file"),
        (["scan", "digits:lenet5", "digits:test", "--device", "cuda:77"], "--device cuda:77"),
    ],
)
def test_a_fault_is_one_clear_line(run, tmp_path, words, message):
    done = run(*words, "-o", tmp_path / "atlas", code=1)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert not (tmp_path / "atlas").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["scan", "digits:lenet5"],
        ["scan", "a", "b", "-o", "c", "--batch-size", "0"],
        ["nothing"],
        ["layers", "--wrong"],
        ["scan", "digits:lenet5", "digits:test", "-o", "x", "--open"],
    ],
)
def test_wrong_usage_is_exit_code_2(run, words):
    assert "Usage" in run(*words, code=2).stderr


def test_a_checkpoint_with_its_preprocessing(run, tmp_path):
    weights = tmp_path / "mine.safetensors"
    save_file(convscope.load("digits:lenet5").module.state_dict(), weights)
    assert "--arch" in run("layers", weights, code=1).stderr
    without = run("layers", weights, "--arch", "lenet5", code=1)
    assert "mine.json" in without.stderr
    assert "--preprocess" in without.stderr
    (tmp_path / "how.json").write_text(json.dumps(PREPROCESS))
    run("layers", weights, "--arch", "lenet5", "--preprocess", tmp_path / "how.json")
    (tmp_path / "mine.json").write_text(json.dumps(PREPROCESS))
    scan = ["scan", weights, "digits:test", "--arch", "lenet5", "-o", tmp_path / "atlas", "--json"]
    assert json.loads(run(*scan).stdout)["top1_right"] == 358


def test_a_factory_in_the_working_directory(run, tmp_path, monkeypatch):
    (tmp_path / "my_factory_of_nets.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())\n"
    )
    (tmp_path / "how.json").write_text(json.dumps(PREPROCESS))
    monkeypatch.chdir(tmp_path)
    done = run("layers", "my_factory_of_nets:net", "--preprocess", "how.json", "--json")
    assert json.loads(done.stdout)["layers"][0]["shape"] == [4, 30, 30]


def test_a_full_disk_is_one_clear_line(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("convscope.shards.write", full)
    done = run("scan", "digits:lenet5", "digits:test", "-o", tmp_path / "atlas", code=1)
    assert "No space left on device" in done.stderr
    assert "goes on" in done.stderr


def test_the_working_tree_stays_clean(run):
    """Loading from the command line leaves torch's settings as they were."""
    threads, enabled = torch.get_num_threads(), torch.is_grad_enabled()
    run("layers", "digits:lenet5")
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, enabled)


def test_the_network_fails_in_the_middle(run, tmp_path, monkeypatch):
    (tmp_path / "my_failing_nets.py").write_text(
        "import torch\nclass Net(torch.nn.Conv2d):\n"
        "    def forward(self, x):\n"
        "        if len(x) > 1: raise ValueError('only\\none image')\n"
        "        return super().forward(x)\n"
        "def net(): return Net(1, 4, 3)\n"
    )
    (tmp_path / "how.json").write_text(json.dumps(PREPROCESS))
    monkeypatch.chdir(tmp_path)
    done = run("scan", "my_failing_nets:net", "digits:test", "--preprocess", "how.json", "-o", "atlas", code=1)
    assert done.stderr == "convscope: the network failed on images 0 to 31: only one image\n"


def test_an_atlas_among_its_images_is_no_image(run, tmp_path, image_folder):
    for _ in range(2):  # the second time it finds its own atlas
        done = run("scan", "lenet5", image_folder, "-o", image_folder / "atlas", "--json")
        assert json.loads(done.stdout)["images"] == 5


def test_the_difference_of_two_jobs_is_named(run, tmp_path):
    run("scan", "digits:lenet5", "digits:test", "-o", tmp_path / "atlas", "--limit", "20")
    done = run("scan", "digits:lenet5", "digits:test", "-o", tmp_path / "atlas", "--limit", "30", code=1)
    assert "used: 20 there, 30 here" in done.stderr


def test_a_wrong_place_for_the_report_is_told_before_the_scan(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.txt").write_text("mine")
    run("scan", "digits:lenet5", "digits:test", "-o", tmp_path / "atlas", "--report", tmp_path / "mine", code=1)
    assert not (tmp_path / "atlas").exists()
    assert not (tmp_path / "atlas.partial").exists()


def test_a_field_is_whole_only_where_it_covers_the_image(run, tmp_path, monkeypatch):
    (tmp_path / "my_small_nets.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.Sequential(nn.Conv2d(1, 4, 5, stride=40), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    (tmp_path / "how.json").write_text(json.dumps(PREPROCESS))
    monkeypatch.chdir(tmp_path)
    table = run("layers", "my_small_nets:net", "--preprocess", "how.json").stdout
    rows = [line.split() for line in table.splitlines()[2:4]]
    assert rows[0][5:9] == ["5", "40", "0", "not"]
    assert rows[1][5:8] == ["5", "–", "–"]


def test_what_is_printed_as_json_is_json(capsys):
    """NaN and Infinity are Python's words: other readers stop at them."""
    print_json({"nan": float("nan"), "nested": [{"inf": (float("-inf"), 1.5, 2, "x", None, True)}]})
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert said == {"nan": None, "nested": [{"inf": [None, 1.5, 2, "x", None, True]}]}
