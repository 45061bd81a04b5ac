"""How well things are erased by name: composed scenes, whose true backgrounds and exact masks are known (ours).

For every thing in every scene its word is given, and the result compared with the true background over the thing's
area. The same cases with the true mask, and with Telea's filling, tell what the mask costs and what the filling does.
A thing that was not found stays as it is, and counts so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.stats import wilcoxon

from unsay.bundle import Bundle
from unsay.errors import BadInput, NotFound
from unsay.evaluation.inpaint import read_photo
from unsay.evaluation.metrics import psnr, structure_distance, texture_ratio
from unsay.evaluation.peers import TELEA, lay_over, ours
from unsay.evaluation.sheet import Sheet, show_hole
from unsay.evaluation.tables import text_table
from unsay.options import EraseOptions, InpaintOptions
from unsay.results import Mask, Pixels
from unsay.training.scenes import Scene, Thing, read_scenes

OURS, OUR_MASK, TRUE_MASK, TRUE_TELEA, UNTOUCHED = (
    "our mask, our fill",
    "our mask, Telea",
    "true mask, our fill",
    "true mask, Telea",
    "photo as it was",
)
METHODS = (OURS, OUR_MASK, TRUE_MASK, TRUE_TELEA, UNTOUCHED)
MEASURES = ("psnr", "structure", "texture")


@dataclass(frozen=True)
class Case:
    """One thing erased from one scene. `left`, `touched`, `iou` in [0, 1]; `scores`: measures by method."""

    scene: str
    word: str
    area: float
    """Share of the scene that the thing covers."""
    status: str
    """ "erased", "not found", or "refused", and then why in `note`: what was found covers the whole photo, say."""
    iou: float
    """Overlap of the mask, before it is grown, with the true one."""
    left: float
    """Share of the thing outside the grown hole."""
    touched: float
    """Share of the rest of the photo inside it; the rim by which every mask is grown is in here."""
    seconds: float
    note: str
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class _Attempt:
    """What naming the thing gave: the grown hole, the mask before, the photo after."""

    status: str
    mask: Mask
    hole: Mask
    photo: Pixels
    seconds: float
    note: str = ""


def evaluate_erase(
    data: Path,
    bundle: Bundle,
    *,
    options: EraseOptions | None = None,
    split: str | None = None,
    limit: int | None = None,
    sheet: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Erase every thing of the scenes in the folder `data` by its word; return rates and mean scores, ready for JSON.

    `split`: only scenes of that split. `limit`: the first so many scenes. `sheet`: a picture file with the first
    cases. `progress` is called with a line of text per scene.
    Raises `BadInput` for a folder without such scenes, `BundleError` for a bundle that lacks a part.
    """
    scenes = [s for s in read_scenes(data) if split in (None, "all", s.split)][:limit]
    if not scenes or (limit is not None and limit < 1):
        raise BadInput(f"no scenes to judge in {data} (split {split or 'all'}, limit {limit}): ask for others")
    drawn = Sheet(sheet) if sheet else None
    cases: list[Case] = []
    for i, scene in enumerate(scenes):
        cases += _judge_scene(data, scene, bundle, options or EraseOptions(), drawn)
        if progress:
            progress(f"{i + 1} of {len(scenes)}: {', '.join(scene.words)}")
    if drawn:
        drawn.write()
    return _result(cases, {"data": data.name, "scenes": len(scenes), "split": split, "bundle": bundle.name})


def table(result: dict[str, Any]) -> str:
    """The result as text: what was found, then the mean scores by method."""
    rates = result["rates"]
    lines = [
        f"{result['cases_judged']} things in {result['scenes']} scenes, bundle {result['bundle']}",
        f"not found {rates['not_found']:.0%}, refused {rates['refused']:.0%}; of the others: "
        f"mask IoU {rates['iou']:.2f}, thing left {rates['left']:.1%}, rest touched {rates['touched']:.1%}, "
        f"{rates['seconds']:.2f} s each",
        f"mIoU over {result['nouns']} nouns, 0 where one is not found: {rates['miou']:.3f}",
    ]
    rows = []
    for group in ("all", "found"):
        for row in result[group]:
            scores = (f"{row['psnr']:.2f}", f"{row['structure']:.3f}", f"{row['texture']:.2f}")
            rows.append([group, row["things"], row["method"], *scores])
    lines.append(text_table(["cases", "things", "method", "PSNR", "structure", "texture"], rows))
    for method, pair in result["paired"].items():
        counts = f"better {pair['better']}, worse {pair['worse']}, equal {pair['equal']}"
        lines.append(f"{OURS} against {method}, PSNR: {counts} (Wilcoxon p = {pair['p']:.2g})")
    lines.append(f"over the thing's area, against the true background; {TELEA.name}: {TELEA.settings}")
    return "\n".join(lines)


