"""Whether a photo shows a thing at all: the scores of words, before any threshold, against what is known of photos."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from unsay.bundle import Bundle, load_bundle
from unsay.errors import BadInput
from unsay.evaluation.calibration import (
    Scores,
    Truths,
    average_precision,
    break_even,
    even_odds,
    expected_calibration_error,
    reliability,
)
from unsay.evaluation.datasets import OFFICIAL, find_set
from unsay.evaluation.tables import text_table
from unsay.evaluation.voc import ANIMALS7
from unsay.photo import Photo
from unsay.results import Pixels
from unsay.segmentation.pipeline import segment_pixels

COLUMNS = ["noun", "image", "present"]
TRUTHS = {"0": False, "1": True}


@dataclass(frozen=True, eq=False)
class Case:
    """A photo [H, W, 3] uint8 RGB and, for the nouns of which it is known, whether they are in it."""

    rgb: Pixels
    present: dict[str, bool]


@dataclass(frozen=True, eq=False)
class Source:
    """Photos with what is known of them, read one at a time; `name` is the table's or the split's."""

    name: str
    nouns: list[str]
    photos: int
    cases: Iterator[Case]


def evaluate_presence(
    data: Path,
    bundle: Bundle | str = "starter",
    *,
    labels: Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Score how well a bundle tells whether a thing is in a photo; all nouns are asked of a photo at once.

    `labels`: a table (noun, image, present) of photos in `data`, tab-separated. Without it `data` is a VOC folder: a
    noun of mIoU-7 is present where the truth mask of the `split` has its class. Gives average precision per noun and
    its mean, the reliability of all answers and the expected calibration error, as asked and with each noun asked as
    often of photos that have it as of others (`_even`), ready for JSON. Raises `BadInput`.
    """
    if labels is not None and split is not None:
        raise BadInput(f"the table {labels} names its photos, the split {split!r} chooses others: give one of the two")
    source = from_table(Path(data), labels) if labels is not None else from_masks(Path(data), split)
    bundle = load_bundle(bundle)
    answers: dict[str, list[tuple[bool, float]]] = {noun: [] for noun in source.nouns}
    total = min(source.photos, limit) if limit is not None else source.photos
    for done, case in enumerate(islice(source.cases, limit), start=1):
        scores = segment_pixels(case.rgb, source.nouns, bundle).scores
        for noun, present in case.present.items():
            answers[noun].append((present, scores[noun]))
        if progress is not None:
            progress(f"{done} of {total} photos")
    if total < 1:
        raise BadInput(f"{source.name} has no photo to judge: choose another, or a higher limit")
    return {"data": Path(data).name, "source": source.name, "bundle": bundle.name, "photos": total, **_result(answers)}


def from_table(data: Path, labels: Path) -> Source:
    """The photos of a table of labels; they lie in `data` or its folder `images`. Raises `BadInput`."""
    known: dict[str, dict[str, bool]] = {}
    for noun, image, present in _rows(labels):
        if known.setdefault(image, {}).setdefault(noun, present) is not present:
            raise BadInput(f"the table {labels} says both 0 and 1 of {noun!r} in {image}: correct it")
    nouns = list(dict.fromkeys(noun for present in known.values() for noun in present))
    folder = data / "images" if (data / "images").is_dir() else data
    cases = (Case(Photo.open(folder / image).rgb, present) for image, present in known.items())
    return Source(labels.name, nouns, len(known), cases)


def from_masks(data: Path, split: str | None) -> Source:
    """The photos of a split of a VOC folder and the six named classes of mIoU-7. Raises `BadInput`."""
    voc = find_set("voc21")
    split = split or voc.default_split(data)
    names = [synonyms[0] for synonyms in voc.class_names(OFFICIAL)]
    nouns = {noun: names.index(noun) for noun in ANIMALS7[1:]}

    def cases() -> Iterator[Case]:
        for sample in voc.read(data, split):
            seen = set(np.unique(sample.truth).tolist())
            yield Case(sample.rgb, {noun: index in seen for noun, index in nouns.items()})

    return Source(split, list(nouns), len(voc.photo_names(data, split)), cases())


def table(result: dict[str, Any]) -> str:
    """The result as plain text: one row a noun, then the reliability of the scores."""
    nouns = [
        (r["noun"], r["photos"], r["positives"], *(math.nan if r[k] is None else r[k] for k in ("ap", "break_even")))
        for r in result["nouns"]
    ]
    bins = [
        (f"{b['low']:.1f}-{b['high']:.1f}", b["answers"], b["mean_score"], b["present"], even["present"])
        for b, even in zip(result["reliability"], result["reliability_even"], strict=True)
    ]
    return "\n".join(
        [
            f"{result['data']} {result['source']}: {result['photos']} photos, bundle {result['bundle']}",
            f"mean average precision {result['map']:.3f}",
            f"expected calibration error {result['ece_even']:.3f} at even odds (each noun asked as often of photos "
            f"that have it as of others), {result['ece']:.3f} as asked here",
            text_table(["noun", "photos", "positives", "AP", "precision = recall at"], nouns),
            "",
            text_table(["score", "answers", "mean score", "truly present", "at even odds"], bins),
        ]
    )


def _rows(labels: Path) -> Iterator[tuple[str, str, bool]]:
    try:
        text = labels.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the table {labels} cannot be read ({error}): give a text file of labels") from error
    rows = csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    head = next(rows, [])
    if head != COLUMNS:
        raise BadInput(f"the table {labels} begins with {head}; expected the columns {', '.join(COLUMNS)} between tabs")
    for row in rows:
        if len(row) != len(COLUMNS) or row[2] not in TRUTHS:
            raise BadInput(f"{labels} line {rows.line_num}: {row} is not a noun, an image and 0 or 1: correct it")
        yield row[0], row[1], TRUTHS[row[2]]


def _result(answers: dict[str, list[tuple[bool, float]]]) -> dict[str, Any]:
    rows = [_noun_row(noun, *_columns(pairs)) for noun, pairs in answers.items()]
    precisions = [row["ap"] for row in rows if row["ap"] is not None]
    if not precisions:
        raise BadInput(f"none of the nouns {', '.join(answers)} is in any of the photos: judge more of them")
    columns = [_columns(pairs) for pairs in answers.values()]
    present, scores = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    asked = reliability(present, scores)
    even = reliability(present, scores, np.concatenate([even_odds(known) for known, _ in columns]))
    return {
        "map": float(np.mean(precisions)),
        "ece": expected_calibration_error(asked),
        "ece_even": expected_calibration_error(even),
        "nouns": rows,
        "reliability": [asdict(b) for b in asked],
        "reliability_even": [asdict(b) for b in even],
    }


def _noun_row(noun: str, present: Truths, scores: Scores) -> dict[str, Any]:
    figures = {"ap": average_precision(present, scores), "break_even": break_even(present, scores)}
    counts = {"photos": len(present), "positives": int(present.sum())}
    return {"noun": noun, **counts, **{k: None if math.isnan(v) else round(v, 4) for k, v in figures.items()}}


def _columns(pairs: list[tuple[bool, float]]) -> tuple[Truths, Scores]:
    return np.array([p for p, _ in pairs], bool), np.array([s for _, s in pairs], np.float64)
