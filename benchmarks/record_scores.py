"""Keep what `unsay evaluate ... --json` measured: tables in benchmarks/results/, main figures in the bundle's manifest.

python benchmarks/record_scores.py --segment report.json --presence nouns.json animals.json --inpaint bsds.json \\
  --erase scenes.json --speed speed.json
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from unsay.bundle import MANIFEST
from unsay.training.bundling import write_part

ROOT = Path(__file__).parent.parent
STARTER = ROOT / "src" / "unsay" / "bundles" / "starter"
RESULTS = ROOT / "benchmarks" / "results"
CARD = "CARD.md"


def segment_scores(result: dict[str, Any]) -> dict[str, Any]:
    """The line of the card about words to masks."""
    return {f"segment {result['data']} {result['split']} mIoU-7 ({result['protocol']})": round(result["miou7"], 3)}


def presence_scores(result: dict[str, Any]) -> dict[str, Any]:
    """The line of the card about which words a photo has."""
    return {f"presence {result['data']} {result['source']} mAP": round(result["map"], 3)}


def inpaint_scores(result: dict[str, Any]) -> dict[str, Any]:
    """PSNR per band, ours beside the peers'."""
    rows = {(row["group"], row["filler"]): round(row["psnr"], 2) for row in result["bands"]}
    bands = dict.fromkeys(band for band, _ in rows)
    fillers = dict.fromkeys(filler for _, filler in rows)
    return {f"inpaint {result['data']} PSNR, holes of {band}": {f: rows[band, f] for f in fillers} for band in bands}


def erase_scores(result: dict[str, Any]) -> dict[str, Any]:
    """What was found, and the fill's PSNR over the thing's area."""
    psnr = {row["method"]: round(row["psnr"], 2) for row in result["all"]}
    return {f"erase {result['data']}": {"found": round(1 - result["rates"]["not_found"], 2), "PSNR": psnr}}


def main() -> None:
    """Read, keep, record."""
    parser = argparse.ArgumentParser()
    for name in ("segment", "inpaint", "erase", "speed"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--presence", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    scores: dict[str, Any] = {}
    for name, brief in (("segment", segment_scores), ("inpaint", inpaint_scores), ("erase", erase_scores)):
        if path := getattr(args, name):
            result = json.loads(path.read_text(encoding="utf-8"))
            scores |= brief(result)
            _keep(name, result)
    for path in args.presence:
        result = json.loads(path.read_text(encoding="utf-8"))
        scores |= presence_scores(result)
        _keep(f"presence-{result['data']}", result)
    if args.speed:
        _keep("speed", json.loads(args.speed.read_text(encoding="utf-8")))
    manifest = json.loads((STARTER / MANIFEST).read_bytes())
    write_part(
        STARTER,
        "segment",
        manifest["segment"],
        files=[CARD],
        card=CARD,
        licence="CC-BY-NC-4.0",
        scores=scores,
    )


def _keep(name: str, result: dict[str, Any]) -> None:
    brief = {key: value for key, value in result.items() if key != "cases"} | {"processor": platform.processor() or "?"}
    (RESULTS / f"{name}.json").write_text(json.dumps(brief, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
