"""Chooses the recognition constants of a bundle on voc-animals' `dev` photos, by coordinate search.

    python benchmarks/choose_constants.py ../shared/data/voc-animals --bundle starter -o chosen.json

The objective is mIoU-7 with all 20 words offered plus a quarter of the F1 with which the six names, each asked alone,
are said to be found. Networks run once; every trial of constants is arithmetic on what they said. The printed constants
go into `src/unsay/training/data/recognition.json`; the next export reads them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unsay.bundle import Bundle, load_bundle
from unsay.evaluation.confusion import Confusion
from unsay.evaluation.datasets import find_set
from unsay.evaluation.segment import offered_words
from unsay.evaluation.voc import ANIMALS7, ANIMALS7_INDICES
from unsay.options import SegmentOptions
from unsay.segmentation.asking import read_constants
from unsay.segmentation.pipeline import recognise
from unsay.segmentation.recognition import Constants
from unsay.segmentation.regions import Scene, look
from unsay.segmentation.sizes import at_size, enlarge

SEARCHED: dict[str, tuple[float, ...]] = {
    "class_weight": (0.3, 0.5, 0.7, 1.0, 1.4),
    "class_floor": (-8.0, -7.0, -6.0, -5.0, -4.0),
    "trust_photos": (0.0, 10.0, 30.0, 100.0, 300.0),
    "alone": (0.0, 0.25, 0.5, 1.0),
    "whole_head": (0.0, 0.5, 1.0),
    "kind_margin": (0.0, 0.4, 0.8, 1.2),
    "unseen_scale": (0.8, 1.0, 1.3, 1.6, 2.0),
    "unseen_bonus": (-0.5, 0.0, 0.5, 1.0, 1.5),
    "background_classes": (0.0, 0.2, 0.4, 0.7),
    "background_margin": (-0.5, 0.0, 0.4, 0.75, 1.2),
    "best_region": (0.2, 0.4, 0.6, 0.8),
    "behind_best": (1.0, 2.0, 3.0, 5.0),
    "behind_rival": (0.0, 0.15, 0.4, 0.8, 1.5, 3.0),
    "middle": (0.3, 0.5, 0.7, 0.85, 1.0),
    "lead": (-1.0, -0.5, 0.0, 0.5, 1.0),
    "thing_margin": (0.0, 0.4, 0.75, 1.2),
    "present_at": (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0),
    "unseen_at": (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0),
}
ALONE = ANIMALS7[1:]


@dataclass(frozen=True, eq=False)
class Looked:
    """A photo as the networks saw it: its scene, and pixels per group and true class [K, 21]."""

    scene: Scene
    counts: np.ndarray


def look_at(data: Path, bundle: Bundle) -> tuple[list[Looked], list[str]]:
    """All `dev` photos, and the 20 words in class order."""
    dataset = find_set("voc21")
    looked = []
    for sample in dataset.read(data, "dev"):
        scene = look(sample.rgb, bundle)
        groups = enlarge(at_size(scene.groups, sample.rgb), sample.rgb, smooth=False)
        valid = sample.truth < 21
        counts = np.zeros((len(scene.regions.area) - 1, 21), np.int64)
        np.add.at(counts, (groups[valid], sample.truth[valid]), 1)
        looked.append(Looked(scene, counts))
    return looked, offered_words(dataset)


def judge(photos: list[Looked], words: list[str], bundle: Bundle, constants: Constants) -> dict[str, float]:
    """mIoU-7, IoU of its classes, and F1 of what is found when named alone."""
    confusion = Confusion(21)
    hits = misses = alarms = 0
    for photo in photos:
        named, _ = recognise(photo.scene, words, bundle, constants, SegmentOptions())
        np.add.at(confusion.counts, (slice(None), named), photo.counts.T)
        for word in ALONE:
            alone, _ = recognise(photo.scene, [word], bundle, constants, SegmentOptions())
            there = photo.counts[:, words.index(word) + 1].any()
            hits += bool(there and alone.any())
            misses += bool(there and not alone.any())
            alarms += bool(not there and alone.any())
    iou = confusion.iou()
    per_class = {f"iou {name}": float(iou[i]) for name, i in zip(ANIMALS7, ANIMALS7_INDICES, strict=True)}
    f1 = 2 * hits / max(1, 2 * hits + misses + alarms)
    miou = confusion.mean_iou(ANIMALS7_INDICES)
    return {"objective": miou + 0.25 * f1, "miou7": miou, "alone_f1": f1, **per_class}


def search(photos: list[Looked], words: list[str], bundle: Bundle, rounds: int) -> tuple[Constants, dict[str, float]]:
    """Coordinate search from the bundle's own constants."""
    best = read_constants(bundle)
    score = judge(photos, words, bundle, best)
    print("start", {k: round(v, 4) for k, v in score.items()}, flush=True)
    for turn in range(rounds):
        before = score["objective"]
        for name, values in SEARCHED.items():
            for value in values:
                trial = dataclasses.replace(best, **{name: value})
                result = judge(photos, words, bundle, trial)
                if result["objective"] > score["objective"] + 1e-4:
                    best, score = trial, result
            print(turn, name, getattr(best, name), {k: round(v, 4) for k, v in score.items()}, flush=True)
        if score["objective"] - before < 1e-3:
            break
    return best, score


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    photos, words = look_at(arguments.data, bundle)
    constants, score = search(photos, words, bundle, arguments.rounds)
    result: dict[str, Any] = {"score": score, "recognition": dataclasses.asdict(constants)}
    print(json.dumps(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
