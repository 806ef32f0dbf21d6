"""The embedded world: its answers are true of its pixels."""

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from convscope import diorama
from convscope.diorama import CATEGORIES, TABLES, render

SETS = [("objects", "train"), ("objects", "test"), ("objects", "novel"), ("objects", "style"), ("scenes", "val")]
SAMPLE = [(label_set, split, index) for label_set, split in SETS for index in range(0, 120, 5)]


@pytest.fixture(scope="module")
def scenes():
    return [render(*each) for each in SAMPLE]


@pytest.fixture(scope="module")
def tests():
    """Every kind, at least a few times."""
    return [render("objects", "test", index) for index in range(360)]


def fingerprint():
    digest = hashlib.sha256()
    for label_set, split in SETS:
        for size in (64, 97):
            scene = render(label_set, split, 3, size)
            digest.update(scene.image.tobytes() + b"".join(scene.maps[each].tobytes() for each in CATEGORIES))
            digest.update(scene.caption.encode() + repr(scene.questions).encode())
    return digest.hexdigest()


def test_another_process_draws_the_same_bytes():
    code = "import sys; sys.path.insert(0, 'tests'); import test_diorama; print(test_diorama.fingerprint())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == fingerprint()


def test_drawing_other_images_before_changes_nothing():
    first = render("objects", "test", 11).image
    render("scenes", "train", 4, 128).image.sum()
    np.testing.assert_array_equal(render("objects", "test", 11).image, first)


def test_pictures_have_the_size_that_was_asked_for():
    for size in (32, 65, 224):
        scene = render("objects", "val", 1, size)
        assert scene.image.shape == (size, size, 3)
        assert scene.image.dtype == np.uint8
        assert {each.shape for each in scene.maps.values()} == {(size, size)}


def test_a_larger_picture_shows_the_same():
    small, large = render("objects", "val", 9, 64), render("objects", "val", 9, 192)
    shrunk = large.image.reshape(64, 3, 64, 3, 3).mean((1, 3))
    assert np.abs(shrunk - small.image).mean() < 9
    assert [thing.kind for thing in small.things] == [thing.kind for thing in large.things]
    assert np.mean(large.maps["object"][1::3, 1::3] == small.maps["object"]) > 0.93


def test_instances_agree_with_the_object_map_and_are_disjoint(scenes):
    for scene in scenes:
        total = np.zeros((scene.size, scene.size), int)
        for thing in scene.things:
            total += thing.mask
            assert {TABLES["object"][i] for i in np.unique(scene.maps["object"][thing.mask])} == {thing.kind}
        assert total.max() <= 1
        kinds = [TABLES["object"].index(kind.name) for kind in (*diorama.TRAINED, *diorama.NOVEL, *diorama.CLUTTER)]
        np.testing.assert_array_equal(total > 0, np.isin(scene.maps["object"], kinds))


def test_boxes_are_tight(scenes):
    for scene, thing in ((each, thing) for each in scenes for thing in each.things):
        pixels = [(y, x) for y, x in np.ndindex(scene.size, scene.size) if scene.instances[y, x] == thing.number]
        ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
        assert thing.box == (min(ys), min(xs), max(ys) + 1, max(xs) + 1)
        assert thing.area == len(pixels) / scene.size**2


def test_parts_lie_inside_their_thing_and_make_it_up(scenes):
    for scene, thing in ((each, thing) for each in scenes for thing in each.things):
        assert np.array_equal(sum(each.astype(int) for each in thing.parts.values()), thing.mask.astype(int))
        for name, mask in thing.parts.items():
            assert {TABLES["part"][i] for i in scene.maps["part"][mask]} == {name}
    for scene in scenes:  # only things have parts, materials and textures
        for category in ("part", "material", "texture"):
            assert not scene.maps[category][scene.instances == 0].any()


def test_parts_are_shared_between_kinds(tests):
    owners = {}
    for thing in (thing for scene in tests for thing in scene.things if thing.main):
        for part in thing.parts:
            owners.setdefault(part, set()).add(thing.kind)
    for part, least in {
        "wheel": 4,
        "window": 5,
        "leg": 4,
        "head": 5,
        "tail": 5,
        "wing": 3,
        "roof": 3,
        "handle": 4,
        "sail": 2,
    }.items():
        assert len(owners[part]) >= least, (part, owners[part])


def test_removing_a_thing_changes_only_its_own_pixels_and_what_it_hid(scenes):
    for scene, (label_set, split, index) in zip(scenes[::3], SAMPLE[::3], strict=True):
        for thing in scene.things:
            rest = render(label_set, split, index, without=[thing.number])
            assert thing.number not in {other.number for other in rest.things}
            for other in rest.things:  # numbers stay, and nobody loses a pixel
                mine = scene.instances == other.number
                assert not (mine & ~other.mask).any()
                assert not (other.mask & ~mine & ~thing.mask).any()
            own = _quarters(scene, thing)
            changed = (scene.image != rest.image).any(2)
            assert not changed[~own.any(0)].any()
            assert changed[thing.mask].mean() > 0.5
            for category in CATEGORIES:
                assert not (scene.maps[category] != rest.maps[category])[~own[0]].any()


def _quarters(scene, thing):
    """Which quarters of the pixels (4, size, size) show this thing or its shadow."""
    numbers = [k for k, owner in enumerate(scene._plan.owners) if owner == thing.number - 1]
    mine = np.isin(scene._index, numbers)
    return np.stack([mine[::2, ::2], mine[1::2, ::2], mine[::2, 1::2], mine[1::2, 1::2]])


