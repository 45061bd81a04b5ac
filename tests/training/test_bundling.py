from __future__ import annotations

import json
from pathlib import Path

from unsay.bundle import load_bundle
from unsay.training.bundling import write_part


def manifest(folder: Path) -> dict[str, object]:
    stored: dict[str, object] = json.loads((folder / "bundle.json").read_text())
    return stored


def make(folder: Path) -> None:
    for name in ("old.onnx", "shared.json", "filler.onnx", "CARD.md"):
        (folder / name).write_text(name)
    write_part(
        folder, "inpaint", {"file": "filler.onnx", "words": ["shared.json"]}, files=["filler.onnx"], card="CARD.md"
    )
    scores = {"segment a": 1, "presence b": 2, "erase c": 3, "inpaint d": 4}
    write_part(
        folder,
        "segment",
        {"net": {"file": "old.onnx"}, "words": ["shared.json"]},
        files=["old.onnx", "shared.json"],
        scores=scores,
    )


def test_a_new_part_takes_the_place_of_the_old_ones_files_and_scores(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "new.onnx").write_text("new")
    write_part(tmp_path, "segment", {"net": {"file": "new.onnx"}}, files=["new.onnx"], scores={"segment e": 5})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "CARD.md",
        "bundle.json",
        "filler.onnx",
        "new.onnx",
        "shared.json",
    ]
    kept = manifest(tmp_path)
    assert sorted(kept["files"]) == ["filler.onnx", "new.onnx", "shared.json"]  # type: ignore[call-overload]
    assert kept["scores"] == {"inpaint d": 4, "segment e": 5}
    load_bundle(tmp_path)


def test_scores_stay_while_the_files_that_they_were_measured_with_do(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "CARD.md").write_text("a better card")
    section = {"net": {"file": "old.onnx"}, "words": ["shared.json"]}
    write_part(tmp_path, "segment", section, files=["CARD.md", "old.onnx"], scores={"presence b": 6})
    assert manifest(tmp_path)["scores"] == {"segment a": 1, "presence b": 6, "erase c": 3, "inpaint d": 4}