def _judge_scene(data: Path, scene: Scene, bundle: Bundle, options: EraseOptions, sheet: Sheet | None) -> list[Case]:
    rgb, truth = read_photo(data / scene.image), read_photo(data / scene.background)
    index = cv2.imread(str(data / scene.mask), cv2.IMREAD_UNCHANGED)
    if index is None or index.shape != rgb.shape[:2] or truth.shape != rgb.shape:
        raise BadInput(
            f"{data / scene.mask} cannot be read or is of another size than its photo: make the scenes again"
        )
    return [
        _judge(scene, thing, rgb, truth, index == thing.index, bundle, options, sheet if thing.index == 1 else None)
        for thing in scene.things
    ]


def _judge(
    scene: Scene,
    thing: Thing,
    rgb: Pixels,
    truth: Pixels,
    area: Mask,
    bundle: Bundle,
    options: EraseOptions,
    sheet: Sheet | None,
) -> Case:
    from unsay.inpainting import grow_mask, settled

    inpaint = settled(options.inpaint, rgb.shape)
    mine = _attempt(rgb, thing.word, bundle, replace(options, inpaint=inpaint))
    grown = grow_mask(area, inpaint.grow or 0)
    feathered = InpaintOptions(grow=0, feather=inpaint.feather)
    photos = {
        OURS: mine.photo,
        OUR_MASK: TELEA.fill(rgb, mine.hole) if mine.status == "erased" else rgb,
        TRUE_MASK: ours(bundle, feathered).fill(rgb, grown),
        TRUE_TELEA: TELEA.fill(rgb, grown),
        UNTOUCHED: rgb,
    }
    if sheet and not sheet.full:
        shown = {name.replace(",", ""): photo for name, photo in photos.items() if name not in (UNTOUCHED, TRUE_TELEA)}
        title = f"{scene.name}: {thing.word} ({mine.status})"
        sheet.add(title, photo=rgb, hole=show_hole(rgb, mine.hole), **shown, truth=truth)
    return Case(
        scene=scene.name,
        word=thing.word,
        area=float(area.mean()),
        status=mine.status,
        iou=float((mine.mask & area).sum() / max(1, (mine.mask | area).sum())),
        left=float((area & ~mine.hole).sum() / area.sum()),
        touched=float((mine.hole & ~area).sum() / max(1, (~area).sum())),
        seconds=mine.seconds,
        note=mine.note,
        scores={method: _scores(photo, truth, area) for method, photo in photos.items()},
    )


def _attempt(rgb: Pixels, word: str, bundle: Bundle, options: EraseOptions) -> _Attempt:
    from unsay.erasing import erase_pixels

    start = time.perf_counter()
    nothing = np.zeros(rgb.shape[:2], bool)
    try:
        erased = erase_pixels(rgb, [word], bundle, options)
    except NotFound:
        return _Attempt("not found", nothing, nothing, rgb, time.perf_counter() - start)
    except BadInput as error:
        return _Attempt("refused", nothing, nothing, rgb, time.perf_counter() - start, str(error))
    photo = lay_over(rgb, erased.patches)
    return _Attempt("erased", erased.segmentation.mask(word), erased.hole, photo, time.perf_counter() - start)


def _scores(photo: Pixels, truth: Pixels, area: Mask) -> dict[str, float]:
    return {
        "psnr": psnr(photo, truth, area),
        "structure": structure_distance(photo, truth, area),
        "texture": texture_ratio(photo, truth, area),
    }


def _result(cases: list[Case], about: dict[str, Any]) -> dict[str, Any]:
    found = [c for c in cases if c.status == "erased"]
    rates = {s.replace(" ", "_"): sum(c.status == s for c in cases) / len(cases) for s in ("not found", "refused")}
    for name in ("iou", "left", "touched", "seconds"):
        rates[name] = float(np.mean([getattr(c, name) for c in found])) if found else 0.0
    nouns = {c.word: [other.iou for other in cases if other.word == c.word] for c in cases}
    rates["miou"] = float(np.mean([np.mean(ious) for ious in nouns.values()]))
    return {
        "task": "erase",
        **about,
        "cases_judged": len(cases),
        "nouns": len(nouns),
        "rates": rates,
        "all": [_row(method, cases) for method in METHODS],
        "found": [_row(method, found) for method in METHODS] if found else [],
        "paired": {method: _paired(cases, method) for method in METHODS[1:]},
        "cases": [asdict(c) for c in cases],
    }


def _row(method: str, cases: list[Case]) -> dict[str, Any]:
    """Means over cases; of the texture ratios the geometric mean."""
    values = {m: np.array([c.scores[method][m] for c in cases]) for m in MEASURES}
    means = {m: float(v.mean()) for m, v in values.items()} | {
        "texture": float(np.exp(np.log(values["texture"]).mean()))
    }
    return {"method": method, "things": len(cases), **means}


def _paired(cases: list[Case], method: str) -> dict[str, float]:
    """How often the whole of ours is nearer the truth (PSNR) than `method`, and how likely that is chance."""
    gains = np.array([c.scores[OURS]["psnr"] - c.scores[method]["psnr"] for c in cases])
    p = float(wilcoxon(gains, zero_method="zsplit").pvalue) if gains.any() else 1.0
    return {"better": int((gains > 0).sum()), "worse": int((gains < 0).sum()), "equal": int((gains == 0).sum()), "p": p}
