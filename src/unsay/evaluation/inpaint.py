"""How well holes are filled: random holes of six sizes in photos nobody trained on, against the photos themselves.

Each photo gets one hole per band; the hole depends on the photo's file name, the band and the seed alone, so that
every filler, machine and version is asked the same. Source of the bands and of the measures over the whole photo:
the field's practice (Liu et al. 2018); the holes' shapes are ours.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.evaluation.metrics import Scores, mean_scores, score
from unsay.evaluation.peers import PEERS, RIM_ALONE, Filler, ours
from unsay.evaluation.sheet import Sheet, show_hole
from unsay.evaluation.tables import text_table
from unsay.options import InpaintOptions
from unsay.results import Mask, Pixels
from unsay.training.cutouts import PHOTO_SUFFIXES, in_split
from unsay.training.masks import BANDS, KINDS, random_hole

ALL_BANDS = tuple(range(len(BANDS)))


@dataclass(frozen=True)
class Case:
    """One hole filled by one filler."""

    photo: str
    band: int
    kind: str
    filler: str
    scores: Scores
    seconds: float
    outside: int
    """Pixels outside the hole that changed: 0, unless the filler breaks its promise."""


def evaluate_inpaint(
    data: Path,
    bundle: Bundle | None,
    *,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    bands: Sequence[int] = ALL_BANDS,
    peers: bool = True,
    sheet: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Fill one random hole per photo of the folder `data` and band; return the mean scores, ready for JSON.

    `bundle`: whose filler is judged, as users have it and in its two parts; None judges the peers alone. `split`:
    "train" or "test" keeps the photos whose name falls there. `limit`: the first so many photos by name. `peers`: also
    OpenCV's fillers. `sheet`: a picture file with the first holes. `progress` is called with a line per photo.
    Raises `BadInput` for a folder without photos, an unknown band or split, a photo that cannot be read.
    """
    fillers = ([ours(bundle), ours(bundle, InpaintOptions(match_rim=False)), RIM_ALONE] if bundle else []) + (
        list(PEERS) if peers else []
    )
    if not fillers:
        raise BadInput("nothing to judge: give a bundle, or allow the peers")
    unknown = [band for band in bands if band not in ALL_BANDS]
    if unknown or not bands:
        raise BadInput(f"bands {list(bands)} cannot be judged: choose from 0 to {len(BANDS) - 1}")
    photos = list_photos(data, split, limit)
    drawn = Sheet(sheet) if sheet else None
    cases: list[Case] = []
    for i, path in enumerate(photos):
        rgb = read_photo(path)
        shown = bands[i % len(bands)]  # one hole a photo, so that a sheet shows many photos and every band
        cases += [
            case for b in bands for case in _judge(path.name, rgb, b, seed, fillers, drawn if b == shown else None)
        ]
        if progress:
            progress(f"{i + 1} of {len(photos)}: {path.name}")
    if drawn:
        drawn.write()
    return _result(cases, fillers, {"data": data.name, "photos": len(photos), "split": split, "seed": seed})


def table(result: dict[str, Any]) -> str:
    """The result as text: a table by band and one by shape of hole, the settings below."""
    parts = []
    for title, rows in (("hole", result["bands"]), ("shape", result["kinds"])):
        head = [title, "holes", "filler", "PSNR", "SSIM", "L1 %", "hole PSNR", "structure", "texture", "seconds"]
        parts.append(text_table(head, [_cells(row) for row in rows]))
    parts += [f"{f['name']}: {f['settings']}" for f in result["fillers"]]
    parts.append(
        f"{result['photos']} photos, seed {result['seed']}; PSNR in dB; structure: lower is better; texture: 1"
    )
    for name, wins in result["wins"].items():
        first = result["fillers"][0]["name"]
        parts.append(
            f"holes where {first} has a better PSNR than {name}: "
            + ", ".join(f"{band} {share:.0%}" for band, share in wins.items())
        )
    return "\n".join(parts)


def hole_for(name: str, height: int, width: int, band: int, seed: int) -> tuple[Mask, str]:
    """The hole [height, width] of a photo in a band, and its kind; a pure function of its arguments."""
    digest = hashlib.sha256(name.encode()).digest()
    rng = np.random.default_rng((int.from_bytes(digest[:8], "big"), band, seed))
    kind = KINDS[int(rng.integers(len(KINDS)))]
    return random_hole(rng, height, width, band, kind), kind


