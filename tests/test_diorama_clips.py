"""Clips of the diorama: what they say of motion is true of their pixels."""

import dataclasses
import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

from convscope.diorama import CATEGORIES, TABLES, clip, render
from convscope.diorama.camera import Window
from convscope.diorama.compose import plan
from convscope.diorama.motion import PACE, PACES
from convscope.diorama.raster import draw, paint
from convscope.diorama.textures import field
from convscope.errors import ImagesError

SETS = [("objects", "train"), ("objects", "novel"), ("objects", "style"), ("scenes", "val")]
SHADOW = TABLES["object"].index("shadow")


@pytest.fixture(scope="module")
def clips():
    return [clip(label_set, split, index) for label_set, split in SETS for index in range(16)]


def fingerprint():
    digest = hashlib.sha256()
    for label_set, split in SETS:
        made = clip(label_set, split, 3, 64, frames=4)
        digest.update(made.camera.tobytes() + repr(made.motion).encode() + made.flow(2)[0].tobytes())
        for frame in made.frames:
            digest.update(frame.image.tobytes() + frame.instances.tobytes() + frame.caption.encode())
    return digest.hexdigest()


def test_another_process_makes_the_same_bytes():
    code = "import sys; sys.path.insert(0, 'tests'); import test_diorama_clips as t; print(t.fingerprint())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == fingerprint()


def test_still_images_are_as_ever():
    """Whoever means to change them raises VERSION, and writes the new digest here."""
    digest = hashlib.sha256()
    for label_set, split in SETS:
        for index in range(6):
            scene = render(label_set, split, index, 64)
            digest.update(scene.image.tobytes() + b"".join(scene.maps[each].tobytes() for each in CATEGORIES))
    assert digest.hexdigest()[:16] == "f852eb7e95f1cf4b"


def test_a_longer_clip_begins_with_the_shorter_one():
    for label_set, split in SETS:
        long, short = clip(label_set, split, 5, 64, frames=40), clip(label_set, split, 5, 64, frames=3)
        np.testing.assert_array_equal(long.camera[:3], short.camera)
        assert all(np.array_equal(long.motion[k][:3], short.motion[k]) for k in short.motion)
        np.testing.assert_array_equal(long.frames[2].image, short.frames[2].image)


def test_a_clip_of_a_scene_begins_with_its_still_image():
    for index in range(8):
        made, still = clip("scenes", "val", index), render("scenes", "val", index)
        np.testing.assert_array_equal(made.frames[0].image, still.image)
        np.testing.assert_array_equal(made.frames[0].instances, still.instances)
        assert made.frames[0].caption == still.caption
        assert not any(path[0].any() for path in made.motion.values())


def test_the_camera_shows_what_is_drawn_and_glides(clips):
    for made in clips:
        zoom, x, y = made.camera.T
        view = plan(made.frames[0].label_set, made.frames[0].split, 0, made.frames[0].index).view
        world = np.array([(0 - view.x, 0 - view.y), (1 - view.x, 1 - view.y)]) * view.zoom
        corners = np.array([(x, y), (x + 1 / zoom, y + 1 / zoom)])
        assert (corners[0] >= world[0][:, None] - 1e-9).all()
        assert (corners[1] <= world[1][:, None] + 1e-9).all()
        steps = np.diff(np.stack([1 / zoom, x, y]))
        assert np.abs(steps).max() <= PACE + 1e-9
        assert np.abs(np.diff(steps)).max() < 0.2 * PACE  # no jolts


def test_every_way_to_move_a_camera_occurs(clips):
    zooms, pans = (np.array([np.ptp(made.camera[:, k]) > 1e-9 for made in clips]) for k in (0, 1))
    for found in (zooms, pans & ~zooms, ~pans & ~zooms):
        assert found.mean() > 0.1
    for made in clips:  # no clip is as good as still
        zoom, x, y = made.camera.T
        assert max(np.ptp(each, 0).max() for each in (1 / zoom, x, y, *made.motion.values())) > 0.02


