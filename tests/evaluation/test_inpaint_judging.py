import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from unsay.bundle import Bundle
from unsay.cli import main
from unsay.errors import BadInput
from unsay.evaluation import inpaint, peers
from unsay.evaluation.absent import Absent
from unsay.evaluation.deep import DeepNetworks, FidNetwork, LpipsNetwork, frechet_distance
from unsay.evaluation.inpaint import evaluate_inpaint, hole_for, list_photos, read_photo
from unsay.evaluation.inpaint_result import lines, table
from unsay.evaluation.peers import Filler
from unsay.results import Mask, Pixels
from unsay.training.masks import BANDS

OPENCV = ("telea", "navier-stokes")
PEER_NAMES = {"Telea", "Navier-Stokes"}
FILLERS = {"Unsay", "without texture", "rim alone"} | PEER_NAMES


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(3):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"p{i}.png"), cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC))
    (folder / "notes.txt").write_text("no photo", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True, scope="module")
def no_networks() -> Iterator[None]:
    """As on a machine without LPIPS and FID, whatever is installed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inpaint, "open_networks", lambda: (DeepNetworks(), [Absent("LPIPS", "not installed")]))
        yield


@pytest.fixture(scope="module")
def result(photos: Path, tiny_bundle: Bundle, no_networks: None) -> dict[str, Any]:
    return evaluate_inpaint(photos, tiny_bundle, peers=OPENCV)


def test_every_photo_band_and_filler_is_judged_once(result: dict[str, Any]) -> None:
    cases = result["cases"]
    assert len(cases) == 3 * len(BANDS) * len(FILLERS)
    assert {case["filler"] for case in cases} == FILLERS
    assert [row["holes"] for row in result["bands"]] == [3] * len(BANDS) * len(FILLERS)
    assert sum(row["holes"] for row in result["kinds"]) == len(cases)
    assert result["outside_changed"] == dict.fromkeys(FILLERS, 0)


def test_rows_are_means_of_their_cases(result: dict[str, Any]) -> None:
    row = result["bands"][4]
    cases = [c for c in result["cases"] if c["band"] == row["group"] and c["filler"] == row["filler"]]
    assert row["psnr"] == pytest.approx(np.mean([c["scores"]["psnr"] for c in cases]))
    assert row["seconds"] == pytest.approx(np.mean([c["seconds"] for c in cases]))


def test_larger_holes_are_harder(result: dict[str, Any]) -> None:
    telea = [row["psnr"] for row in result["bands"] if row["filler"] == "Telea"]
    assert telea[0] > telea[2] > telea[5]


def test_the_result_is_json_and_its_table_names_everything(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result)) == result
    text = table(result)
    for part in ("50-60%", "strokes", "object", f"Telea: OpenCV {cv2.__version__}, radius 5", "3 photos, seed 0"):
        assert part in text
    assert "bundle tiny 0.1.0, grow 0, feather 0, rim as the bundle says, texture True" in text
    assert "LPIPS: left out, not installed" in text
    assert "| LPIPS" not in text
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


def test_the_scores_are_the_same_twice_and_a_part_is_a_part(photos: Path, result: dict[str, Any]) -> None:
    part = evaluate_inpaint(photos, None, limit=1, bands=(1,), peers=OPENCV)
    same = [c for c in result["cases"] if c["photo"] == "p0.png" and c["band"] == "10-20%"]
    whole = [c for c in same if c["filler"] in PEER_NAMES]
    assert [c["scores"] for c in part["cases"]] == [c["scores"] for c in whole]


def test_a_filler_that_paints_outside_is_reported(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sloppy(rgb: Pixels, hole: Mask) -> Pixels:
        return np.where(hole[..., None], 128, rgb - rgb % 2).astype(np.uint8)

    monkeypatch.setattr(peers, "PEERS", {"sloppy": lambda: Filler("sloppy", "none", "0", "none", sloppy)})
    result = evaluate_inpaint(photos, None, limit=1, bands=(0,), peers=["sloppy"])
    assert result["outside_changed"]["sloppy"] > 0


def test_a_sheet_shows_photo_hole_and_fillers(photos: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    said: list[str] = []
    evaluate_inpaint(photos, tiny_bundle, limit=2, bands=(0, 3), peers=OPENCV, sheet=sheet, progress=said.append)
    drawn = cv2.imread(str(sheet))
    assert drawn.shape == (2 * (192 + 40), 7 * 260, 3)  # one row a photo
    assert said == ["1 of 2: p0.png", "2 of 2: p1.png"]


def test_a_peer_that_is_not_installed_is_a_line_and_no_crash(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "patchmatch", None)
    result = evaluate_inpaint(photos, None, limit=1, bands=(0,), peers=["telea", "patchmatch"])
    assert {f["name"] for f in result["fillers"]} == {"Telea"}
    assert "PatchMatch: left out, not installed: pip install pypatchmatch" in table(result)


def test_lpips_and_fid_are_columns_where_their_networks_are(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With networks of one map, the colours themselves, and of two numbers, the means of red and green."""
    lpips = LpipsNetwork("stub a", lambda rgb: [rgb.transpose(2, 0, 1) + 1.0], (np.ones(3),))
    fid = FidNetwork("stub b", lambda rgb: rgb.mean((0, 1))[:2])
    monkeypatch.setattr(inpaint, "open_networks", lambda: (DeepNetworks(lpips, fid), []))
    result = evaluate_inpaint(photos, None, bands=(2, 5), peers=OPENCV)
    row = next(r for r in result["bands"] if r["filler"] == "Telea" and r["group"] == "50-60%")
    truths = {path.name: read_photo(path) for path in list_photos(photos)}
    filled = {n: peers.telea(rgb, hole_for(n, *rgb.shape[:2], 5, 0)[0]) for n, rgb in truths.items()}
    means = [np.stack([rgb.mean((0, 1))[:2] for rgb in group.values()]) for group in (filled, truths)]
    assert row["fid"] == pytest.approx(frechet_distance(*means))
    cases = [c for c in result["cases"] if (c["filler"], c["band"]) == ("Telea", "50-60%")]
    assert row["lpips"] == pytest.approx(np.mean([c["lpips"] for c in cases]))
    first = cases[0]
    a, b = ((p[first["photo"]] + 1.0) for p in (filled, truths))
    a, b = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (a, b))
    assert first["lpips"] == pytest.approx(np.square(a - b).sum(2).mean())
    text = table(json.loads(json.dumps(result, allow_nan=False)))
    assert "LPIPS: stub a" in text
    assert "| texture | LPIPS | FID | seconds |" in " ".join(text.split())


