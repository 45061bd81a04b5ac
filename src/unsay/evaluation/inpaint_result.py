"""What an evaluation of fillers found: means by hole ratio and by shape, as JSON, as text tables and as CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from unsay.evaluation.absent import Absent
from unsay.evaluation.deep import DeepNetworks, Float, frechet_distance
from unsay.evaluation.metrics import Scores, mean_scores
from unsay.evaluation.peers import Filler
from unsay.evaluation.tables import text_table
from unsay.training.masks import BANDS, KINDS

COLUMNS = {
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "l1": ("L1 %", 2),
    "hole_psnr": ("hole PSNR", 2),
    "structure": ("structure", 3),
    "texture": ("texture", 2),
    "lpips": ("LPIPS", 3),
    "fid": ("FID", 1),
    "seconds": ("seconds", 2),
}
"""Measures with their heads and digits; LPIPS and FID are printed where they were taken."""


@dataclass(frozen=True, eq=False)
class Case:
    """One hole filled by one filler."""

    photo: str
    band: int
    kind: str
    filler: str
    scores: Scores
    lpips: float | None
    seconds: float
    outside: int
    """Pixels outside the hole that changed: 0, unless the filler breaks its promise."""
    described: tuple[Float | None, Float | None] = field(default=(None, None), repr=False)
    """The filled and the true photo for FID, [D] each; None without its network."""


def result_of(
    cases: list[Case], fillers: Sequence[Filler], networks: DeepNetworks, about: dict[str, Any], absent: list[Absent]
) -> dict[str, Any]:
    """Everything that is known, ready for JSON; `about` says what was judged."""
    names = [f.name for f in fillers]
    bands = sorted({c.band for c in cases})
    rows = [_row(band_name(b), n, [c for c in cases if c.band == b and c.filler == n]) for b in bands for n in names]
    kinds = [_row(k, n, [c for c in cases if c.kind == k and c.filler == n]) for k in KINDS for n in names]
    deep = {"LPIPS": networks.lpips, "FID": networks.fid}
    return {
        "task": "inpaint",
        **about,
        "fillers": [_named(filler) for filler in fillers],
        "networks": [{"name": name, "settings": one.settings} for name, one in deep.items() if one],
        "left_out": [asdict(one) for one in absent],
        "bands": rows,
        "kinds": [row for row in kinds if row["holes"]],
        "wins": _wins(cases, names, bands),
        "outside_changed": {n: sum(c.outside for c in cases if c.filler == n) for n in names},
        "cases": [_plain(case) for case in cases],
    }


def table(result: dict[str, Any]) -> str:
    """The result as text: a table by band and one by shape of hole, then the settings and what was left out."""
    parts = []
    for title, rows in (("hole", result["bands"]), ("shape", result["kinds"])):
        columns = [key for key in COLUMNS if key in rows[0]]
        head = [title, "holes", "filler", *(COLUMNS[key][0] for key in columns)]
        parts.append(text_table(head, [_cells(row, columns) for row in rows]))
    parts += [f"{f['name']}: {f['settings']}" for f in [*result["fillers"], *result["networks"]]]
    parts += [f"{one['name']}: left out, {one['reason']}" for one in result["left_out"]]
    parts += [
        f"{result['photos']} photos, seed {result['seed']}; PSNR in dB; texture: 1 is the photo's own; "
        "structure, LPIPS, FID: lower is better"
    ]
    for name, wins in result["wins"].items():
        first = result["fillers"][0]["name"]
        parts.append(
            f"holes where {first} has a better PSNR than {name}: "
            + ", ".join(f"{band} {share:.0%}" for band, share in wins.items())
        )
    return "\n".join(parts)


def lines(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A line of CSV for each hole and filler: photo, hole, filler with package, version and options, every measure."""
    named = {f["name"]: {"filler": f["name"], **f} for f in result["fillers"]}
    about = ("filler", "package", "version", "options")
    return [
        {
            **{key: case[key] for key in ("photo", "band", "kind")},
            **{key: named[case["filler"]][key] for key in about},
            **case["scores"],
            **{key: case[key] for key in ("lpips", "seconds", "outside") if key in case},
        }
        for case in result["cases"]
    ]


def band_name(band: int) -> str:
    """ "20-30%" and so on."""
    low, high = BANDS[band]
    return f"{low * 100:.0f}-{high * 100:.0f}%"


def _named(filler: Filler) -> dict[str, str]:
    named = {key: getattr(filler, key) for key in ("name", "package", "version", "options")}
    return {**named, "settings": filler.settings}


def _plain(case: Case) -> dict[str, Any]:
    """The case for JSON."""
    plain = {key: getattr(case, key) for key in ("photo", "kind", "filler", "seconds", "outside")}
    deep = {} if case.lpips is None else {"lpips": case.lpips}
    return {**plain, "band": band_name(case.band), "scores": asdict(case.scores), **deep}


def _row(group: str, filler: str, cases: list[Case]) -> dict[str, Any]:
    seconds = float(np.mean([c.seconds for c in cases])) if cases else float("nan")
    scores = mean_scores([c.scores for c in cases])
    return {"group": group, "holes": len(cases), "filler": filler, **scores, **_deep(cases), "seconds": seconds}


def _deep(cases: list[Case]) -> dict[str, float | None]:
    """Mean LPIPS, and FID of all filled photos against the true ones; None for FID of fewer than two."""
    measures: dict[str, float | None] = {}
    distances = [c.lpips for c in cases if c.lpips is not None]
    if distances:
        measures["lpips"] = float(np.mean(distances))
    pairs = [(ours, theirs) for ours, theirs in (c.described for c in cases) if ours is not None and theirs is not None]
    if pairs:
        distance = frechet_distance(*(np.stack(rows) for rows in zip(*pairs, strict=True)))
        measures["fid"] = None if math.isnan(distance) else distance
    return measures


def _wins(cases: list[Case], names: list[str], bands: list[int]) -> dict[str, dict[str, float]]:
    """Share of the holes whose PSNR is better by the first filler than by each other, by band."""
    found = {(c.filler, c.photo, c.band): c.scores.psnr for c in cases}
    wins: dict[str, dict[str, float]] = {}
    for other in names[1:]:
        for band in bands:
            pairs = [(v, found[other, p, b]) for (n, p, b), v in found.items() if n == names[0] and b == band]
            wins.setdefault(other, {})[band_name(band)] = float(np.mean([mine > theirs for mine, theirs in pairs]))
    return wins


def _cells(row: dict[str, Any], columns: list[str]) -> list[str | float | int]:
    values = ["-" if row[key] is None else f"{row[key]:.{COLUMNS[key][1]}f}" for key in columns]
    return [row["group"], row["holes"], row["filler"], *values]