def test_things_move_at_the_pace_of_their_kind_within_their_range(clips):
    moving = 0
    for made in clips:
        still = render(made.frames[0].label_set, made.frames[0].split, made.frames[0].index)
        for number, actor in enumerate(still._plan.actors, 1):
            x0, y0, x1, y1 = actor.box
            steps = np.diff(made.motion[number], axis=0)
            assert np.hypot(*steps.T).max() <= PACES.get(actor.kind.name, 0.0) * max(x1 - x0, y1 - y0) + 1e-9
            assert np.abs(np.diff(steps, axis=0)).max() < 0.004
            if actor.kind.home != "air":  # on the ground, or at its depth
                assert not made.motion[number][:, 1].any()
            moving += made.motion[number].any()
    assert moving > 0.3 * len(clips)


def test_things_turn_back_and_stay_in_the_world():
    turned = 0
    for index in range(20):
        made = clip("objects", "val", index, frames=100)
        for number, actor in enumerate(render("objects", "val", index)._plan.actors, 1):
            x = made.motion[number][:, 0]
            if x.any():
                assert actor.box[0] + x.min() > 0
                assert actor.box[2] + x.max() < 1
                way = np.sign(np.diff(x))
                assert (way[:15] == way[0]).all()
                turned += (way != way[0]).any()
    assert turned > 3


def test_things_look_where_they_go():
    fronts = {"dog": "head", "bird": "beak", "fish": "eye", "elephant": "tusk", "airplane": "nose"}
    seen = 0
    for index in range(120):
        made = clip("scenes", "train", index, frames=2)
        for thing in made.frames[0].things:
            if {fronts.get(thing.kind), "tail"} <= set(thing.parts) and made.motion[thing.number].any():
                front, back = (np.nonzero(thing.parts[each])[1].mean() for each in (fronts[thing.kind], "tail"))
                assert np.sign(front - back) == np.sign(made.motion[thing.number][1, 0]), (index, thing)
                seen += 1
    assert seen > 12


def test_the_main_object_is_in_sight_in_sixteen_frames(clips):
    for made in (each for each in clips if each.frames[0].label_set == "objects"):
        actors = render(made.frames[0].label_set, made.frames[0].split, made.frames[0].index)._plan.actors
        (number,) = (number for number, actor in enumerate(actors, 1) if actor.main)
        for t, (zoom, *corner) in enumerate(made.camera):
            box = np.reshape(actors[number - 1].box, (2, 2)) + made.motion[number][t]
            inside = (np.clip(box, 0, 1) - corner) * zoom  # what the edge of the still image cuts off is not shown
            assert inside.min() > -1e-9
            assert inside.max() < 1 + 1e-9
            assert any(thing.main for thing in made.frames[t].things)


def test_things_keep_their_numbers(clips):
    gone = 0
    for made in clips:
        kinds = {}
        for frame in made.frames:
            for thing in frame.things:
                assert kinds.setdefault(thing.number, (thing.kind, thing.main)) == (thing.kind, thing.main)
        assert set(kinds) <= set(made.motion)
        gone += {thing.number for thing in made.frames[0].things} != {thing.number for thing in made.frames[-1].things}
    assert gone > 5


def follow(flow):
    """The pixels (rows, columns) where the centres of all pixels go."""
    size = len(flow)
    target = np.floor(np.indices((size, size)).transpose(1, 2, 0) + 0.5 + flow).astype(int)
    return np.clip(target, 0, size - 1).transpose(2, 0, 1)


def test_following_the_flow_one_finds_the_same_thing_in_the_next_frame(clips):
    for made in clips:
        for t in (0, 8, 14):
            now, then = made.frames[t], made.frames[t + 1]
            flow, visible = made.flow(t)
            y, x = follow(flow)
            same = now.instances == then.instances[y, x]
            assert same[visible].mean() > 0.97  # edges of things pass between pixels
            assert (now.maps["object"] == then.maps["object"][y, x])[visible].mean() > 0.93
    agree = [np.mean((a.instances == b.instances[tuple(follow(f))])[v]) for a, b, f, v in pairs(clips)]
    assert np.mean(agree) > 0.99


def pairs(clips):
    for made in clips:
        for t in (0, 8, 14):
            yield made.frames[t], made.frames[t + 1], *made.flow(t)


