"""The confusion matrix against scikit-learn; the evaluation on a small tree in VOCdevkit layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay import cli
from unsay.commands import judging
from unsay.errors import BadInput
from unsay.evaluation import segment
from unsay.evaluation.confusion import Confusion
from unsay.evaluation.datasets import SETS
from unsay.evaluation.protocols import PROTOCOLS, make_protocol
from unsay.evaluation.segment import Prediction, evaluate_segment, majority, offered_words, table
from unsay.evaluation.voc import colour_map
from unsay.results import Segmentation
from unsay.segmentation.words import check_words


def test_mean_iou_is_scikit_learns_over_all_photos() -> None:
    from sklearn.metrics import confusion_matrix, jaccard_score

    rng = np.random.default_rng(0)
    confusion = Confusion(6)
    truths, guesses = [], []
    for _ in range(3):
        truth = rng.integers(0, 5, (13, 17)).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.1] = 255
        guess = np.where(rng.random(truth.shape) < 0.6, np.minimum(truth, 5), rng.integers(0, 5, truth.shape))
        guess[rng.random(truth.shape) < 0.1] = 255  # none of the classes
        confusion.add(truth, guess)
        truths.append(truth[truth < 255])
        guesses.append(np.minimum(guess[truth < 255], 6))
    true, predicted = np.concatenate(truths), np.concatenate(guesses)
    assert np.array_equal(confusion.counts, confusion_matrix(true, predicted, labels=range(7))[:6])
    expected = jaccard_score(true, predicted, labels=range(5), average=None)
    assert np.allclose(confusion.iou()[:5], expected)
    assert confusion.mean_iou([1, 2]) == pytest.approx(float(expected[1:3].mean()))


def test_a_class_that_does_not_occur_is_left_out_of_the_mean() -> None:
    confusion = Confusion(4)
    confusion.add(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 2, 1, 3]]))
    assert np.isnan(confusion.iou()[3])
    assert confusion.mean_iou() == pytest.approx((0.5 + 1 + 0) / 3)


@pytest.mark.parametrize(("true", "guess"), [(7, 0), (0, 7), (0, -1)])
def test_a_mask_of_another_size_or_set_is_refused(true: int, guess: int) -> None:
    confusion = Confusion(3)
    with pytest.raises(BadInput, match="one size"):
        confusion.add(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.int32))
    with pytest.raises(BadInput, match="outside 0 to 2"):
        confusion.add(np.full((2, 2), true, np.uint8), np.full((2, 2), guess, np.int32))


def test_the_oracle_gives_each_group_its_majority() -> None:
    groups = np.array([[0, 0, 0, 1, 1]], np.int32)
    truth = np.array([[12, 12, 0, 255, 8]], np.uint8)
    assert majority(groups, truth, 21).tolist() == [[12, 12, 12, 8, 8]]


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


@pytest.mark.parametrize("name", list(SETS))
def test_the_words_offered_are_words_that_can_be_asked(name: str) -> None:
    words = offered_words(SETS[name])
    assert len(words) == SETS[name].classes - SETS[name].background
    assert list(check_words(words)) == words
    assert not any("-" in word for word in words)


def test_voc_words_are_english_and_in_class_order() -> None:
    words = offered_words(SETS["voc21"])
    assert words[11] == "dog"
    assert words[19] == "television"
    assert words == offered_words(SETS["voc20"])


def test_evaluation_scores_prints_and_draws(tmp_path: Path) -> None:
    make_tree(tmp_path)
    told: list[str] = []
    result = evaluate_segment(tmp_path, "starter", split="dev", sheet=tmp_path / "sheet.png", progress=told.append)
    assert told == ["1 of 2 photos", "2 of 2 photos"]
    assert result["photos"] == 2
    assert 0 <= result["miou7"] <= 1
    assert result["oracle_miou7"] > 0
    assert result["miou21"] == result["miou"]
    assert result["iou"]["dog"] is not None
    printed = table(result)
    assert "protocol unsay" in printed
    assert "threshold" in printed
    assert "mIoU-21" in printed
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] > 200


@pytest.mark.parametrize("dataset", ["voc21", "voc20"])
def test_labels_become_classes(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first word is class 1 where class 0 is the background, else class 0; no word is the background, or none."""

    def first_word(rgb: np.ndarray, words: list[str], bundle: object) -> Segmentation:
        labels = np.array([[0, 1, 20]], np.int32)
        return Segmentation(tuple(words), labels, {}, np.zeros((1, 3), np.int32), ())

    monkeypatch.setattr(segment, "segment_pixels", first_word)
    found = segment._by_words(np.zeros((1, 3, 3), np.uint8), ["a"] * 20, SETS[dataset], None)  # type: ignore[arg-type]
    assert found.classes.tolist() == {"voc21": [[0, 1, 20]], "voc20": [[255, 0, 19]]}[dataset]


