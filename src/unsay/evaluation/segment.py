"""Words -> masks, judged on data sets with true masks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unsay.bundle import Bundle, load_bundle
from unsay.errors import BadInput
from unsay.evaluation.confusion import Confusion
from unsay.evaluation.voc import ANIMALS7, NAMES, Sample, offered_words, read_samples, split_names
from unsay.results import Pixels, Segmentation
from unsay.segmentation.pipeline import segment_pixels

PROTOCOLS = ("unsay",)
"""`unsay`: the photo at its own size, the bundle's one set of constants, all words offered, no sliding window."""
Progress = Callable[[str], None]
SHEET_PHOTOS = 24


def evaluate_segment(
    data: Path,
    bundle: Bundle | str = "starter",
    *,
    split: str = "dev",
    protocol: str = "unsay",
    limit: int | None = None,
    sheet: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a bundle on a folder in VOCdevkit layout: one confusion matrix over the whole split, 255 ignored.

    All 20 words are offered for every photo. `sheet`: where to put a picture of the first photos with their truth.
    Gives mIoU over the seven classes of `voc-animals` and over those of the 21 that occur, IoU per class, the oracle
    (each group takes its majority class), the constants and seconds a photo. Raises `BadInput`.
    """
    if protocol not in PROTOCOLS:
        raise BadInput(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    bundle = load_bundle(bundle)
    total = len(split_names(Path(data), split)[:limit])
    words = offered_words()
    found, oracle = Confusion(len(NAMES)), Confusion(len(NAMES))
    seconds: list[float] = []
    groups: list[int] = []
    tiles: list[Pixels] = []
    for done, sample in enumerate(read_samples(Path(data), split, limit), start=1):
        start = time.perf_counter()
        result = segment_pixels(sample.rgb, words, bundle)
        seconds.append(time.perf_counter() - start)
        groups.append(len(np.unique(result.groups)))
        found.add(sample.truth, result.labels)
        oracle.add(sample.truth, majority(result.groups, sample.truth))
        if sheet is not None and len(tiles) < SHEET_PHOTOS:
            tiles.append(tile(sample, result))
        if progress is not None:
            progress(f"{done} of {total} photos")
    if sheet is not None:
        write_sheet(tiles, sheet)
    return _result(Path(data), split, protocol, bundle, found, oracle, seconds, groups)


def majority(groups: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Every group as the class that most of its pixels truly have: the best labelling these groups allow."""
    valid = truth < len(NAMES)
    counts = np.zeros((int(groups.max()) + 1, len(NAMES)), np.int64)
    np.add.at(counts, (groups[valid], truth[valid]), 1)
    return np.asarray(counts.argmax(1)[groups])


def table(result: dict[str, Any]) -> str:
    """The result as plain text, one row a class."""
    lines = [
        f"{result['data']} {result['split']}: {result['photos']} photos, protocol {result['protocol']}, "
        f"bundle {result['bundle']}",
        f"mIoU-7 {result['miou7']:.3f}   (background, cat, cow, dog, horse, sheep, person)",
        f"mIoU-21 {result['miou21']:.3f}   oracle mIoU-7 of the groups {result['oracle_miou7']:.3f}, "
        f"{result['groups']:.1f} groups a photo",
        f"{result['seconds']:.2f} s a photo, words offered: {', '.join(result['words'])}",
        "constants: " + ", ".join(f"{k} {v}" for k, v in result["constants"].items()),
    ]
    lines += [f"  {name:<12} {'-' if value is None else format(value, '.3f')}" for name, value in result["iou"].items()]
    return "\n".join(lines)


def _result(
    data: Path,
    split: str,
    protocol: str,
    bundle: Bundle,
    found: Confusion,
    oracle: Confusion,
    seconds: list[float],
    groups: list[int],
) -> dict[str, Any]:
    section = bundle.section("segment")
    return {
        "data": data.name,
        "split": split,
        "protocol": protocol,
        "bundle": bundle.name,
        "photos": len(seconds),
        "miou7": found.mean_iou(ANIMALS7),
        "miou21": found.mean_iou(),
        "oracle_miou7": oracle.mean_iou(ANIMALS7),
        "iou": {n: None if np.isnan(v) else round(float(v), 4) for n, v in zip(NAMES, found.iou(), strict=True)},
        "groups": float(np.mean(groups)),
        "seconds": float(np.mean(seconds)),
        "words": offered_words(),
        "constants": {k: v for k, v in section.items() if not isinstance(v, str)},
    }


def tile(sample: Sample, result: Segmentation) -> Pixels:
    """Photo, truth and result side by side, 240 pixels high."""
    views = [
        sample.rgb,
        paint(sample.rgb, np.where(sample.truth == 255, 0, sample.truth)),
        paint(sample.rgb, result.labels),
    ]
    scale = 240 / sample.rgb.shape[0]
    size = (max(1, round(sample.rgb.shape[1] * scale)), 240)
    row = np.hstack([cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in views])
    names = ", ".join(f"{w} {result.scores[w]:.2f}" for w in result.found) or "none"
    cv2.putText(row, names, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1, cv2.LINE_AA)
    return np.asarray(row, np.uint8)


def paint(rgb: Pixels, labels: np.ndarray) -> Pixels:
    """The photo with each class in its VOC colour, half transparent."""
    from unsay.evaluation.voc import colour_map

    colours = colour_map()[labels]
    mixed = (rgb.astype(np.float32) * 0.45 + colours.astype(np.float32) * 0.55).astype(np.uint8)
    return np.asarray(np.where((labels > 0)[..., None], mixed, rgb), np.uint8)


def write_sheet(tiles: list[Pixels], path: Path, columns: int = 2) -> None:
    """Tiles in rows of `columns`, white between them. Raises `BadInput` if the file cannot be written."""
    width = max(t.shape[1] for t in tiles)
    padded = [np.pad(t, ((0, 6), (0, width - t.shape[1] + 6), (0, 0)), constant_values=255) for t in tiles]
    padded += [np.full_like(padded[0], 255)] * (-len(padded) % columns)
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    done, data = cv2.imencode(path.suffix or ".png", np.vstack(rows)[..., ::-1])
    if not done:
        raise BadInput(f"cannot write the picture sheet {path}: use a name ending in .png or .jpg")
    path.write_bytes(data.tobytes())
