from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from unsay.errors import BadInput
from unsay.inpainting.hole import Box, feather_weights, grow_mask, piece_boxes, settle
from unsay.options import InpaintOptions

masks = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.booleans())
sparse = arrays(
    bool, st.tuples(st.integers(1, 60), st.integers(1, 60)), elements=st.sampled_from([False] * 30 + [True])
)


@given(mask=sparse, grow=st.integers(0, 9))
def test_grown_holds_exactly_the_pixels_within_reach(mask: np.ndarray, grow: int) -> None:
    away = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
    np.testing.assert_array_equal(grow_mask(mask, grow), away <= grow)


@given(hole=masks, feather=st.integers(0, 9))
def test_feather_is_zero_outside_and_rises_inside_only(hole: np.ndarray, feather: int) -> None:
    weights = feather_weights(hole, feather)
    assert weights.dtype == np.float32
    assert np.all(weights[~hole] == 0)
    assert np.all(weights[hole] > 0)
    if not hole.all() and hole.any():
        depth = ndimage.distance_transform_edt(hole)
        np.testing.assert_array_equal(weights[hole] == 1, (depth[hole] > feather + 0.999) | (feather == 0))


@given(mask=sparse, gap=st.integers(0, 20))
def test_pieces_are_tight_disjoint_and_complete(mask: np.ndarray, gap: int) -> None:
    covered = np.zeros(mask.shape, int)
    for box in piece_boxes(mask, gap=gap):
        crop = mask[box.slices]
        assert crop[0].any()
        assert crop[-1].any()
        assert crop[:, 0].any()
        assert crop[:, -1].any()
        covered[box.slices] += 1
    assert covered.max(initial=0) <= 1
    assert np.all(covered[mask] == 1)


def test_pieces_on_the_coarse_grid_are_as_tight() -> None:
    mask = np.zeros((3000, 5000), bool)
    mask[11:20, 4000:4321] = True
    mask[2999, 0] = True
    assert piece_boxes(mask) == [Box(4000, 11, 4321, 20), Box(0, 2999, 1, 3000)]


@pytest.mark.parametrize(
    ("shape", "grow"),
    [((1, 1), 0), ((8, 8), 0), ((32, 32), 2), ((100, 100), 3), ((1000, 1000), 10), ((3000, 4000), 35)],
)
def test_grow_chosen_from_the_size(shape: tuple[int, int], grow: int) -> None:
    assert settle(InpaintOptions(grow=None, feather=None), shape) == (grow, grow // 2)


def test_numbers_given_are_kept_and_checked() -> None:
    assert settle(InpaintOptions(grow=7, feather=None), (50, 50)) == (7, 3)
    assert settle(InpaintOptions(), (50, 50)) == (0, 0)
    with pytest.raises(BadInput, match="grow is -1 pixels"):
        settle(InpaintOptions(grow=-1), (50, 60))
    with pytest.raises(BadInput, match=r"feather is 61 pixels.*between 0 and 60"):
        settle(InpaintOptions(feather=61), (50, 60))