def test_hidden_is_the_share_that_appears_when_all_nearer_things_are_gone(scenes):
    for scene, (label_set, split, index) in zip(scenes[::4], SAMPLE[::4], strict=True):
        for thing in scene.things:
            nearer = range(thing.number + 1, len(scene._plan.actors) + 1)
            alone = render(label_set, split, index, without=list(nearer))
            whole = np.count_nonzero(alone.instances == thing.number)
            assert thing.hidden == pytest.approx(1 - np.count_nonzero(thing.mask) / whole)


def test_some_main_objects_are_partly_hidden_and_none_wholly(tests):
    hidden = np.array([thing.hidden for scene in tests for thing in scene.things if thing.main])
    assert len(hidden) == len(tests)
    assert (hidden > 0.01).mean() > 0.15
    assert hidden.max() < 0.5


def test_answers_are_true_of_the_maps(scenes):
    seen = Counter()
    for scene in scenes:
        for question in scene.questions:
            seen[question.type, question.answer if question.type in {"side", "is there"} else ""] += 1
            assert question.answer == _answer(scene, question), question
    asked = {
        ("side", "left"),
        ("side", "right"),
        ("is there", "yes"),
        ("is there", "no"),
        ("colour", ""),
        ("how many", ""),
    }
    assert asked | {("what", ""), ("where", "")} == set(seen)


def _answer(scene, question):
    """The answer, read slowly from the maps and the words of the question."""
    kinds, numbers = scene.maps["object"], scene.instances
    words = question.text.rstrip("?").split()
    if question.type == "where":
        return scene.category
    if question.type == "what":
        areas = {n: np.sum(numbers == n) for n in np.unique(numbers) if n}
        return TABLES["object"][kinds[numbers == max(areas, key=areas.get)][0]]

    def instances(kind):
        return np.unique(numbers[kinds == TABLES["object"].index(kind)])

    if question.type == "how many":
        (kind,) = question.things
        assert words[2] in {kind + "s", kind, kind + "es", kind[:-1] + "ies"}
        return str(len(instances(kind)))
    if question.type == "is there":
        assert words[2] == ("an" if words[-1][0] in "aeiou" else "a")
        return "yes" if len(instances(words[-1])) else "no"
    if question.type == "colour":
        colours = scene.maps["colour"][kinds == TABLES["object"].index(words[-1])]
        assert len(instances(words[-1])) == 1
        return TABLES["colour"][Counter(colours.tolist()).most_common(1)[0][0]]
    a, b = (np.nonzero(kinds == TABLES["object"].index(kind))[1] for kind in (words[2], words[-1]))
    return "left" if a.max() < b.min() else "right" if a.min() > b.max() else "neither"


def test_captions_name_all_that_is_seen(scenes):
    for scene in scenes:
        words = scene.caption.lower().replace(",", " ").replace(".", " ").replace(":", " ").split()
        for kind, count in Counter(thing.kind for thing in scene.things).items():
            plural = {kind, kind + "s", kind + "es", kind[:-1] + "ies"}
            assert plural & set(words), (kind, scene.caption)
            if count == 1 and all(thing.main for thing in scene.things if thing.kind == kind):
                thing = next(thing for thing in scene.things if thing.kind == kind)
                assert thing.colour in words
                assert thing.texture is None or any(word.startswith(thing.texture) for word in words)
        absent = {name for name in TABLES["object"][1:45] if name not in {thing.kind for thing in scene.things}}
        assert not absent & set(words)


def test_the_label_is_what_is_seen(tests):
    for scene in tests:
        (main,) = [thing for thing in scene.things if thing.main]
        assert main.kind == scene.label
        assert main.area > 0.01
    assert {scene.label for scene in tests} == set(diorama.classes("objects", "test"))
    assert {scene.category for scene in tests} == {place.name for place in diorama.PLACES}


def test_tables_hold_every_name_that_occurs():
    for label_set, split in (("scenes", "train"), ("objects", "novel")):
        for index in range(250):
            render(label_set, split, index, 32).maps  # a name that is missing raises  # noqa: B018


def test_novel_kinds_occur_only_in_their_split(tests, scenes):
    novel = set(diorama.classes("objects", "novel"))
    for scene in (*tests, *scenes):
        mine = {thing.kind for thing in scene.things} & novel
        assert bool(mine) == (scene.split == "novel")


def test_the_middle_of_the_image_lies_in_few_boxes(tests):
    inside = 0
    for scene in tests:
        (main,) = [thing for thing in scene.things if thing.main]
        y0, x0, y1, x1 = main.box
        inside += y0 <= 48 < y1 and x0 <= 48 < x1
    assert 0.02 < inside / len(tests) <= 0.2


@pytest.mark.parametrize("category", ["material", "texture"])
def test_no_material_or_texture_covers_more_than_dissection_can_find(tests, category):
    carriers = [scene.maps[category] for scene in tests if scene.maps[category].any()]
    pixels = np.bincount(np.concatenate([each.ravel() for each in carriers]), minlength=len(TABLES[category]))
    shares = pixels[1:] / (len(carriers) * carriers[0].size)
    assert (shares > 0.0005).all()
    assert (shares <= 0.03).all()


def test_main_objects_stand_out_from_what_is_behind_them(tests):
    """The mean difference between a thing's pixels and the same pixels without it."""
    contrasts = []
    for index, scene in enumerate(tests[:72]):
        (main,) = [thing for thing in scene.things if thing.main]
        behind = render("objects", "test", index, without=[main.number]).image[main.mask].astype(float)
        contrasts.append(np.abs(scene.image[main.mask] - behind).mean())
    assert np.min(contrasts) > 18
    assert np.median(contrasts) > 50


def test_prints_have_one_hue():
    for index in range(8):
        pixels = render("objects", "style", index).image.reshape(-1, 3).astype(float)
        values = np.linalg.svd(pixels - pixels.mean(0), compute_uv=False)
        assert values[1] < 0.12 * values[0]
