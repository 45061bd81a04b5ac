"""The whole path from words to masks, as a bundle's recipe lays it out, on a bundle whose answers are plain to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.segmentation.conftest import SECTION, write_colour_bundle

from unsay.bundle import Bundle, load_bundle
from unsay.errors import BadInput, BundleError
from unsay.options import SegmentOptions
from unsay.segmentation import segment_pixels
from unsay.segmentation.asking import ask, read_constants
from unsay.segmentation.recipe import read_recipe
from unsay.segmentation.regions import coverage, look


def test_words_name_the_regions_of_their_colour(colour_bundle: Bundle, flag: np.ndarray) -> None:
    found = segment_pixels(flag, ["blue", "green", "red"], colour_bundle)
    assert found.found == ("blue", "red")
    assert found.mask("red")[28:68, 20:52].all()
    assert found.mask("blue")[28:68, 84:108].all()
    assert not found.labels[:16].any()
    assert found.scores["red"] > 0.5 > found.scores["green"]


def test_a_word_that_is_named_is_never_background(colour_bundle: Bundle, flag: np.ndarray) -> None:
    found = segment_pixels(flag, ["grey"], colour_bundle)
    assert found.found == ("grey",)
    assert found.mask("grey")[:16].all()
    assert not found.mask("grey")[30:60, 20:50].any()


def test_a_thing_that_is_not_named_keeps_its_region(colour_bundle: Bundle, flag: np.ndarray) -> None:
    assert not segment_pixels(flag, ["red"], colour_bundle).mask("red")[28:68, 84:108].any()


def test_what_is_there_instead_is_told(colour_bundle: Bundle, flag: np.ndarray) -> None:
    assert set(segment_pixels(flag, ["green"], colour_bundle).nearest) == {"red", "blue", "grey"}


def test_a_point_and_a_box_pick_one_of_several(colour_bundle: Bundle, flag: np.ndarray) -> None:
    twice = flag.copy()
    twice[24:72, 80:112] = flag[24:72, 16:48]
    for options in (SegmentOptions(point=(96, 48)), SegmentOptions(box=(70, 10, 58, 80))):
        mask = segment_pixels(twice, ["red"], colour_bundle, options).mask("red")
        assert mask[30:66, 84:108].all()
        assert not mask[:, :64].any()


def test_a_point_alone_finds_whatever_region_is_there(colour_bundle: Bundle, flag: np.ndarray) -> None:
    twice = flag.copy()
    twice[24:72, 80:112] = flag[24:72, 16:48]
    found = segment_pixels(twice, [], colour_bundle, SegmentOptions(point=(96, 48)))
    assert found.words == found.found == ("what is at 96,48",)
    mask = found.mask(found.words[0])
    assert mask[30:66, 84:108].all()
    assert not mask[:, :64].any()
    assert np.array_equal(
        mask, segment_pixels(twice, ["red"], colour_bundle, SegmentOptions(point=(96, 48))).mask("red")
    )


def test_without_words_or_a_point_there_is_nothing_to_find(colour_bundle: Bundle, flag: np.ndarray) -> None:
    for options in (SegmentOptions(), SegmentOptions(box=(70, 10, 58, 80))):
        with pytest.raises(BadInput, match="no word was given"):
            segment_pixels(flag, [], colour_bundle, options)
    with pytest.raises(BadInput, match="outside the photo"):
        segment_pixels(flag, [], colour_bundle, SegmentOptions(point=(500, 2)))


def test_all_words_at_once_are_the_words_one_by_one(colour_bundle: Bundle, flag: np.ndarray) -> None:
    together = segment_pixels(flag, ["red", "blue"], colour_bundle)
    for word in ("red", "blue"):
        alone = segment_pixels(flag, [word], colour_bundle)
        assert np.array_equal(alone.mask(word), together.mask(word))
        assert alone.scores[word] == together.scores[word]


def test_the_last_region_is_the_whole_photo(colour_bundle: Bundle, flag: np.ndarray) -> None:
    scene = look(flag, colour_bundle)
    regions = scene.regions
    assert len(regions.embeddings) == len(regions.area) == int(scene.groups.max()) + 2
    assert regions.area[-1] == 1
    assert regions.area[:-1].sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(np.linalg.norm(regions.embeddings, axis=1), 1, atol=1e-5)
    assert regions.logits.shape == (len(regions.area), 0)


def test_coverage_is_the_share_of_a_patch_and_sums_to_one() -> None:
    groups = np.zeros((4, 8), np.int32)
    groups[:, 3:] = 1
    shares = coverage(groups, 2, 4)
    assert shares.shape == (3, 8)
    assert np.allclose(shares[:2].sum(0), 1)
    assert shares[0].reshape(2, 4)[0].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert (shares[2] == 1).all()


def test_a_vector_is_the_mean_over_the_templates_and_is_remembered(
    colour_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = read_constants(colour_bundle)
    first = ask(["red"], colour_bundle, constants).vectors
    assert np.allclose(first[0], np.array([1, -1, -1, 0.3]) / np.linalg.norm([1, -1, -1, 0.3]), atol=2e-2)
    monkeypatch.setattr("unsay.segmentation.asking.word_vectors", lambda *_: pytest.fail("encoded again"))
    assert np.array_equal(ask(["red"], colour_bundle, constants).vectors, first)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"text": None}, "'text'"),
        ({"encoder": {"maps": ["colour"]}}, "'file'"),
        ({"features": 3}, "network"),
        ({"features": {"file": "features.onnx", "side": 128}}, "multiple"),
    ],
)
def test_a_recipe_with_a_part_missing_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    bundle = load_bundle(write_colour_bundle(tmp_path, **changed))
    with pytest.raises(BundleError, match=message):
        read_recipe(bundle)


def test_a_size_that_no_photo_can_have_is_refused(tmp_path: Path) -> None:
    bundle = load_bundle(write_colour_bundle(tmp_path, features=SECTION["features"] | {"side": -5}))
    with pytest.raises(BundleError, match="side -5"):
        read_recipe(bundle)


def test_an_unknown_way_of_grouping_is_refused(tmp_path: Path, flag: np.ndarray) -> None:
    grouping = {**SECTION["grouping"], "method": "magic"}
    bundle = load_bundle(write_colour_bundle(tmp_path, grouping=grouping))
    with pytest.raises(BundleError, match="magic"):
        segment_pixels(flag, ["red"], bundle)


def test_a_constant_that_is_no_number_is_refused(tmp_path: Path) -> None:
    recognition = SECTION["recognition"] | {"threshold": "high"}
    with pytest.raises(BundleError, match="misstates threshold 'high'; give a number"):
        read_constants(load_bundle(write_colour_bundle(tmp_path, recognition=recognition)))


def test_words_that_no_class_covers_have_a_threshold_of_their_own(tmp_path: Path, flag: np.ndarray) -> None:
    """The bundle has no class at all; the user's own threshold counts before it."""
    recognition = SECTION["recognition"] | {"unseen_threshold": 0.999999}
    strict = load_bundle(write_colour_bundle(tmp_path, recognition=recognition))
    assert segment_pixels(flag, ["red"], strict).found == ()
    assert segment_pixels(flag, ["red"], strict, SegmentOptions(threshold=0.5)).found == ("red",)