@pytest.mark.parametrize("protocol", ["groupvit", "sclip"])
@pytest.mark.parametrize("dataset", ["voc21", "voc20"])
def test_a_perfect_prediction_scores_one_and_names_its_protocol(
    dataset: str, protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(tmp_path)
    truth = next(SETS[dataset].read(tmp_path, "dev")).truth
    perfect = Prediction(np.where(truth == 255, 0, truth).astype(np.uint8))
    monkeypatch.setattr(segment, "make_predictor", lambda *_: lambda rgb: perfect)
    result = evaluate_segment(tmp_path, "starter", dataset=dataset, protocol=protocol)
    assert result["miou"] == 1
    assert ("miou7" in result) == (dataset == "voc21")
    assert "oracle_miou" not in result
    expected = make_protocol(protocol, SETS[dataset]).settings()
    assert result["settings"] == expected
    printed = table(result)
    assert f"protocol {protocol}" in printed
    assert all(f"{name} " in printed for name in expected)
    json.dumps(result, allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["groupvit", "sclip"])
def test_the_families_run_through(protocol: str, tmp_path: Path) -> None:
    make_tree(tmp_path, 1)
    result = evaluate_segment(tmp_path, "starter", protocol=protocol)
    assert result["photos"] == 1
    assert 0 <= result["miou"] <= 1


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    make_tree(tmp_path, 1)
    with pytest.raises(BadInput, match="unknown protocol 'clip'; known: unsay, groupvit, sclip"):
        evaluate_segment(tmp_path, "starter", protocol="clip")
    with pytest.raises(BadInput, match="unknown data set 'voc'; known: voc21"):
        evaluate_segment(tmp_path, "starter", dataset="voc")
    with pytest.raises(BadInput, match="no split 'val'; it has: dev"):
        evaluate_segment(tmp_path, "starter", split="val")
    with pytest.raises(BadInput, match="no photo to judge"):
        evaluate_segment(tmp_path, "starter", limit=0)


def test_the_command_passes_on_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tree(tmp_path, 1)
    truth = next(SETS["voc20"].read(tmp_path, "dev")).truth
    monkeypatch.setattr(segment, "make_predictor", lambda *_: lambda rgb: Prediction(np.minimum(truth, 19)))
    command = ["evaluate", "segment", "--data", str(tmp_path), "--json", "-"]
    assert cli.main([*command, "--set", "voc20", "--protocol", "sclip", "--split", "dev"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["set"], told["protocol"], told["split"], told["miou"]) == ("voc20", "sclip", "dev", 1.0)
    assert cli.main([*command, "--set", "voc19"]) == 2
    assert "unknown data set 'voc19'; known: voc21, voc20" in capsys.readouterr().err


def test_the_help_names_every_set_and_protocol() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")
    help_text = str(judging.segment.__annotations__)
    for name in (*SETS, *PROTOCOLS):
        assert name in help_text
        assert f"`{name}`" in page
