"""The confusion matrix against scikit-learn; the evaluation on a small tree in VOCdevkit layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.evaluation.confusion import Confusion
from unsay.evaluation.segment import evaluate_segment, majority, table
from unsay.evaluation.voc import NAMES, colour_map, offered_words, read_indices, read_samples


def test_mean_iou_is_scikit_learns_over_all_photos() -> None:
    from sklearn.metrics import confusion_matrix, jaccard_score

    rng = np.random.default_rng(0)
    confusion = Confusion(6)
    truths, guesses = [], []
    for _ in range(3):
        truth = rng.integers(0, 5, (13, 17)).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.1] = 255
        guess = np.where(rng.random(truth.shape) < 0.6, np.minimum(truth, 5), rng.integers(0, 5, truth.shape))
        confusion.add(truth, guess)
        truths.append(truth[truth < 255])
        guesses.append(guess[truth < 255])
    true, predicted = np.concatenate(truths), np.concatenate(guesses)
    assert np.array_equal(confusion.counts, confusion_matrix(true, predicted, labels=range(6)))
    expected = jaccard_score(true, predicted, labels=range(5), average=None)
    assert np.allclose(confusion.iou()[:5], expected)
    assert confusion.mean_iou([1, 2]) == pytest.approx(float(expected[1:3].mean()))


def test_a_mask_of_another_size_or_set_is_refused() -> None:
    confusion = Confusion(3)
    with pytest.raises(BadInput, match="one size"):
        confusion.add(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.int32))
    with pytest.raises(BadInput, match="outside 0 to 2"):
        confusion.add(np.full((2, 2), 7, np.uint8), np.zeros((2, 2), np.int32))


def test_the_oracle_gives_each_group_its_majority() -> None:
    groups = np.array([[0, 0, 0, 1, 1]])
    truth = np.array([[12, 12, 0, 255, 8]], np.uint8)
    assert majority(groups, truth).tolist() == [[12, 12, 12, 8, 8]]


def make_tree(folder: Path, photos: int = 2) -> None:
    rng = np.random.default_rng(1)
    for sub in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / sub).mkdir(parents=True)
    for i in range(photos):
        photo = cv2.GaussianBlur(rng.integers(0, 255, (60, 80, 3)).astype(np.uint8), (9, 9), 3)
        truth = np.zeros((60, 80), np.uint8)
        truth[10:40, 20:60] = 12
        truth[10:12, 20:60] = 255
        cv2.imwrite(str(folder / f"JPEGImages/p{i}.jpg"), photo)
        cv2.imwrite(str(folder / f"SegmentationClass/p{i}.png"), colour_map()[truth][..., ::-1])
    (folder / "ImageSets/Segmentation/dev.txt").write_text("".join(f"p{i}\n" for i in range(photos)))


def test_masks_are_read_through_the_colour_map_or_as_they_are(tmp_path: Path) -> None:
    make_tree(tmp_path, 1)
    sample = next(read_samples(tmp_path, "dev"))
    assert sorted(np.unique(sample.truth)) == [0, 12, 255]
    cv2.imwrite(str(tmp_path / "grey.png"), sample.truth)
    assert np.array_equal(read_indices(tmp_path / "grey.png"), sample.truth)
    cv2.imwrite(str(tmp_path / "odd.png"), np.full((4, 4, 3), 7, np.uint8))
    with pytest.raises(BadInput, match="#070707"):
        read_indices(tmp_path / "odd.png")


def test_all_twenty_names_are_offered_in_class_order() -> None:
    words = offered_words()
    assert len(words) == 20
    assert words[NAMES.index("dog") - 1] == "dog"
    assert words[NAMES.index("tvmonitor") - 1] == "television"


def test_evaluation_scores_prints_and_draws(tmp_path: Path) -> None:
    make_tree(tmp_path)
    told: list[str] = []
    result = evaluate_segment(tmp_path, "starter", split="dev", sheet=tmp_path / "sheet.png", progress=told.append)
    assert told == ["1 of 2 photos", "2 of 2 photos"]
    assert result["photos"] == 2
    assert 0 <= result["miou7"] <= 1
    assert result["oracle_miou7"] > 0
    assert result["iou"]["dog"] is not None
    printed = table(result)
    assert "protocol unsay" in printed
    assert "threshold" in printed
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] > 200


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    make_tree(tmp_path, 1)
    with pytest.raises(BadInput, match="unknown protocol 'sclip'; known: unsay"):
        evaluate_segment(tmp_path, "starter", protocol="sclip")
    with pytest.raises(BadInput, match="no split 'val'; it has: dev"):
        evaluate_segment(tmp_path, "starter", split="val")