def list_photos(data: Path, split: str | None = None, limit: int | None = None) -> list[Path]:
    """The photos right inside the folder `data`, by name. Raises `BadInput` if there are none."""
    if not data.is_dir():
        raise BadInput(f"{data} is not a folder of photos")
    if limit is not None and limit < 1:
        raise BadInput(f"a limit of {limit} photos judges nothing: give at least 1")
    found = sorted(p for p in data.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and in_split(p.name, split or "all"))
    if not found:
        raise BadInput(
            f"no photos in {data} (split {split or 'all'}): expected files ending in {', '.join(PHOTO_SUFFIXES)}"
        )
    return found[:limit]


def read_photo(path: Path) -> Pixels:
    """[H, W, 3] uint8 RGB. Raises `BadInput` if the file cannot be read as a photo."""
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if stored is None:
        raise BadInput(f"{path} cannot be read as a photo: remove it from the folder")
    return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), np.uint8)


def band_name(band: int) -> str:
    """ "20-30%" and so on."""
    low, high = BANDS[band]
    return f"{low * 100:.0f}-{high * 100:.0f}%"


def _judge(name: str, rgb: Pixels, band: int, seed: int, fillers: list[Filler], sheet: Sheet | None) -> list[Case]:
    hole, kind = hole_for(name, rgb.shape[0], rgb.shape[1], band, seed)
    pictures = {"photo": rgb, "hole": show_hole(rgb, hole)}
    cases = []
    for filler in fillers:
        start = time.perf_counter()
        filled = filler.fill(rgb, hole)
        seconds = time.perf_counter() - start
        outside = int(np.count_nonzero((filled != rgb).any(2) & ~hole))
        cases.append(Case(name, band, kind, filler.name, score(filled, rgb, hole), seconds, outside))
        pictures[filler.name] = filled
    if sheet:
        sheet.add(f"{name}, {band_name(band)}, {kind}", **pictures)
    return cases


def _result(cases: list[Case], fillers: list[Filler], about: dict[str, Any]) -> dict[str, Any]:
    names = [f.name for f in fillers]
    bands = sorted({c.band for c in cases})
    rows = [_row(band_name(b), n, [c for c in cases if c.band == b and c.filler == n]) for b in bands for n in names]
    kinds = [_row(k, n, [c for c in cases if c.kind == k and c.filler == n]) for k in KINDS for n in names]
    return {
        "task": "inpaint",
        **about,
        "fillers": [{"name": f.name, "settings": f.settings} for f in fillers],
        "bands": rows,
        "kinds": [row for row in kinds if row["holes"]],
        "wins": _wins(cases, names, bands),
        "outside_changed": {n: sum(c.outside for c in cases if c.filler == n) for n in names},
        "cases": [{**asdict(c), "band": band_name(c.band)} for c in cases],
    }


def _row(group: str, filler: str, cases: list[Case]) -> dict[str, Any]:
    seconds = float(np.mean([c.seconds for c in cases])) if cases else float("nan")
    scores = mean_scores([c.scores for c in cases])
    return {"group": group, "holes": len(cases), "filler": filler, **scores, "seconds": seconds}


def _wins(cases: list[Case], names: list[str], bands: list[int]) -> dict[str, dict[str, float]]:
    """Share of the holes whose PSNR is better by the first filler than by each other, by band."""
    found = {(c.filler, c.photo, c.band): c.scores.psnr for c in cases}
    wins: dict[str, dict[str, float]] = {}
    for other in names[1:]:
        for band in bands:
            pairs = [(v, found[other, p, b]) for (n, p, b), v in found.items() if n == names[0] and b == band]
            wins.setdefault(other, {})[band_name(band)] = float(np.mean([mine > theirs for mine, theirs in pairs]))
    return wins


def _cells(row: dict[str, Any]) -> list[str | float | int]:
    digits = {"psnr": 2, "ssim": 4, "l1": 2, "hole_psnr": 2, "structure": 3, "texture": 2, "seconds": 2}
    return [row["group"], row["holes"], row["filler"], *(f"{row[key]:.{n}f}" for key, n in digits.items())]
