"""Average precision against scikit-learn; break-even, reliability; the judge on small tables and masks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from unsay.commands import judging
from unsay.errors import BadInput
from unsay.evaluation import presence
from unsay.evaluation.calibration import (
    average_precision,
    break_even,
    even_odds,
    expected_calibration_error,
    reliability,
)
from unsay.evaluation.presence import evaluate_presence, table
from unsay.results import Segmentation


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_scikit_learns_with_equal_scores_too(seed: int) -> None:
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(seed)
    present = rng.random(60) < 0.3
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * present, 0.2), 0, 1), 1 + seed)
    assert average_precision(present, scores) == pytest.approx(average_precision_score(present, scores))


def test_nothing_present_has_no_precision() -> None:
    absent, scores = np.zeros(3, bool), np.array([0.1, 0.2, 0.3])
    assert math.isnan(average_precision(absent, scores))
    assert math.isnan(break_even(absent, scores))


def test_precision_equals_recall_at_the_break_even_score() -> None:
    from sklearn.metrics import precision_score, recall_score

    rng = np.random.default_rng(0)
    present = rng.random(50) < 0.4
    scores = rng.random(50) * 0.5 + present * 0.3
    found = scores >= break_even(present, scores)
    assert found.sum() == present.sum()
    assert precision_score(present, found) == pytest.approx(recall_score(present, found))


def test_reliability_counts_each_answer_once_and_agrees_with_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(0)
    scores = rng.uniform(0.001, 0.999, 400)
    present = rng.random(400) < scores**2
    rows = reliability(present, scores)
    shares, means = calibration_curve(present, scores, n_bins=10)
    assert sum(row.answers for row in rows) == 400
    assert np.allclose([row.present for row in rows], shares)
    assert np.allclose([row.mean_score for row in rows], means)
    assert [(row.low, row.high) for row in reliability(np.array([True, False]), np.array([1.0, 0.0]))] == [
        (0.0, 0.1),
        (0.9, 1.0),
    ]


def test_calibration_error_is_the_mean_distance_weighted_by_answers() -> None:
    present = np.array([True, True, False, True, False])
    scores = np.array([0.95, 0.95, 0.95, 0.25, 0.25])
    expected = (3 * (0.95 - 2 / 3) + 2 * (1 / 2 - 0.25)) / 5  # too sure above, not sure enough below
    assert expected_calibration_error(reliability(present, scores)) == pytest.approx(expected)


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The score of every noun is the photo's brightness, that of "cat" its darkness; gives what was asked."""
    asked: list[tuple[str, ...]] = []

    def scored(rgb: np.ndarray, words: list[str], bundle: object) -> Segmentation:
        asked.append(tuple(words))
        bright = float(rgb.mean()) / 255
        scores = {word: 1 - bright if word == "cat" else bright for word in words}
        empty = np.zeros(rgb.shape[:2], np.int32)
        return Segmentation(tuple(words), empty, scores, empty, ())

    monkeypatch.setattr(presence, "segment_pixels", scored)
    return asked


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., None]:
    """`photos("images", "png", a=10, b=200)`: grey photos of these brightnesses in a folder."""

    def write(folder: str, ending: str, **values: int) -> None:
        (tmp_path / folder).mkdir(parents=True)
        for name, value in values.items():
            cv2.imwrite(str(tmp_path / folder / f"{name}.{ending}"), np.full((6, 8, 3), value, np.uint8))

    return write


def test_a_table_of_labels(tmp_path: Path, photos: Callable[..., None], brightness: list[tuple[str, ...]]) -> None:
    photos("images", "png", a=10, b=120, c=240)
    labels = tmp_path / "labels.tsv"
    rows = ("dog a.png 0", "dog b.png 0", "dog c.png 1", "cat a.png 0", "cat b.png 1", "hat c.png 0")
    labels.write_text("noun\timage\tpresent\n" + "".join(row.replace(" ", "\t") + "\n" for row in rows))
    result = evaluate_presence(tmp_path, labels=labels)
    assert brightness == [("dog", "cat", "hat")] * 3  # all nouns are asked of every photo at once
    by_noun = {row["noun"]: row for row in result["nouns"]}
    assert by_noun["dog"] == {
        "noun": "dog",
        "photos": 3,
        "positives": 1,
        "ap": 1.0,
        "break_even": pytest.approx(0.941, abs=1e-3),
    }
    assert by_noun["cat"]["ap"] == 0.5  # the photo without one is darker
    assert by_noun["hat"]["ap"] is None
    assert result["map"] == pytest.approx(0.75)
    assert sum(b["answers"] for b in result["reliability"]) == 6
    json.dumps(result, allow_nan=False)
    printed = table(result)
    assert "mean average precision 0.750" in printed
    assert "| dog" in printed


