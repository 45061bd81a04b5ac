import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.evaluation.erase import METHODS, OURS, TRUE_MASK, TRUE_TELEA, UNTOUCHED, evaluate_erase, table
from unsay.options import EraseOptions, InpaintOptions
from unsay.results import Pixels, Segmentation
from unsay.training.scenes import Look, prepare_scenes, read_scenes

COLOURS = {"ruby": (220, 20, 20), "leaf": (20, 220, 20), "lake": (20, 20, 220)}


def by_colour(rgb: Pixels, words: Sequence[str], bundle: Bundle, options: object) -> Segmentation:
    """Stands in for the segmenter: a ruby is what is red, a leaf the whole photo, and a lake is never found."""
    (word,) = words
    away = np.abs(rgb.astype(int) - COLOURS[word]).max(2)
    mask = {"ruby": away < 90, "leaf": away < 999, "lake": away < 0}[word]
    found = (word,) if mask.any() else ()
    labels = mask.astype(np.int32)
    return Segmentation((word,), labels, {word: float(mask.any())}, labels, found)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cutouts, photos = tmp_path_factory.mktemp("cutouts"), tmp_path_factory.mktemp("photos")
    for noun, (r, g, b) in COLOURS.items():
        image = np.zeros((50, 44, 4), np.uint8)
        image[..., :3] = (b, g, r)
        image[..., 3] = cv2.circle(np.zeros((50, 44), np.uint8), (22, 25), 18, 255, -1)
        cv2.imwrite(str(cutouts / f"{noun}.png"), image)
        (cutouts / f"{noun}.txt").write_text(f"A {noun}.\n", encoding="utf-8")
    ramp = np.linspace(90, 160, 200)[None, :, None] + np.random.default_rng(0).integers(0, 8, (150, 200, 3))
    cv2.imwrite(str(photos / "photo.png"), ramp.astype(np.uint8))
    out = tmp_path_factory.mktemp("scenes")
    prepare_scenes([cutouts], [photos], out, "all", 6, size=(160, 120), look=Look(0, 0, 0))
    return out


@pytest.fixture(scope="module")
def result(scenes: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unsay.erasing.segment_pixels", by_colour)
        options = EraseOptions(inpaint=InpaintOptions(grow=3, feather=1))
        sheet = tmp_path_factory.mktemp("sheet") / "sheet.png"
        judged = evaluate_erase(scenes, tiny_bundle, options=options, sheet=sheet)
    assert cv2.imread(str(sheet)).shape[1] == 6 * 260
    return judged


def cases(result: dict[str, object], word: str) -> list[dict[str, object]]:
    return [c for c in result["cases"] if c["word"] == word]  # type: ignore[attr-defined]


def test_every_thing_is_judged_once(result: dict[str, object], scenes: Path) -> None:
    things = [(s.name, t.word) for s in read_scenes(scenes) for t in s.things]
    assert [(c["scene"], c["word"]) for c in result["cases"]] == things  # type: ignore[attr-defined]
    assert result["cases_judged"] == len(things)
    assert {word for _, word in things} == set(COLOURS)


def test_a_thing_that_is_found_is_erased(result: dict[str, object]) -> None:
    for case in cases(result, "ruby"):
        assert (case["status"], case["note"]) == ("erased", "")
        assert case["iou"] > 0.9
        assert case["left"] < 0.02
        assert 0 < case["touched"] < 0.1
        scores = case["scores"]
        assert scores[OURS]["psnr"] > scores[UNTOUCHED]["psnr"] + 8
        assert scores[OURS]["psnr"] == pytest.approx(scores[TRUE_MASK]["psnr"], abs=1.5)


def test_a_thing_that_is_not_found_stays_and_counts_so(result: dict[str, object]) -> None:
    for case in cases(result, "lake"):
        assert (case["status"], case["left"], case["touched"], case["iou"]) == ("not found", 1, 0, 0)
        assert case["scores"][OURS] == case["scores"][UNTOUCHED]
        assert case["scores"][TRUE_TELEA]["psnr"] > case["scores"][UNTOUCHED]["psnr"]


def test_a_hole_that_covers_everything_is_refused_and_the_reason_kept(result: dict[str, object]) -> None:
    for case in cases(result, "leaf"):
        assert case["status"] == "refused"
        assert "covers the whole photo" in case["note"]


def test_rates_and_means_are_those_of_the_cases(result: dict[str, object]) -> None:
    all_cases = result["cases"]
    found = cases(result, "ruby")
    rates = result["rates"]
    assert rates["not_found"] == pytest.approx(len(cases(result, "lake")) / len(all_cases))
    assert rates["refused"] == pytest.approx(len(cases(result, "leaf")) / len(all_cases))
    assert rates["iou"] == pytest.approx(np.mean([c["iou"] for c in found]))
    by_noun = [np.mean([c["iou"] for c in cases(result, word)]) for word in COLOURS]
    assert rates["miou"] == pytest.approx(np.mean(by_noun))
    assert result["nouns"] == len(COLOURS)
    for group, members in (("all", all_cases), ("found", found)):
        assert [row["method"] for row in result[group]] == list(METHODS)
        for row in result[group]:
            assert row["things"] == len(members)
            assert row["psnr"] == pytest.approx(np.mean([c["scores"][row["method"]]["psnr"] for c in members]))
    pair = result["paired"][UNTOUCHED]
    assert (pair["better"], pair["worse"]) == (len(found), 0)
    assert pair["equal"] == len(all_cases) - len(found)


def test_the_result_is_json_and_has_a_table(result: dict[str, object]) -> None:
    assert json.loads(json.dumps(result)) == result
    text = table(result)
    for part in (*METHODS, "not found", "Wilcoxon p", "bundle tiny", "Telea: OpenCV"):
        assert part in text


def test_nothing_found_at_all_still_makes_a_table(
    scenes: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(rgb: Pixels, words: Sequence[str], bundle: Bundle, options: object) -> Segmentation:
        labels = np.zeros(rgb.shape[:2], np.int32)
        return Segmentation(tuple(words), labels, dict.fromkeys(words, 0.1), labels, ())

    monkeypatch.setattr("unsay.erasing.segment_pixels", nowhere)
    result = evaluate_erase(scenes, tiny_bundle, limit=1)
    assert result["rates"]["not_found"] == 1
    assert "not found 100%" in table(result)


def test_what_cannot_be_judged_is_said(scenes: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a folder of scenes"):
        evaluate_erase(tmp_path, tiny_bundle)
    with pytest.raises(BadInput, match="no scenes to judge"):
        evaluate_erase(scenes, tiny_bundle, split="test")
    with pytest.raises(BadInput, match="no scenes to judge"):
        evaluate_erase(scenes, tiny_bundle, limit=0)
