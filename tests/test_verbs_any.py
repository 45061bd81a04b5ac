"""The verbs on any small photo, any mask, any options: a result that keeps its promises, or one of our errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unsay import verbs
from unsay.bundle import Bundle
from unsay.errors import NotFound, UnsayError
from unsay.inpainting import grown_hole, settled
from unsay.options import EraseOptions, InpaintOptions, SegmentOptions
from unsay.photo import from_samples
from unsay.results import Mask, Pixels

AS_BEFORE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIDES = st.integers(1, 40)
NUMBERS = st.one_of(st.integers(-2, 45), st.sampled_from([10**6, -(10**9), 2**70]))
WORDS = st.lists(st.one_of(st.sampled_from(["red", "green", "blue", "a Red"]), st.text(max_size=6)), max_size=4)


@st.composite
def photos(draw: Any) -> Pixels:
    """Noise with rectangles of the words' colours in it."""
    height, width = draw(SIDES), draw(SIDES)
    rgb = np.random.default_rng(draw(st.integers(0, 9))).integers(60, 120, (height, width, 3)).astype(np.uint8)
    for channel in draw(st.lists(st.integers(0, 2), max_size=3)):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        rgb[top : top + draw(SIDES), left : left + draw(SIDES)] = np.eye(3, dtype=np.uint8)[channel] * 250
    return rgb


@st.composite
def masks(draw: Any, shape: tuple[int, int]) -> Mask:
    """Empty, full, a rectangle, or single pixels."""
    mask = np.zeros(shape, bool)
    kind = draw(st.sampled_from(["empty", "full", "box", "pixels"]))
    if kind == "full":
        mask[:] = True
    elif kind == "box":
        top, left = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
        mask[top : top + draw(SIDES), left : left + draw(SIDES)] = True
    elif kind == "pixels":
        mask = np.random.default_rng(draw(st.integers(0, 9))).random(shape) < 0.1
    return mask


FILLS = st.builds(InpaintOptions, st.none() | NUMBERS, st.none() | NUMBERS, texture=st.booleans())
SEARCHES = st.builds(
    SegmentOptions,
    st.none() | st.floats(width=16),
    st.none() | st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.none() | st.tuples(NUMBERS, NUMBERS),
)


def attempt(call: Callable[[], Any]) -> Any:
    """What the call gives, or the error of ours that it raises."""
    try:
        return call()
    except UnsayError as error:
        return error


@AS_BEFORE
@given(rgb=photos(), options=FILLS, data=st.data())
def test_inpaint_changes_the_hole_alone(rgb: Pixels, options: InpaintOptions, data: Any, tiny_bundle: Bundle) -> None:
    mask, before = data.draw(masks(rgb.shape[:2])), rgb.copy()
    outcome = attempt(lambda: verbs.run_inpaint(rgb, mask, options, bundle=tiny_bundle))
    if isinstance(outcome, UnsayError):
        asked = (options.grow or 0, options.feather or 0)
        assert min(asked) < 0 or max(asked) > max(rgb.shape[:2]) or "covers the whole photo" in str(outcome)
    else:
        hole = grown_hole(mask, settled(options, mask.shape))
        np.testing.assert_array_equal(outcome.value[~hole], before[~hole])
        assert (outcome.value.shape, outcome.value.dtype) == (rgb.shape, np.uint8)
        assert mask.any() or (outcome.value == before).all()
    np.testing.assert_array_equal(rgb, before, err_msg="the photo that was given is changed")


@AS_BEFORE
@given(rgb=photos(), words=WORDS, search=SEARCHES, fill=FILLS)
@pytest.mark.usefixtures("colour_words")
def test_erase_gives_a_photo_or_says_why_not(
    rgb: Pixels, words: list[str], search: SegmentOptions, fill: InpaintOptions, tiny_bundle: Bundle
) -> None:
    before = rgb.copy()
    outcome = attempt(lambda: verbs.run_erase(rgb, words, EraseOptions(search, fill), bundle=tiny_bundle))
    if isinstance(outcome, UnsayError):
        assert "\n" not in str(outcome)
        assert outcome.exit_status == (3 if isinstance(outcome, NotFound) else 2)
    else:
        assert outcome.hole is not None
        np.testing.assert_array_equal(outcome.value[~outcome.hole], before[~outcome.hole])
        assert set(outcome.report.details["found"]) <= {word.strip() for word in words}
    np.testing.assert_array_equal(rgb, before)


@AS_BEFORE
@given(rgb=photos(), words=WORDS, kind=st.sampled_from(["overlay", "labels", "coco", "labelme", "svg"]))
@pytest.mark.usefixtures("colour_words")
def test_segment_gives_masks_or_says_why_not(rgb: Pixels, words: list[str], kind: str, tiny_bundle: Bundle) -> None:
    photo = from_samples(rgb).encode()
    made = attempt(lambda: verbs.run_segment(photo, words, SegmentOptions(), kind=kind, bundle=tiny_bundle).value)
    if isinstance(made, UnsayError):
        assert made.exit_status in (2, 3)
    else:
        assert made[:1] in (b"\xff", b"\x89", b"{")
