from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from unsay.bundle import Bundle
from unsay.erasing import SHOWN, erase_pixels, found_pixels, nothing_found
from unsay.errors import BadInput, NotFound
from unsay.inpainting import grow_mask
from unsay.options import EraseOptions, InpaintOptions, SegmentOptions
from unsay.results import Pixels, Segmentation

pytestmark = pytest.mark.usefixtures("colour_words")
Make = Callable[..., Pixels]


def test_the_found_ones_are_done_the_others_reported(tiny_bundle: Bundle, make_spotted: Make) -> None:
    erased = erase_pixels(make_spotted(), ["red", "green"], tiny_bundle)
    assert erased.segmentation.found == ("red",)
    np.testing.assert_array_equal(erased.hole, grow_mask(erased.segmentation.mask("red"), 3))
    covered = np.zeros(erased.hole.shape, bool)
    for patch in erased.patches:
        covered[patch.y : patch.y + patch.weight.shape[0], patch.x : patch.x + patch.weight.shape[1]] |= (
            patch.weight > 0
        )
    np.testing.assert_array_equal(covered, erased.hole)


def test_several_words_make_one_hole(tiny_bundle: Bundle, make_spotted: Make) -> None:
    options = EraseOptions(inpaint=InpaintOptions(grow=0))
    erased = erase_pixels(make_spotted(), ["red", "blue"], tiny_bundle, options)
    np.testing.assert_array_equal(erased.hole, erased.segmentation.labels > 0)


def test_a_dry_run_finds_and_does_not_fill(
    tiny_bundle: Bundle, make_spotted: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("unsay.erasing.fill_hole")
    erased = erase_pixels(make_spotted(), ["red"], tiny_bundle, dry_run=True)
    assert erased.patches == []
    assert erased.hole.any()


def test_nothing_found_says_what_and_how_near(tiny_bundle: Bundle, make_spotted: Make) -> None:
    with pytest.raises(
        NotFound, match=r"not found: green \(0\.10\); the photo seems to show: grey; or give a point"
    ) as caught:
        erase_pixels(make_spotted(), ["green"], tiny_bundle)
    assert caught.value.scores == {"green": 0.1}
    assert caught.value.nearest == ["grey"]
    assert caught.value.exit_status == 3


def test_a_long_list_is_cut_in_the_message_alone() -> None:
    words = tuple(f"word{i}" for i in range(50))
    none = np.zeros((2, 2), np.int32)
    error = nothing_found(
        Segmentation(words, none, dict.fromkeys(words, 0.1), none, ()), SegmentOptions(point=(1, 1)), 0.5, None
    )
    assert f"and {50 - SHOWN} more; try another word" in str(error)
    assert str(error).startswith("not found at the point")
    assert len(error.scores) == 50


def test_a_thing_that_is_everything(tiny_bundle: Bundle) -> None:
    red = np.full((40, 40, 3), (250, 0, 0), np.uint8)
    with pytest.raises(BadInput, match="covers the whole photo"):
        erase_pixels(red, ["red"], tiny_bundle)


def test_a_lower_threshold_is_advised_only_where_it_was_tried_and_finds_something(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    none, some = np.zeros((2, 2), np.int32), np.ones((2, 2), np.int32)
    found_from = {"dog": 0.3}

    def segment(_: object, words: list[str], __: object, options: SegmentOptions) -> Segmentation:
        there = options.threshold is not None and options.threshold <= found_from["dog"]
        return Segmentation(("dog",), some if there else none, {"dog": 0.309}, none, ("dog",) if there else ())

    monkeypatch.setattr("unsay.erasing.segment_pixels", segment)
    rgb = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(NotFound, match=r"a threshold of 0\.3 takes something for dog"):
        found_pixels(rgb, ["dog"], tiny_bundle, SegmentOptions())
    found_from["dog"] = -1.0  # something else fits better, whatever the threshold
    with pytest.raises(NotFound, match="or give a point on it"):
        found_pixels(rgb, ["dog"], tiny_bundle, SegmentOptions())


def test_a_word_above_the_threshold_was_beaten_and_the_message_says_so() -> None:
    none = np.zeros((2, 2), np.int32)
    found = Segmentation(("dog", "cup"), none, {"dog": 0.6, "cup": 0.2}, none, ())
    assert "something else fits better wherever dog may be" in str(nothing_found(found, SegmentOptions(), 0.5, None))
    assert "fits better" not in str(nothing_found(found, SegmentOptions(), 0.7, None))
