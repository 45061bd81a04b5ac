import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsay.errors import BadInput
from unsay.training.masks import ALL_KINDS, BANDS, KINDS, band_of, random_hole


def test_the_bands_are_the_fields_six() -> None:
    assert BANDS == ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))


@pytest.mark.parametrize("kind", [*ALL_KINDS, None])
@pytest.mark.parametrize("band", range(len(BANDS)))
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(8, 90), width=st.integers(8, 90))
def test_the_ratio_lies_in_the_band(band: int, kind: str | None, seed: int, height: int, width: int) -> None:
    hole = random_hole(np.random.default_rng(seed), height, width, band, kind)
    assert hole.shape == (height, width)
    assert hole.dtype == np.bool_
    assert BANDS[band][0] < hole.mean() <= BANDS[band][1]


@pytest.mark.parametrize("band", range(len(BANDS)))
def test_ratios_spread_over_the_band(band: int) -> None:
    rng = np.random.default_rng(3)
    ratios = np.array([random_hole(rng, 128, 128, band).mean() for _ in range(60)])
    low, high = BANDS[band]
    assert np.ptp(ratios) > 0.6 * (high - low)
    assert abs(ratios.mean() - (low + high) / 2) < 0.02


def test_the_same_generator_state_gives_the_same_hole() -> None:
    first, again = (random_hole(np.random.default_rng((5, 1)), 96, 120, 2) for _ in range(2))
    other = random_hole(np.random.default_rng((5, 2)), 96, 120, 2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_objects_are_thicker_than_strokes() -> None:
    """Pixels of rim for the area: what tells a thing's silhouette from scribbles."""

    def rim(kind: str) -> float:
        rng, total = np.random.default_rng(0), 0.0
        for _ in range(20):
            hole = random_hole(rng, 128, 128, 1, kind)
            total += float((hole[1:] != hole[:-1]).sum()) / float(hole.sum())
        return total

    assert rim("object") < 0.8 * rim("strokes")


def test_the_kinds_of_published_figures_stay() -> None:
    """Holes for judging are drawn by their place in this list: a fourth would change them all."""
    assert KINDS == ("strokes", "object", "mixed")


def test_polygons_have_straight_edges() -> None:
    """One polygon's outline needs a few corners only; a blob's of the same size needs many."""

    def corners(kind: str) -> float:
        counts = []
        for seed in range(20):
            hole = random_hole(np.random.default_rng(seed), 256, 256, 0, kind).astype(np.uint8)
            outlines, _ = cv2.findContours(hole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            counts += [len(cv2.approxPolyDP(outline, 2.0, True)) for outline in outlines]
        return float(np.mean(counts))

    assert corners("polygons") < 8
    assert corners("object") > 1.4 * corners("polygons")


def test_the_band_of_a_hole() -> None:
    hole = np.zeros((10, 10), np.uint8)
    assert band_of(hole) is None
    for pixels, band in ((1, 0), (10, 0), (11, 1), (20, 1), (60, 5), (61, None)):
        hole.ravel()[:] = np.arange(100) < pixels
        assert band_of(hole) == band, pixels


@pytest.mark.parametrize("band", [-1, 6])
def test_an_unknown_band_is_refused(band: int) -> None:
    with pytest.raises(BadInput, match=f"band {band} does not exist; bands are 0 to 5"):
        random_hole(np.random.default_rng(0), 32, 32, band)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown kind of hole 'square'"):
        random_hole(np.random.default_rng(0), 32, 32, 0, "square")