def test_the_command_prints_the_table_and_keeps_the_numbers(
    tmp_path: Path, photos: Callable[..., None], brightness: list[tuple[str, ...]]
) -> None:
    photos("images", "png", a=10, b=200)
    labels, kept = tmp_path / "labels.tsv", tmp_path / "kept.json"
    labels.write_text("noun\timage\tpresent\ndog\ta.png\t0\ndog\tb.png\t1\n")
    app = typer.Typer()
    app.command()(judging.presence)
    given = {"--data": tmp_path, "--labels": labels, "--json": kept}
    done = CliRunner().invoke(app, [str(part) for option in given.items() for part in option])
    assert done.exit_code == 0, done.output
    assert "mean average precision 1.000" in done.output
    assert json.loads(kept.read_text())["map"] == 1.0


def test_masks_say_what_is_present(
    tmp_path: Path, photos: Callable[..., None], brightness: list[tuple[str, ...]]
) -> None:
    photos("JPEGImages", "jpg", dark=10, light=240)
    (tmp_path / "SegmentationClass").mkdir()
    for name, value in (("dark", 8), ("light", 12)):
        truth = np.full((6, 8), value, np.uint8)
        truth[:2] = 255
        cv2.imwrite(str(tmp_path / f"SegmentationClass/{name}.png"), truth)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/dev.txt").write_text("dark\nlight\n")
    result = evaluate_presence(tmp_path, split="dev")
    assert brightness[0] == ("cat", "cow", "dog", "horse", "sheep", "person")
    precisions = {row["noun"]: row["ap"] for row in result["nouns"]}
    assert precisions == {"cat": 1.0, "dog": 1.0, "cow": None, "horse": None, "sheep": None, "person": None}
    assert evaluate_presence(tmp_path, limit=1)["photos"] == 1
    with pytest.raises(BadInput, match="give one of the two"):
        evaluate_presence(tmp_path, labels=tmp_path / "labels.tsv", split="dev")
    with pytest.raises(BadInput, match="no photo to judge"):
        evaluate_presence(tmp_path, limit=0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"begins with \[\]"),
        ("noun\timage\tpresent\ndog\ta.png\t0\ndog\ta.png\t1\n", "both 0 and 1 of 'dog' in a.png"),
        ("image\tnoun\n", "expected the columns noun, image, present"),
        ("noun\timage\tpresent\ndog\ta.png\tyes\n", r"line 2: \['dog', 'a.png', 'yes'\] is not"),
        ("noun\timage\tpresent\ndog\ta.png\n", "line 2"),
        ("noun\timage\tpresent\ndog\tmissing.png\t1\n", "missing.png"),
        ("noun\timage\tpresent\ndog\ta.png\t0\n", "none of the nouns dog"),
    ],
)
def test_a_table_that_cannot_be_used(
    tmp_path: Path, photos: Callable[..., None], brightness: list[tuple[str, ...]], text: str, said: str
) -> None:
    photos("images", "png", a=10)
    (tmp_path / "labels.tsv").write_text(text)
    with pytest.raises(BadInput, match=said):
        evaluate_presence(tmp_path, labels=tmp_path / "labels.tsv")


def test_at_even_odds_an_answer_that_is_rarely_right_counts_as_often_as_one_that_is_rarely_wrong() -> None:
    """100 answers of which 10 are present; 0.8 is said of 8 of these and of 9 others."""
    present = np.arange(100) < 10
    scores = np.full(100, 0.2)
    scores[2:19] = 0.8
    weights = even_odds(present)
    assert weights[present].sum() == pytest.approx(50)
    assert weights[~present].sum() == pytest.approx(50)
    low, high = reliability(present, scores, weights)
    assert high.present == pytest.approx(0.8 / (0.8 + 0.1))
    assert low.present == pytest.approx(0.2 / (0.2 + 0.9))
    expected = (0.9 * (8 / 9 - 0.8) + 1.1 * (0.2 - 2 / 11)) / 2
    assert expected_calibration_error([low, high]) == pytest.approx(expected)
    assert even_odds(np.array([True, True])).tolist() == [1, 1]
