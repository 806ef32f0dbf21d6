"""An export says of its images what the diorama says of them, is a set of images itself, and is whole or not there."""

from __future__ import annotations

import csv
import errno
import json
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from convscope import diorama
from convscope.cli import main
from convscope.diorama import TABLES, render
from convscope.diorama.export import export
from convscope.errors import ImagesError
from convscope.images import open_images
from running import contents

SETS = [("objects", "test", 64, 30), ("objects", "novel", 97, 8), ("scenes", "val", 96, 12)]


@pytest.fixture(scope="module", params=SETS, ids=lambda each: f"{each[0]}-{each[1]}")
def exported(request, tmp_path_factory):
    """The folder of an export, and the scenes that are in it."""
    label_set, split, size, count = request.param
    folder = tmp_path_factory.mktemp("export") / "deep" / "folder"
    assert export(label_set, split, folder, limit=count, size=size) == count
    return folder, [render(label_set, split, index, size) for index in range(count)]


def rows(folder, name):
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_file(folder, name, scenes):
    """The rows of a table for each image in turn; no row is of anything else."""
    found = rows(folder, name)
    each = [[row for row in found if row["file"] == f"images/{index:05}.png"] for index in range(len(scenes))]
    assert sum(map(len, each)) == len(found)
    return each


def mask(folder, category, index):
    with Image.open(folder / "masks" / category / f"{index:05}.png") as image:
        return np.asarray(image)


def test_the_folder_is_the_same_set_of_images(exported):
    folder, scenes = exported
    mine, world = open_images(folder), open_images(f"diorama:{scenes[0].label_set}/{scenes[0].split}:{scenes[0].size}")
    assert list(mine.names) == [f"images/{index:05}.png" for index in range(len(scenes))]
    assert list(mine.labels) == list(world.labels[: len(scenes)])
    for index in range(len(scenes)):
        np.testing.assert_array_equal(
            np.asarray(mine.read(index)), np.round(255 * world.read(index)).transpose(1, 2, 0)
        )


def test_concepts_have_a_number_each(exported):
    folder, _ = exported
    concepts = rows(folder, "concepts.csv")
    assert [int(row["number"]) for row in concepts] == list(range(1, len(concepts) + 1))
    expected = [("scene", place.name) for place in diorama.PLACES]
    expected += [(category, name) for category, table in TABLES.items() for name in table if name]
    assert Counter((row["category"], row["name"]) for row in concepts) == Counter(expected)


def test_label_maps_name_what_is_at_each_pixel(exported):
    folder, scenes = exported
    concepts = {int(row["number"]): (row["category"], row["name"]) for row in rows(folder, "concepts.csv")}
    for index, scene in enumerate(scenes):
        for category, table in TABLES.items():
            numbers, indices = mask(folder, category, index), scene.maps[category]
            assert numbers.shape == (scene.size, scene.size)
            for number, at in set(zip(numbers.ravel().tolist(), indices.ravel().tolist(), strict=True)):
                assert concepts.get(number) == ((category, table[at]) if at else None)
        np.testing.assert_array_equal(mask(folder, "instance", index), scene.instances)


def test_boxes_are_tight_on_the_masks(exported):
    folder, scenes = exported
    names = {int(row["number"]): row["name"] for row in rows(folder, "concepts.csv")}
    for index, (scene, things) in enumerate(zip(scenes, by_file(folder, "boxes.csv", scenes), strict=True)):
        instances = mask(folder, "instance", index)
        assert [int(thing["number"]) for thing in things] == [n for n in np.unique(instances) if n]
        for thing, known in zip(things, scene.things, strict=True):
            ys, xs = np.nonzero(instances == int(thing["number"]))
            assert [int(thing[key]) for key in ("y0", "x0", "y1", "x1")] == [
                min(ys), min(xs), max(ys) + 1, max(xs) + 1,
            ]  # fmt: skip
            assert float(thing["area"]) == pytest.approx(len(ys) / scene.size**2, abs=1e-6)
            assert float(thing["hidden"]) == pytest.approx(known.hidden, abs=1e-6)
            assert thing["main"] == ("1" if known.main else "0")
            seen = {
                category: Counter(names.get(n, "") for n in mask(folder, category, index)[ys, xs].tolist())
                for category in TABLES
            }
            assert [*seen["object"]] == [thing["label"]]
            assert seen["colour"][thing["colour"]] == max(seen["colour"].values())
            for category in ("material", "texture"):
                assert {thing[category], ""} == {*seen[category], ""}


def test_sentences_and_places(exported):
    folder, scenes = exported
    (captions, questions, places) = (by_file(folder, f"{n}.csv", scenes) for n in ("captions", "questions", "scenes"))
    for scene, said, asked, place in zip(scenes, captions, questions, places, strict=True):
        assert [row["caption"] for row in said] == [scene.caption]
        assert [(row["type"], row["question"], row["answer"]) for row in asked] == [
            (question.type, question.text, question.answer) for question in scene.questions
        ]
        assert [row["label"] for row in place] == [scene.category]


