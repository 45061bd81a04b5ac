import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.evaluation import inpaint
from unsay.evaluation.inpaint import evaluate_inpaint, hole_for, list_photos, table
from unsay.evaluation.peers import PEERS, Filler, lay_over, ours
from unsay.results import Mask, Patch, Pixels
from unsay.training.masks import BANDS

PEER_NAMES = {"Telea", "Navier-Stokes"}
FILLERS = {"Unsay", "network alone", "rim alone"} | PEER_NAMES


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(3):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"p{i}.png"), cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC))
    (folder / "notes.txt").write_text("no photo", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def result(photos: Path, tiny_bundle: Bundle) -> dict[str, object]:
    return evaluate_inpaint(photos, tiny_bundle)


def test_every_photo_band_and_filler_is_judged_once(result: dict[str, list[dict[str, object]]]) -> None:
    cases = result["cases"]
    assert len(cases) == 3 * len(BANDS) * len(FILLERS)
    assert {case["filler"] for case in cases} == FILLERS
    assert [row["holes"] for row in result["bands"]] == [3] * len(BANDS) * len(FILLERS)
    assert sum(row["holes"] for row in result["kinds"]) == len(cases)
    assert result["outside_changed"] == dict.fromkeys(FILLERS, 0)


def test_rows_are_means_of_their_cases(result: dict[str, list[dict[str, object]]]) -> None:
    row = result["bands"][4]
    cases = [c for c in result["cases"] if c["band"] == row["group"] and c["filler"] == row["filler"]]
    assert row["psnr"] == pytest.approx(np.mean([c["scores"]["psnr"] for c in cases]))
    assert row["seconds"] == pytest.approx(np.mean([c["seconds"] for c in cases]))


def test_larger_holes_are_harder(result: dict[str, list[dict[str, object]]]) -> None:
    telea = [row["psnr"] for row in result["bands"] if row["filler"] == "Telea"]
    assert telea[0] > telea[2] > telea[5]


def test_the_result_is_json_and_its_table_names_everything(result: dict[str, object]) -> None:
    assert json.loads(json.dumps(result)) == result
    text = table(result)
    for part in ("50-60%", "strokes", "object", f"Telea: OpenCV {cv2.__version__}, radius 5", "3 photos, seed 0"):
        assert part in text
    assert "Unsay: bundle tiny 0.1.0, grow 0, feather 0, rim True" in text
    assert "holes where Unsay has a better PSNR than Telea: 0-10%" in text


def test_holes_are_fixed_by_name_band_and_seed(photos: Path) -> None:
    first, kind = hole_for("p0.png", 60, 80, 2, 0)
    again, _ = hole_for("p0.png", 60, 80, 2, 0)
    assert np.array_equal(first, again)
    assert BANDS[2][0] < first.mean() <= BANDS[2][1]
    assert kind in ("strokes", "object", "mixed")
    for other in (("p1.png", 2, 0), ("p0.png", 3, 0), ("p0.png", 2, 1)):
        name, band, seed = other
        assert not np.array_equal(first, hole_for(name, 60, 80, band, seed)[0])
    kinds = [hole_for(f"{i}.png", 16, 16, 0, 0)[1] for i in range(90)]
    assert all(15 < kinds.count(k) < 45 for k in ("strokes", "object", "mixed"))


def test_the_scores_are_the_same_twice_and_a_part_is_a_part(photos: Path, result: dict[str, object]) -> None:
    part = evaluate_inpaint(photos, None, limit=1, bands=(1,))
    cases: list[dict[str, object]] = result["cases"]  # type: ignore[assignment]
    same = [c for c in cases if c["photo"] == "p0.png" and c["band"] == "10-20%"]
    whole = [c for c in same if c["filler"] in PEER_NAMES]
    assert [c["scores"] for c in part["cases"]] == [c["scores"] for c in whole]


def test_a_filler_that_paints_outside_is_reported(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sloppy(rgb: Pixels, hole: Mask) -> Pixels:
        return np.where(hole[..., None], 128, rgb - rgb % 2).astype(np.uint8)

    monkeypatch.setattr(inpaint, "PEERS", (Filler("sloppy", "none", sloppy),))
    assert evaluate_inpaint(photos, None, limit=1, bands=(0,))["outside_changed"]["sloppy"] > 0


def test_a_sheet_shows_photo_hole_and_fillers(photos: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    lines: list[str] = []
    evaluate_inpaint(photos, tiny_bundle, limit=2, bands=(0, 3), sheet=sheet, progress=lines.append)
    drawn = cv2.imread(str(sheet))
    assert drawn.shape == (2 * (192 + 40), 7 * 260, 3)  # one row a photo
    assert lines == ["1 of 2: p0.png", "2 of 2: p1.png"]


@pytest.mark.parametrize("filler", PEERS, ids=lambda f: f.name)
def test_peers_fill_the_hole_alone(filler: Filler, make_rgb: Callable[..., Pixels]) -> None:
    rgb = make_rgb(40, 50)
    hole = np.zeros((40, 50), bool)
    hole[10:30, 15:35] = True
    filled = filler.fill(rgb, hole)
    assert np.array_equal(filled[~hole], rgb[~hole])
    assert np.abs(filled[hole].astype(int) - rgb[hole]).mean() < 25


def test_patches_are_laid_over_by_their_weight() -> None:
    rgb = np.full((4, 6, 3), 100, np.uint8)
    weight = np.array([[0.0, 0.5, 1.0]], np.float32)
    out = lay_over(rgb, [Patch(2, 1, np.full((1, 3, 3), 200, np.uint8), weight)])
    assert out[1, :, 0].tolist() == [100, 100, 100, 150, 200, 100]
    assert (rgb == 100).all()


def test_our_filler_leaves_the_rest_alone(tiny_bundle: Bundle, make_rgb: Callable[..., Pixels]) -> None:
    rgb = make_rgb(50, 60)
    hole = np.zeros((50, 60), bool)
    hole[20:30, 20:40] = True
    filled = ours(tiny_bundle).fill(rgb, hole)
    assert np.array_equal(filled[~hole], rgb[~hole])
    assert (filled[hole] != rgb[hole]).any()


def test_the_split_is_by_name(photos: Path) -> None:
    both = [p.name for split in ("train", "test") for p in _photos_or_none(photos, split)]
    assert sorted(both) == ["p0.png", "p1.png", "p2.png"]


def _photos_or_none(folder: Path, split: str) -> list[Path]:
    try:
        return list_photos(folder, split)
    except BadInput:
        return []


def test_what_cannot_be_judged_is_said(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="give a bundle, or allow the peers"):
        evaluate_inpaint(photos, None, peers=False)
    with pytest.raises(BadInput, match=r"bands \[6\] cannot be judged: choose from 0 to 5"):
        evaluate_inpaint(photos, None, bands=[6])
    with pytest.raises(BadInput, match="no photos in"):
        evaluate_inpaint(tmp_path, None)
    with pytest.raises(BadInput, match="is not a folder of photos"):
        evaluate_inpaint(tmp_path / "none", None)
    with pytest.raises(BadInput, match="a limit of 0 photos"):
        evaluate_inpaint(photos, None, limit=0)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    with pytest.raises(BadInput, match=r"broken.jpg cannot be read as a photo"):
        evaluate_inpaint(tmp_path, None)


@pytest.mark.slow
def test_the_protocol_has_not_drifted() -> None:
    """What Telea scored on five photos when the first figures were published, band by band."""
    data = Path(__file__).parents[3] / "shared/data/bsds500/images/test"
    rows = evaluate_inpaint(data, None, limit=5)["bands"]
    found = [row["psnr"] for row in rows if row["filler"] == "Telea"]
    assert found == pytest.approx([31.35, 27.99, 21.83, 23.75, 20.42, 19.38], abs=0.1)
