"""Sliding windows: where they lie, how overlaps are averaged, when the background wins; with stand-in networks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from unsay.bundle import load_bundle
from unsay.errors import BadInput
from unsay.evaluation import window
from unsay.evaluation.datasets import SETS
from unsay.evaluation.protocols import Windows, make_protocol
from unsay.evaluation.window import Names, best_class, class_maps, class_probabilities, resized, text_vectors

SMALL = Windows(8, 100, 4, 2, "probabilities", 0.5, 0.4, "simple")


def test_the_families_fix_what_they_publish() -> None:
    sclip = make_protocol("sclip", SETS["voc21"]).settings()
    fixed = {"short_side": 336, "window": 224, "stride": 112, "threshold": 0.1, "template_count": 80}
    assert fixed.items() <= sclip.items()
    assert len(sclip["background_words"]) == 26
    assert sclip["class_names"] == "sclip/voc21.txt"
    groupvit = make_protocol("groupvit", SETS["context60"]).settings()
    fixed = {"short_side": 448, "window": 448, "stride": 224, "template_count": 1, "background_words": ()}
    assert fixed.items() <= groupvit.items()
    constants = ("short_side", "window", "stride", "temperature", "templates_sha256", "average")
    for family in ("groupvit", "sclip"):
        every = [make_protocol(family, s).settings() for s in SETS.values()]
        assert len({tuple(settings[c] for c in constants) for settings in every}) == 1
        thresholds = {s.background: make_protocol(family, s).settings()["threshold"] for s in SETS.values()}
        assert thresholds[False] is None
        assert thresholds[True] is not None
    with pytest.raises(BadInput, match="unknown protocol 'clip'; known: unsay, groupvit, sclip"):
        make_protocol("clip", SETS["voc21"])


@pytest.mark.parametrize(
    ("length", "starts"), [(3, [0]), (4, [0]), (5, [0, 1]), (6, [0, 2]), (7, [0, 2, 3]), (8, [0, 2, 4])]
)
def test_windows_cover_the_photo_and_end_at_its_border(length: int, starts: list[int]) -> None:
    slices = list(window.window_slices(length, 4, SMALL))
    assert [rows.start for rows, _ in slices] == starts
    covered = np.zeros((length, 4), int)
    for rows, columns in slices:
        covered[rows, columns] += 1
    assert covered.min() >= 1


def test_the_short_side_is_brought_to_size_unless_the_long_one_grows_too_long() -> None:
    assert resized(np.zeros((20, 40, 3), np.uint8), SMALL).shape == (8, 16, 3)
    assert resized(np.zeros((2, 100, 3), np.uint8), SMALL).shape == (2, 100, 3)


def test_probabilities_are_a_softmax_over_names_and_the_best_name_of_a_class() -> None:
    cosines = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = softmax(cosines / 0.5, axis=-1)
    found = class_probabilities(cosines, np.array([0, 1, 3]), 0.5)
    assert np.allclose(found, np.stack([expected[:, 0], expected[:, 1:3].max(1), expected[:, 3]], 1), atol=1e-6)


@pytest.mark.parametrize("average", ["probabilities", "cosines"])
def test_overlapping_windows_are_averaged(average: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([[[1.0, 0.0]], [[0.0, 0.5]]])

    def one_group(rgb: np.ndarray, vectors: np.ndarray, bundle: object) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(rgb.shape[:2], np.int32), np.array(next(answers), np.float32)

    monkeypatch.setattr(window, "region_cosines", one_group)
    windows = Windows(4, 100, 4, 2, average, 0.5, None, "simple")
    names = Names(np.zeros((2, 3), np.float32), np.array([0, 1]), 0)
    maps = class_maps(np.zeros((4, 6, 3), np.uint8), names, windows, load_bundle("starter"))
    left, right = np.array([1.0, 0.0]), np.array([0.0, 0.5])
    middle = {
        "probabilities": (softmax(left / 0.5) + softmax(right / 0.5)) / 2,
        "cosines": softmax((left + right) / 2 / 0.5),
    }
    expected = [softmax(left / 0.5)] * 2 + [middle[average]] * 2 + [softmax(right / 0.5)] * 2
    assert np.allclose(maps, np.array([expected] * 4), atol=1e-6)


def test_the_best_class_wins_and_the_background_below_the_threshold() -> None:
    maps = np.array([[[0.7, 0.2], [0.1, 0.35], [0.5, 0.45]]], np.float32)
    assert best_class(maps, (1, 3), 1, 0.4).tolist() == [[1, 0, 1]]  # the background has no name
    assert best_class(maps, (1, 3), 0, 0.4).tolist() == [[0, 0, 0]]  # its names are class 0
    assert best_class(maps, (1, 3), 0, None).tolist() == [[0, 1, 0]]  # the set has none
    assert best_class(maps, (2, 6), 1, None).shape == (2, 6)


def test_names_are_vectors_of_unit_length_that_tell_synonyms_from_strangers() -> None:
    vectors, starts = text_vectors([["dog"], ["puppy", "bus"]], ["a photo of a {}.", "the {}."], load_bundle("starter"))
    assert starts.tolist() == [0, 1]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


def test_a_real_window_has_groups_at_its_size_and_a_cosine_for_each() -> None:
    from skimage import data

    bundle = load_bundle("starter", threads=1)
    vectors, _ = text_vectors([["cat"], ["bus"]], ["a photo of a {}."], bundle)
    rgb = np.ascontiguousarray(data.chelsea()[60:284, 100:324])
    groups, cosines = window.region_cosines(rgb, vectors, bundle)
    assert groups.shape == (224, 224)
    assert cosines.shape[1] == 2
    assert int(groups.max()) < len(cosines)
    assert np.abs(cosines).max() <= 1 + 1e-4
    face = np.bincount(groups[60:130, 60:130].ravel()).argmax()
    assert cosines[face, 0] > cosines[face, 1]