def test_flow_is_the_motion_of_points_of_the_world(clips):
    """Slowly, a point at a time: out of the one window into the world, on with its thing, into the next window."""
    for made in clips[::5]:
        flow, _ = made.flow(3)
        frame = made.frames[3]
        for i, j in [(i, j) for i in range(2, 96, 13) for j in range(3, 96, 11)]:
            if frame.maps["object"][i, j] == SHADOW:
                continue
            number = int(frame.instances[i, j])
            moved = made.motion[number][4] - made.motion[number][3] if number else np.zeros(2)
            (zoom, x, y), (zoom2, x2, y2) = made.camera[3:5]
            px, py = (j + 0.5) / 96 / zoom + x + moved[0], (i + 0.5) / 96 / zoom + y + moved[1]
            expected = ((py - y2) * zoom2 * 96 - (i + 0.5), (px - x2) * zoom2 * 96 - (j + 0.5))
            np.testing.assert_allclose(flow[i, j], expected, atol=1e-4)


def test_what_is_not_visible_is_out_of_the_image_or_behind_something_nearer(clips):
    """Numbers of things rise to the front; within a pixel of an edge either may be true."""
    hidden = wrong = 0
    for now, then, flow, visible in pairs(clips):
        y, x = follow(flow)
        plain = (now.maps["object"] != SHADOW) & (then.maps["object"] != SHADOW)[y, x]
        around = np.stack([np.roll(then.instances, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)])
        least, most = around.min(0)[y, x], around.max(0)[y, x]
        target = np.indices((96, 96)).transpose(1, 2, 0) + 0.5 + flow
        well_in, well_out = ((target > 1) & (target < 95)).all(-1), ((target < -1) | (target > 97)).any(-1)
        dark = np.stack(
            [np.roll(then.maps["object"] == SHADOW, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        )
        plain &= ~dark.any(0)[y, x]
        assert not (visible & well_out).any()
        wrong += np.count_nonzero(visible & plain & well_in & (least > now.instances))
        assert not (~visible & plain & well_in & (most <= now.instances)).any()
        hidden += np.count_nonzero(~visible & well_in)
    assert wrong < 0.005 * hidden  # slits of half a pixel
    assert hidden > 5000


def test_the_middle_of_a_thing_moves_with_it_and_against_the_camera(clips):
    seen = 0
    for made in clips:
        first, last = (
            {thing.number: thing for thing in made.frames[t].things if not thing.hidden and clear(thing)}
            for t in (0, 9)
        )
        for number in first.keys() & last.keys():
            if made.motion[number].any():
                seen += 1
            zoom, x, y = made.camera[[0, 9]].T
            middles = [np.argwhere(each[number].mask).mean(0) + 0.5 for each in (first, last)]
            row, column = middles[0] / 96 / zoom[0] + (y[0], x[0]) + made.motion[number][9][::-1]
            row, column = row - made.motion[number][0][1], column - made.motion[number][0][0]
            expected = np.array([row - y[1], column - x[1]]) * zoom[1] * 96
            assert np.abs(middles[1] - expected).max() < 1
    assert seen > 8


def clear(thing):
    """Whether all of it is in the image."""
    return min(thing.box[:2]) > 0 and max(thing.box[2:]) < 96


def test_where_camera_and_things_stand_still_nothing_flows(clips):
    found = 0
    for made in clips:
        if np.ptp(made.camera, 0).any():
            continue
        flow, visible = made.flow(6)
        moving = [number for number, path in made.motion.items() if path.any()]
        still = ~np.isin(made.frames[6].instances, moving) & (made.frames[6].maps["object"] != SHADOW)
        assert not flow[still].any()
        assert flow[~still].any()
        assert visible[still].mean() > 0.95
        found += 1
        # All else of the picture stays as it is, but for the grain: nothing flickers.
        same = still & (made.frames[7].maps["object"] == made.frames[6].maps["object"]) & visible
        assert np.abs(made.frames[7].image.astype(int) - made.frames[6].image)[same].mean() < 6.5
        for category in CATEGORIES:
            assert (made.frames[7].maps[category] == made.frames[6].maps[category])[still & visible].mean() > 0.99
    assert found > 3


def test_patterns_move_with_their_surface():
    items, grain = plan("objects", "train", 0, 6).items, 20
    down, right = 5, 9
    window = Window(1.0, -right / 96, -down / 96)
    moved = [window.item(item) for item in items]
    before = paint(items, draw(items, 96), (grain, grain, 0))
    windows = np.repeat([[window.zoom, window.x, window.y]], len(items), 0)
    after = paint(moved, draw(moved, 96), (grain - down, grain - right, 0), windows)
    swimming = paint(moved, draw(moved, 96), (grain - down, grain - right, 0))
    same = (after[down:, right:] == before[:-down, :-right]).all(-1)
    assert same.mean() > 0.98
    assert (swimming[down:, right:] == before[:-down, :-right]).all(-1).mean() < 0.6


def test_patterns_grow_with_their_surface():
    items = [
        dataclasses.replace(item, surface=field("chequered" if item.surface else "plain"))
        for item in plan("objects", "train", 0, 6).items
    ]
    near = [Window(2.0, 0.25, 0.5).item(item) for item in items]
    sea = slice(0, 24)  # without lines, which keep their width
    large = paint(items, draw(items, 192), (0, 0, 0))[96:, 48:144].astype(int)[sea]
    grown = paint(near, draw(near, 96), (0, 0, 0), np.repeat([[2.0, 0.25, 0.5]], len(items), 0))[sea]
    fixed = paint(near, draw(near, 96), (0, 0, 0))[sea]
    wrong = [(np.abs(each - large) > 5).mean() for each in (grown, fixed)]  # more than grain
    assert wrong[0] < 0.02
    assert wrong[1] > 0.1


def test_shadows_move_with_their_things():
    made = next(
        each
        for each in (clip("objects", "train", index) for index in range(100))
        if any(thing.kind == "car" and each.motion[thing.number].any() for thing in each.frames[0].things)
    )
    car = next(thing for thing in made.frames[0].things if thing.kind == "car")
    flow, _ = made.flow(0)
    under = made.frames[0].maps["object"] == SHADOW
    assert (np.abs(flow[under] - np.median(flow[car.mask], 0)).max(-1) < 0.3).any()


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("objects", "test", 0), {"frames": 1}, "1 frames; expected 2"),
        (("objects", "tests", 0), {}, "'test'"),
        (("object", "test", 0), {}, "'objects'"),
        (("objects", "test", 0, 5), {}, "size of 5 px"),
        (("objects", "test", -1), {}, "image -1"),
    ],
)
def test_what_cannot_be_made_is_named(arguments, options, said):
    with pytest.raises(ImagesError, match=said):
        clip(*arguments, **options)


