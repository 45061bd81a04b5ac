"""`segment_pixels` with the packaged bundle: what it finds, what it does not, and the contract of its result."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from unsay.bundle import Bundle, load_bundle
from unsay.errors import BadInput
from unsay.options import SegmentOptions
from unsay.segmentation import segment_pixels
from unsay.segmentation.asking import unnamed_things
from unsay.segmentation.lexicon import Lexicon
from unsay.segmentation.recognition import Constants
from unsay.segmentation.sizes import enlarge


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("starter", threads=1)


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return np.ascontiguousarray(data.chelsea())


def test_a_cat_is_found_and_a_bicycle_is_not(bundle: Bundle, cat: np.ndarray) -> None:
    result = segment_pixels(cat, ["cat", "bicycle"], bundle)
    assert result.found == ("cat",)
    assert result.scores["cat"] > 0.5 > result.scores["bicycle"]
    assert not result.mask("bicycle").any()
    mask = result.mask("cat")
    assert mask[80:200, 150:280].mean() > 0.9  # the face
    assert result.labels.shape == result.groups.shape == cat.shape[:2]
    assert result.labels.dtype == np.int32
    assert set(np.unique(result.labels)) <= {0, 1}
    assert int(result.groups.min()) == 0
    assert int(result.groups.max()) < 40
    assert all(0 <= s <= 1 for s in result.scores.values())


def test_nothing_is_found_where_nothing_is(bundle: Bundle, cat: np.ndarray) -> None:
    result = segment_pixels(cat, ["bicycle"], bundle)
    assert result.found == ()
    assert not result.labels.any()
    assert "bicycle" not in result.nearest
    assert len(result.nearest) > 0


def test_case_article_and_plural_change_nothing(bundle: Bundle, cat: np.ndarray) -> None:
    plain = segment_pixels(cat, ["cat"], bundle)
    for word in ("Cats", "the cat"):
        other = segment_pixels(cat, [word], bundle)
        assert other.words == (word,)
        assert other.scores[word] == plain.scores["cat"]
        assert np.array_equal(other.labels, plain.labels)


def test_the_same_photo_gives_the_same_masks(bundle: Bundle, cat: np.ndarray) -> None:
    first, second = (segment_pixels(cat, ["cat", "wall"], bundle) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert first.scores == second.scores


def test_a_threshold_of_one_finds_nothing(bundle: Bundle, cat: np.ndarray) -> None:
    assert segment_pixels(cat, ["cat"], bundle, SegmentOptions(threshold=1.0)).found == ()


def test_words_unknown_to_the_bundle_are_read_too(bundle: Bundle, cat: np.ndarray) -> None:
    result = segment_pixels(cat, ["quokka with a violin", "猫"], bundle)
    assert set(result.scores) == {"quokka with a violin", "猫"}


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 3), (2000, 40)])
def test_any_size_is_taken(shape: tuple[int, int], bundle: Bundle) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    result = segment_pixels(photo, ["dog", "grass"], bundle)
    assert result.labels.shape == result.groups.shape == shape


def test_a_photo_of_one_colour_is_taken(bundle: Bundle) -> None:
    result = segment_pixels(np.full((120, 90, 3), 127, np.uint8), ["dog"], bundle)
    assert result.labels.shape == (120, 90)


def test_many_words_at_once(bundle: Bundle, cat: np.ndarray) -> None:
    words = [f"thing number {i}" for i in range(60)]
    assert len(segment_pixels(cat, words, bundle).scores) == 60


@pytest.mark.parametrize("photo", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_photo_is_refused(photo: np.ndarray, bundle: Bundle) -> None:
    with pytest.raises(BadInput, match="uint8"):
        segment_pixels(photo, ["dog"], bundle)


def test_enlarged_outlines_have_no_steps() -> None:
    small = np.zeros((20, 20), np.int32)
    small[np.tril_indices(20)] = 3
    large = enlarge(small, (200, 200))
    assert set(np.unique(large)) == {0, 3}
    rows = (large == 3).sum(1)[10:-20]
    assert np.abs(np.diff(rows)).max() <= 4


@pytest.mark.parametrize(
    ("word", "there"),
    [("cat", True), ("animal", True), ("tabby cat", True), ("dog", False), ("horse", False), ("cta", False)],
)
def test_a_word_named_alone_competes_with_common_things(
    bundle: Bundle, cat: np.ndarray, word: str, there: bool
) -> None:
    assert bool(segment_pixels(cat, [word], bundle).found) == there


def test_unnamed_things_leave_out_the_words_and_their_kin() -> None:
    vocabulary = ["animal", "dog", "cat", "puppy"]
    kinds = {"animal": [1, 2, 3], "dog": [3]}
    empty = np.zeros((0, 4), np.float32)
    classes = {"dog": [1, 2, 3], "cat": [4, 5], "beagle": [2], "tree": []}
    places = {w: i for i, w in enumerate(vocabulary)}
    lexicon = Lexicon(vocabulary, [9] * 4, [], kinds, classes, empty, empty, empty, empty, places)
    constants = Constants(things=("dog", "cat"))
    assert unnamed_things(["Dogs"], lexicon, constants) == ["cat"]
    assert unnamed_things(["puppy"], lexicon, constants) == ["cat"]
    assert unnamed_things(["beagle"], lexicon, constants) == ["cat"]  # by its classes: no sentence named it
    assert unnamed_things(["black dog"], lexicon, constants) == ["cat"]
    assert unnamed_things(["animal"], lexicon, constants) == []
    assert unnamed_things(["tree"], lexicon, constants) == ["dog", "cat"]
