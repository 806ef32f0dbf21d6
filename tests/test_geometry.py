"""Boxes and grids: half-open pixels, and centres that are the index of a field's middle pixel."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.geometry import Box, Grid, Spans, Steps

ENDS = st.integers(-50, 50)


def spans(low: list[int], high: list[int], extent: int = 100, stride: float = 1.0) -> Spans:
    return Spans(np.array(low, np.int64), np.array(high, np.int64), extent, stride)


@given(ENDS, ENDS, ENDS, ENDS, st.integers(1, 30), st.integers(1, 30))
def test_clipping_keeps_the_pixels_inside(y0: int, x0: int, y1: int, x1: int, height: int, width: int) -> None:
    box = Box(y0, x0, y1, x1).clip(height, width)
    inside = {(y, x) for y in range(height) for x in range(width) if y0 <= y < y1 and x0 <= x < x1}
    assert {(y, x) for y in range(box.y0, box.y1) for x in range(box.x0, box.x1)} == inside
    assert 0 <= box.y0 <= box.y1 <= height
    assert 0 <= box.x0 <= box.x1 <= width
    assert box.height * box.width == len(inside)


def test_a_box_of_one_pixel_has_its_index_as_centre() -> None:
    assert Box(3, 7, 4, 8).centre == (3.0, 7.0)
    assert Box(-1, 0, 2, 2).centre == (0.0, 0.5)
    assert Box(-1, 0, 2, 2).as_tuple() == (-1, 0, 2, 2)
    assert (Box(5, 5, 3, 4).height, Box(5, 5, 3, 4).width) == (0, 0)


def test_steps_are_start_stride_and_size() -> None:
    assert spans([-2, 2, 6], [1, 5, 9]).steps() == Steps(-2, 4.0, 3)
    assert spans([5], [9], stride=8.0).steps() == Steps(5, 8.0, 4)  # one cell: its neighbour would be 8 away
    assert spans([0, 4, 9], [3, 7, 12]).steps() is None
    assert spans([0, 4], [3, 8]).steps() is None
    assert spans([], []).steps() is None


def test_clipping_spans_is_clipping_each() -> None:
    clipped = spans([-3, 2, 9, 12], [1, 6, 13, 15], extent=10).clip()
    assert clipped.low.tolist() == [0, 2, 9, 10]
    assert clipped.high.tolist() == [1, 6, 10, 10]
    assert clipped.extent == 10


def test_spans_are_equal_by_content() -> None:
    assert spans([0, 1], [2, 3]) == spans([0, 1], [2, 3])
    assert spans([0, 1], [2, 3]) != spans([0, 1], [2, 4])
    assert spans([0, 1], [2, 3]) != spans([0, 2], [2, 3])
    assert spans([0, 1], [2, 3]) != spans([0, 1], [2, 3], extent=99)
    assert spans([0], [2]) != spans([0, 1], [2, 3])


TABLES = st.lists(st.tuples(ENDS, st.integers(0, 9)), max_size=6)
REGULAR = st.builds(
    lambda start, stride, size, cells: [(start + i * stride, size) for i in range(cells)],
    ENDS, st.integers(-4, 8), st.integers(0, 9), st.integers(1, 6),
)  # fmt: skip


@given(TABLES | REGULAR, st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, -1.0]))
def test_spans_survive_json(table: list[tuple[int, int]], stride: float) -> None:
    before = spans([low for low, _ in table], [low + size for low, size in table], 40, stride)
    after = Spans.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before
    assert after.stride == before.stride
    assert after.low.dtype == after.high.dtype == np.int64


def test_a_regular_axis_takes_three_numbers() -> None:
    regular = Spans(np.arange(50) * 4 - 2, np.arange(50) * 4 + 1, 200, 4.0)
    assert regular.to_json() == {"cells": 50, "extent": 200, "stride": 4.0, "start": -2, "size": 3}


GRID = Grid(spans([-2, 2, 6], [5, 9, 13], 10, 4.0), spans([-9, -5], [15, 19], 20, 4.0))


def test_a_grid_is_rows_by_columns() -> None:
    assert GRID.cells == (3, 2)
    assert GRID.image == (10, 20)
    assert GRID.box(2, 1) == Box(6, -5, 13, 19)
    assert GRID.box(0, 0).centre == (1.0, 2.5)
    assert Grid.from_json(json.loads(json.dumps(GRID.to_json()))) == GRID


@pytest.mark.parametrize(("row", "column", "box"), [(0, 0, Box(-2, 0, 5, 20)), (2, 1, Box(6, 0, 13, 20))])
def test_a_crop_is_the_whole_axis_where_the_field_exceeds_it(row: int, column: int, box: Box) -> None:
    assert GRID.crop(row, column) == box