def test_there_is_no_flow_from_the_last_frame_on():
    made = clip("objects", "test", 0, frames=2)
    for t in (-1, 1):
        with pytest.raises(ImagesError, match=f"frame {t}; expected 0 to 0"):
            made.flow(t)


def test_clips_are_written_to_look_at(tmp_path):
    made = clip("objects", "test", 4, 64, frames=5)
    for name in ("a.gif", "b.webp", "c"):
        run = _convscope("objects/test", "4", "-o", str(tmp_path / name), "--frames", "5", "--size", "64")
        assert run.exit_code == 0, run.output
    for name, error in (("a.gif", 6), ("b.webp", 0)):
        with Image.open(tmp_path / name) as film:
            shown = [np.asarray(each.convert("RGB"), int) for each in ImageSequence.Iterator(film)]
        for picture, frame in zip(shown, made.frames, strict=True):
            assert np.abs(picture - frame.image).mean() <= error
    files = sorted((tmp_path / "c").iterdir())
    for file, frame in zip(files, made.frames, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), frame.image)


@pytest.mark.parametrize(
    ("images", "name", "said"), [("objects/test", "a.mp4", ".webp"), ("objects", "a.gif", "split")]
)
def test_what_cannot_be_written_is_named(tmp_path, images, name, said):
    run = _convscope(images, "4", "-o", str(tmp_path / name))
    assert run.exit_code == 1
    assert said in run.output


def _convscope(*arguments):
    from click.testing import CliRunner

    from convscope.cli import main

    return CliRunner().invoke(main, ["diorama", "clip", *arguments])
