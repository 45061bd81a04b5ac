from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unsay.inpainting.hole import MAX_PIECES, Box, piece_boxes
from unsay.inpainting.window import plan_windows, shrunk, tiles

shapes = st.tuples(st.integers(1, 300), st.integers(1, 300))
spots = st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=6)


def painted(shape: tuple[int, int], rectangles: list[tuple[float, ...]]) -> np.ndarray:
    hole = np.zeros(shape, bool)
    for x, y, w, h in rectangles:
        left, top = int(x * (shape[1] - 1)), int(y * (shape[0] - 1))
        hole[top : top + 1 + int(h * 90), left : left + 1 + int(w * 90)] = True
    return hole


@given(shape=shapes, rectangles=spots, max_side=st.sampled_from([64, 128, 512]), multiple=st.sampled_from([1, 16, 64]))
def test_every_hole_pixel_lies_in_exactly_one_window(shape, rectangles, max_side, multiple) -> None:  # type: ignore[no-untyped-def]
    hole = painted(shape, rectangles)
    covered = np.zeros(shape, int)
    for window in plan_windows(hole, max_side, multiple):
        covered[window.hole.slices] += 1
        assert 0 < window.scale <= 1
        assert window.area.joined(window.hole) == window.area
        assert hole[window.hole.slices].all() or not hole[window.area.slices].all()
    assert covered.max() <= 1
    assert np.all(covered[hole] == 1)


def test_small_hole_is_filled_at_full_resolution_with_its_surroundings() -> None:
    hole = np.zeros((3000, 4000), bool)
    hole[1000:1100, 2000:2150] = True
    (window,) = plan_windows(hole, 512)
    assert window.scale == 1
    assert window.area == window.hole.grown(150, hole.shape)
    hole[:] = False
    hole[1500, 1500] = True
    (window,) = plan_windows(hole, 512)
    assert window.area.long == 2 * 64 + 1


def test_windows_take_real_context_instead_of_padding() -> None:
    hole = np.zeros((3000, 4000), bool)
    hole[10:60, 3950:] = True
    (window,) = plan_windows(hole, 512, 128)
    assert window.area == Box(3872, 0, 4000, 128)
    hole[1000:2000, 1000:2100] = True
    window = plan_windows(hole, 512, 128)[1]
    small, _ = shrunk(np.zeros((3000, 4000, 3), np.uint8)[window.area.slices], hole[window.area.slices], window.scale)
    assert small.shape == (512, 512, 3)


def test_large_hole_is_shrunk_until_its_window_fits() -> None:
    hole = np.zeros((3000, 4000), bool)
    hole[1000:2000, 1000:2000] = True
    (window,) = plan_windows(hole, 512)
    assert window.area.long == 2000
    assert window.scale == pytest.approx(512 / 2000)


def test_long_thin_hole_keeps_full_resolution() -> None:
    hole = np.zeros((3000, 4000), bool)
    hole[1500:1510, :] = True
    (window,) = plan_windows(hole, 512)
    assert window.scale == 1
    assert window.area.y1 - window.area.y0 < 250


def test_neighbours_join_only_where_that_is_no_coarser() -> None:
    hole = np.zeros((1000, 3000), bool)
    hole[400:440, 400:440] = hole[400:440, 460:500] = True
    assert len(plan_windows(hole, 512)) == 1
    hole[:] = False
    hole[400:700, 400:700] = hole[400:700, 760:1060] = True
    assert len(plan_windows(hole, 512)) == 2


def test_a_spray_of_specks_is_planned_quickly() -> None:
    hole = np.random.default_rng(0).random((2000, 2000)) < 0.003
    assert len(piece_boxes(hole)) <= MAX_PIECES
    assert all(window.scale == 1 for window in plan_windows(hole, 512))


@given(hole=arrays(bool, st.tuples(st.integers(1, 80), st.integers(1, 80)), elements=st.booleans()))
def test_tiles_cover_the_hole_once(hole: np.ndarray) -> None:
    covered = np.zeros(hole.shape, int)
    for core, area in tiles(hole, 32):
        covered[core.slices] += 1
        assert area.long <= 32 or area.long == max(hole.shape) <= 32
        assert area == (core.grown(6, hole.shape) if max(hole.shape) > 32 else core)
    assert covered.max() <= 1
    assert np.all(covered[hole] == 1)


def test_shrinking_keeps_hole_colours_out() -> None:
    rgb = np.full((100, 100, 3), 90, np.uint8)
    hole = np.zeros((100, 100), bool)
    hole[21:55, 33:71] = True
    rgb[hole] = 255
    small, small_hole = shrunk(rgb, hole, 0.3)
    assert small.shape == (30, 30, 3)
    assert np.all(np.abs(small[~small_hole].astype(int) - 90) <= 1)
    assert small_hole.sum() == pytest.approx(hole.sum() * 0.09, rel=0.1)


def test_shrinking_never_loses_the_last_known_pixel() -> None:
    hole = np.ones((100, 100), bool)
    hole[0, 0] = False
    _, small_hole = shrunk(np.zeros((100, 100, 3), np.uint8), hole, 0.1)
    assert not small_hole.all()