def test_the_folder_says_what_it_is(exported):
    folder, scenes = exported
    about = json.loads((folder / "world.json").read_text())
    first = scenes[0]
    assert {key: about[key] for key in ("label_set", "split", "size", "images", "version")} == {
        "label_set": first.label_set, "split": first.split, "size": first.size, "images": len(scenes),
        "version": diorama.VERSION,
    }  # fmt: skip
    assert about["classes"] == list(diorama.classes(first.label_set, first.split))
    named = {
        pattern.replace("CATEGORY", category).replace("00000", f"{index:05}")
        for pattern in about["files"]
        for category in TABLES
        for index in range(len(scenes))
    }
    assert contents(folder).keys() == named | {"world.json"}


def test_many_concepts_take_sixteen_bits(tmp_path, monkeypatch):
    monkeypatch.setitem(TABLES, "object", (*TABLES["object"], *(f"thing {n}" for n in range(300))))
    export("objects", "test", tmp_path / "many", limit=1, size=32)
    names = {int(row["number"]): row["name"] for row in rows(tmp_path / "many", "concepts.csv")}
    colours = render("objects", "test", 0, 32).maps["colour"]
    found = mask(tmp_path / "many", "colour", 0)
    assert found.min() > 255
    assert [names[n] for n in found.ravel()] == [TABLES["colour"][n] for n in colours.ravel()]


def test_a_limit_beyond_the_split_is_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setitem(diorama.COUNTS, "novel", 3)
    assert export("objects", "novel", tmp_path / "all", limit=9, size=32) == 3
    assert export("objects", "novel", tmp_path / "more", size=32) == 3
    assert contents(tmp_path / "all") == contents(tmp_path / "more")


# The command.


def run(*words, code=0):
    result = CliRunner().invoke(main, ["diorama", "export", *map(str, words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.mark.parametrize("words", [["objects/val", "--size", 40], ["diorama:objects/val", "--size", 40],
                                   ["objects/val:40"], ["diorama:objects/val:40"]])  # fmt: skip
def test_all_ways_to_write_a_set(words, tmp_path):
    done = run(*words, "-o", tmp_path / "a", "--limit", 2)
    assert "export: 2 of 2" in done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'a'}: 2 images of diorama:objects/val:40")
    export("objects", "val", tmp_path / "b", limit=2, size=40)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_json_and_a_scan_of_the_folder(tmp_path):
    about = json.loads(run("scenes/test", "-o", tmp_path / "a", "--limit", 5, "--json").stdout)
    assert (about["folder"], about["images"], about["size"]) == (str(tmp_path / "a"), 5, 96)
    words = ["scan", "digits:lenet5", tmp_path / "a", "-o", tmp_path / "atlas", "--layers", "c1", "--json"]
    scanned = json.loads(CliRunner().invoke(main, [*map(str, words)]).stdout)
    assert (scanned["images"], scanned["skipped"]) == (5, 0)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["objects"], 1, "diorama:objects/test"),
        (["object/test"], 1, "'objects'"),
        (["objects/tests"], 1, "'test'"),
        (["digits:test"], 1, "diorama:objects/test"),
        (["objects/test:big"], 1, "'big'"),
        (["objects/test", "--size", 5000], 1, "1024"),
        (["objects/test:64", "--size", 64], 2, "give one of them"),
        (["objects/test", "--limit", 0], 2, "--limit"),
    ],
)
def test_what_is_written_wrongly_is_named(words, code, said, tmp_path):
    assert said in run(*words, "-o", tmp_path / "a", code=code).stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    said = run("objects/test", "-o", tmp_path / "mine", "--limit", 1, code=1).stderr
    assert said == f"convscope: {tmp_path / 'mine'}: the folder is not empty, and nothing is written over; " \
                   "give another, or delete it\n"  # fmt: skip
    assert contents(tmp_path) == {"mine/thesis.txt": b"years"}
    assert "give another" in run("objects/test", "-o", tmp_path / "mine" / "thesis.txt", "--limit", 1, code=1).stderr
    (tmp_path / "empty").mkdir()
    run("objects/test", "-o", tmp_path / "empty", "--limit", 1, "--size", 32)
    assert len(open_images(tmp_path / "empty")) == 1


def test_a_killed_export_is_no_export(tmp_path):
    code = (
        "import os, signal, sys\nfrom convscope.diorama.export import export\n"
        "export('objects', 'test', sys.argv[1], limit=5, size=32,\n"
        "       progress=lambda done, total: done < total or os.kill(os.getpid(), signal.SIGKILL))"
    )
    folder = tmp_path / "a"
    killed = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial"]
    with pytest.raises(ImagesError, match=r"a\.partial: .* one was killed, and then delete it"):
        export("objects", "test", folder, limit=5, size=32)
    (tmp_path / "a.partial").rename(tmp_path / "away")
    assert export("objects", "test", folder, limit=5, size=32) == 5


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_nothing_is_left_of_an_export_that_failed(error, tmp_path, monkeypatch):
    save = Image.Image.save

    def fail(image, path, **options):
        if path.name == "00002.png":
            raise error
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", fail)
    said = run("objects/test", "-o", tmp_path / "a", "--limit", 4, "--size", 32, code=1).stderr
    expected = (
        f"No space left on device ({tmp_path / 'a.partial'}); make room" if isinstance(error, OSError) else "stopped"
    )
    assert said.splitlines()[-1] == f"convscope: {expected}"
    assert not list(tmp_path.iterdir())
