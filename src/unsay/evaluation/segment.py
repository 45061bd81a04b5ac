"""Words -> masks, judged on a data set with true masks under a named protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.bundle import Bundle, load_bundle
from unsay.errors import BadInput
from unsay.evaluation.confusion import IGNORED, Confusion
from unsay.evaluation.datasets import OFFICIAL, DataSet, Sample, find_set
from unsay.evaluation.protocols import WORDS_PROTOCOL, Protocol, make_protocol
from unsay.evaluation.sheet import Sheet
from unsay.evaluation.voc import ANIMALS7, colour_map
from unsay.evaluation.window import encode_names, predict
from unsay.results import Pixels
from unsay.segmentation.grouping import Labels
from unsay.segmentation.pipeline import segment_pixels

Progress = Callable[[str], None]
Classes = npt.NDArray[np.uint8]
SHEET_PHOTOS = 24


@dataclass(frozen=True, eq=False)
class Prediction:
    """`classes` [H, W] uint8: class indices, 255 = none of them. `groups` [H, W]: the photo's one partition, if any."""

    classes: Classes
    groups: Labels | None = None


Predictor = Callable[[Pixels], Prediction]


@dataclass(eq=False)
class Tally:
    """What is counted while photos are judged. `oracle`: each group as the class that most of its pixels have."""

    found: Confusion
    oracle: Confusion
    seconds: list[float] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def add(self, sample: Sample, prediction: Prediction, seconds: float) -> None:
        """Count one photo."""
        self.found.add(sample.truth, prediction.classes)
        self.seconds.append(seconds)
        if prediction.groups is not None:
            self.groups.append(len(np.unique(prediction.groups)))
            self.oracle.add(sample.truth, majority(prediction.groups, sample.truth, len(self.oracle.counts)))