def test_fid_of_one_photo_is_no_number(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fid = FidNetwork("stub", lambda rgb: rgb.mean((0, 1)))
    monkeypatch.setattr(inpaint, "open_networks", lambda: (DeepNetworks(None, fid), []))
    result = evaluate_inpaint(photos, None, limit=1, bands=(2,), peers=["telea"])
    assert result["bands"][0]["fid"] is None
    assert "| - |" in " ".join(table(result).split())


def test_a_line_of_csv_says_everything_of_a_hole(result: dict[str, Any]) -> None:
    rows = lines(result)
    assert len(rows) == len(result["cases"])
    telea = next(row for row in rows if row["filler"] == "Telea")
    assert (telea["package"], telea["version"], telea["options"]) == ("OpenCV", cv2.__version__, "radius 5")
    case = next(c for c in result["cases"] if c["filler"] == "Telea")
    assert telea["psnr"] == case["scores"]["psnr"]
    assert {"photo", "band", "kind", "structure", "texture", "seconds", "outside"} <= set(telea)


def test_the_command_writes_csv_json_and_sheet(photos: Path, tmp_path: Path, tiny_bundle: Bundle) -> None:
    out = {kind: tmp_path / f"all.{kind}" for kind in ("csv", "json", "png")}
    chosen = ["--bundle", str(tiny_bundle.path), "--peers", "telea,biharmonic", "--limit", "1"]
    files = ["--csv", str(out["csv"]), "--json", str(out["json"]), "--sheet", str(out["png"])]
    assert main(["evaluate", "inpaint", "--data", str(photos), *chosen, *files]) == 0
    names = [f["name"] for f in json.loads(out["json"].read_text())["fillers"]]
    assert names == ["Unsay", "without texture", "rim alone", "Telea", "biharmonic"]
    with open(out["csv"], encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(BANDS) * len(names)
    assert cv2.imread(str(out["png"])) is not None


def test_the_command_takes_all_peers_or_none(
    photos: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    evaluate = inpaint.evaluate_inpaint

    def watched(*args: Any, **settings: Any) -> dict[str, Any]:
        asked.append(settings["peers"])
        return evaluate(*args, **{**settings, "peers": ()})

    monkeypatch.setattr(inpaint, "evaluate_inpaint", watched)
    for given in (["--peers", "none"], []):
        arguments = ["--data", str(photos), "--bundle", str(tiny_bundle.path), "--limit", "1", *given]
        assert main(["evaluate", "inpaint", *arguments]) == 0
    assert asked == [(), ("telea", "navier-stokes", "biharmonic", "patchmatch")]


def test_the_split_is_by_name(photos: Path) -> None:
    both = [p.name for split in ("train", "test") for p in _photos_or_none(photos, split)]
    assert sorted(both) == ["p0.png", "p1.png", "p2.png"]


def _photos_or_none(folder: Path, split: str) -> list[Path]:
    try:
        return list_photos(folder, split)
    except BadInput:
        return []


def test_what_cannot_be_judged_is_said(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="give a bundle, or peers that are installed"):
        evaluate_inpaint(photos, None, peers=())
    with pytest.raises(BadInput, match="there is no peer 'lama'"):
        evaluate_inpaint(photos, None, peers=["lama"])
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
    rows = evaluate_inpaint(data, None, limit=5, peers=["telea"])["bands"]
    found = [row["psnr"] for row in rows if row["filler"] == "Telea"]
    assert found == pytest.approx([31.35, 27.99, 21.83, 23.75, 20.42, 19.38], abs=0.1)
