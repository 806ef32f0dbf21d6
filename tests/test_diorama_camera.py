"""The camera of the diorama: what it shows of a place is a piece of the whole picture."""

import dataclasses

import numpy as np

from convscope.diorama import raster, render
from convscope.diorama.camera import TONES, Camera
from convscope.diorama.compose import plan

PLAIN = Camera(2.0, 0.25, 0.5, TONES[0], 0.0)


def items(index=3):
    made = plan("objects", "test", 0, index)
    return [dataclasses.replace(item, surface=0) for item in made.items]  # patterns do not grow with the zoom


def test_a_window_of_half_the_width_is_a_quarter_of_the_picture_at_twice_the_size():
    whole, near = items(), [PLAIN.item(item) for item in items()]
    large, small = raster.draw(whole, 192), raster.draw(near, 96)
    part = large[192:, 96:288]
    assert (part == small).mean() > 0.98  # lines are thinner there
    grain = (0, 0, 0)
    a = raster.paint(whole, large, grain)[96:, 48:144].astype(int)
    b = raster.paint(near, small, grain).astype(int)
    assert np.median(np.abs(a - b)) <= 2
    assert np.abs(a - b).mean() < 8


def test_a_camera_that_shows_everything_as_it_is_changes_nothing():
    neutral = Camera(1.0, 0.0, 0.0, TONES[0], 0.0)
    grain = (0, 0, 0)
    before, after = items(), [neutral.item(item) for item in items()]
    np.testing.assert_array_equal(
        raster.paint(before, raster.draw(before, 96), grain), raster.paint(after, raster.draw(after, 96), grain)
    )


def test_faded_paints_keep_the_order_of_their_lightness():
    faded = [Camera(1.0, 0.0, 0.0, TONES[2], 0.7).paint((v, 255 - v / 2, v)) for v in (0, 60, 160, 255)]
    lightness = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b in faded]
    assert lightness == sorted(lightness)


def test_horizons_of_a_place_differ():
    tops = []
    for index in range(300):
        scene = render("scenes", "val", index, 48)
        if scene.category == "beach":
            rows = np.flatnonzero((scene.maps["object"] == scene.maps["object"][-1, 0]).all(1))
            tops.append(rows.min() / 48 if len(rows) else 1.0)
    assert len(tops) > 15
    assert np.std(tops) > 0.06