def evaluate_segment(
    data: Path,
    bundle: Bundle | str = "starter",
    *,
    dataset: str = "voc21",
    split: str | None = None,
    protocol: str = WORDS_PROTOCOL,
    limit: int | None = None,
    sheet: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a bundle on a folder in a set's own layout: one confusion matrix over the whole split, 255 ignored.

    All the set's names are offered for every photo. `split` None: the set's usual one (`dev` where a VOC folder has
    it). `sheet`: where to put a picture of the first photos with their truth. Gives mIoU over the classes that occur,
    IoU per class, everything the protocol fixes, the bundle's constants and seconds a photo; under `unsay` the oracle
    too. Raises `BadInput` for a set, split, protocol or file that is not there.
    """
    judged = find_set(dataset)
    settings = make_protocol(protocol, judged)
    data = Path(data)
    split = split or judged.default_split(data)
    total = len(judged.photo_names(data, split)[:limit])
    if total == 0:
        raise BadInput(f"the split {split!r} of {data} has no photo to judge: choose another, or a higher limit")
    bundle = load_bundle(bundle)
    predictor = make_predictor(settings, judged, bundle)
    pictures = Sheet(sheet, rows=SHEET_PHOTOS) if sheet is not None else None
    tally = Tally(Confusion(judged.classes), Confusion(judged.classes))
    for done, sample in enumerate(judged.read(data, split, limit), start=1):
        start = time.perf_counter()
        prediction = predictor(sample.rgb)
        tally.add(sample, prediction, time.perf_counter() - start)
        if pictures is not None and not pictures.full:
            _draw(pictures, sample, prediction, judged)
        if progress is not None:
            progress(f"{done} of {total} photos")
    if pictures is not None:
        pictures.write()
    return {"data": data.name, "split": split, **_result(settings, judged, bundle, tally)}


def make_predictor(protocol: Protocol, dataset: DataSet, bundle: Bundle) -> Predictor:
    """What turns a photo [H, W, 3] into class indices under a protocol; names are encoded once."""
    windows = protocol.windows
    if windows is None:
        words = offered_words(dataset)
        return lambda rgb: _by_words(rgb, words, dataset, bundle)
    names = encode_names(protocol, windows, dataset, bundle)
    return lambda rgb: Prediction(predict(rgb, names, windows, bundle))


def offered_words(dataset: DataSet) -> list[str]:
    """The words offered under `unsay`, in class order and without the background."""
    return [names[0] for names in dataset.class_names(WORDS_PROTOCOL)[int(dataset.background) :]]


def majority(groups: Labels, truth: Classes, classes: int) -> Classes:
    """Every group as the class that most of its judged pixels truly have: the best labelling these groups allow."""
    judged = truth != IGNORED
    counts = np.zeros((int(groups.max()) + 1, classes), np.int64)
    np.add.at(counts, (groups[judged], truth[judged]), 1)
    return np.asarray(counts.argmax(1)[groups], np.uint8)


def table(result: dict[str, Any]) -> str:
    """The result as plain text, one row a class."""
    lines = [
        f"{result['data']} {result['split']} as {result['set']}: {result['photos']} photos, "
        f"protocol {result['protocol']}, bundle {result['bundle']}, {result['seconds']:.2f} s a photo"
    ]
    if "miou7" in result:
        lines.append(f"mIoU-7 {result['miou7']:.3f}   ({', '.join(ANIMALS7)})")
    lines.append(f"mIoU-{len(result['iou'])} {result['miou']:.3f}   over the classes that occur or were predicted")
    if "oracle_miou" in result:
        seven = f", mIoU-7 {result['oracle_miou7']:.3f}" if "oracle_miou7" in result else ""
        lines.append(f"oracle of the groups: mIoU {result['oracle_miou']:.3f}{seven}, {result['groups']:.1f} a photo")
    if "words" in result:
        lines.append(f"words offered: {', '.join(result['words'])}")
    lines += [f"{part}: {_flat(result[part])}" for part in ("settings", "constants")]
    width = max(12, *(len(name) for name in result["iou"]))
    rows = ((name, "-" if iou is None else f"{iou:.3f}") for name, iou in result["iou"].items())
    return "\n".join(lines + [f"  {name:<{width}} {iou}" for name, iou in rows])


def _by_words(rgb: Pixels, words: list[str], dataset: DataSet, bundle: Bundle) -> Prediction:
    """Label i is the i-th word: the i-th class after the background, or of a set that has none; else no class."""
    result = segment_pixels(rgb, words, bundle)
    classes = result.labels if dataset.background else np.where(result.labels == 0, IGNORED, result.labels - 1)
    return Prediction(classes.astype(np.uint8), result.groups)


def _result(protocol: Protocol, dataset: DataSet, bundle: Bundle, tally: Tally) -> dict[str, Any]:
    names = [synonyms[0] for synonyms in dataset.class_names(OFFICIAL)]
    ious = zip(names, tally.found.iou().tolist(), strict=True)
    result: dict[str, Any] = {
        "set": dataset.name,
        "protocol": protocol.family,
        "bundle": bundle.name,
        "photos": len(tally.seconds),
        "miou": tally.found.mean_iou(),
        "iou": {name: None if np.isnan(value) else round(value, 4) for name, value in ious},
        "seconds": float(np.mean(tally.seconds)),
        "settings": protocol.settings(),
        "constants": {k: v for k, v in bundle.section("segment").items() if not isinstance(v, str)},
    }
    seven = [names.index(name) for name in ANIMALS7] if dataset.name == "voc21" else []
    if seven:
        result |= {"miou7": tally.found.mean_iou(seven), "miou21": result["miou"]}
    if tally.groups:
        result |= {"groups": float(np.mean(tally.groups)), "oracle_miou": tally.oracle.mean_iou()}
        result |= {"words": offered_words(dataset)}
    if tally.groups and seven:
        result["oracle_miou7"] = tally.oracle.mean_iou(seven)
    return result


def _flat(settings: dict[str, Any]) -> str:
    shown = ((name, value if isinstance(value, str) else json.dumps(value)) for name, value in settings.items())
    return ", ".join(f"{name} {value}" for name, value in shown)


def _draw(sheet: Sheet, sample: Sample, prediction: Prediction, dataset: DataSet) -> None:
    names = [synonyms[0] for synonyms in dataset.class_names(OFFICIAL)]
    found = [names[i] for i in np.unique(prediction.classes).tolist() if int(dataset.background) <= i < len(names)]
    truth, result = (_paint(sample.rgb, c, dataset) for c in (sample.truth, prediction.classes))
    sheet.add(f"{sample.name}: {', '.join(found) or 'none'}"[:80], photo=sample.rgb, truth=truth, result=result)


def _paint(rgb: Pixels, classes: Classes, dataset: DataSet) -> Pixels:
    """The photo with each class in a colour of VOC's map, half transparent; background and 255 as they are."""
    shift = int(not dataset.background)  # colour 0 is black, which is to mean the background alone
    colours = colour_map()[(classes.astype(np.int64) + shift) % 256]
    mixed = (rgb.astype(np.float32) * 0.45 + colours.astype(np.float32) * 0.55).astype(np.uint8)
    shown = (classes != IGNORED) & (classes + shift > 0)
    return np.asarray(np.where(shown[..., None], mixed, rgb), np.uint8)
