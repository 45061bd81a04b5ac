"""Chooses how words without ImageNet classes of their own are taken for their relatives, on composed train scenes.

    unsay prepare scenes --split train --count 150 ... -o runs/scenes-train
    python benchmarks/choose_relatives.py runs/scenes-train --bundle starter -o chosen.json

A random search over `related_scale`, `_weight`, `_floor`, `_similar` and `_bonus`. Each trial asks every scene for its
own such words, and for those of all other scenes; the threshold is put where `ALARMS` of the words that
are not there are found, and the objective is the mean IoU, over groups of pixels, of those that are there (0 where
one is not found). Then the curve of the scores is fitted, words that are there and others weighing the same, and the
threshold moves along. Half of the words can be left out and judged instead (`--held-out`). The printed constants go
into `src/unsay/training/data/recognition.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from choose_constants import SLOPES, balanced_loss
from unsay.bundle import Bundle, load_bundle
from unsay.evaluation.inpaint import read_photo
from unsay.options import SegmentOptions
from unsay.segmentation.asking import ask, read_constants
from unsay.segmentation.pipeline import recognise
from unsay.segmentation.recognition import Constants, evidence, presence
from unsay.segmentation.regions import Scene, look
from unsay.segmentation.sizes import at_size, enlarge
from unsay.training.scenes import read_scenes

SEARCHED = {
    "related_scale": (0.2, 1.6),
    "related_weight": (0.05, 2.5),
    "related_floor": (-9.0, -2.0),
    "related_similar": (0.02, 0.12),
    "related_bonus": (-2.0, 2.0),
}
ALARMS = 0.12
MIDDLES = np.arange(-2.0, 8.0, 0.1)


@dataclass(frozen=True, eq=False)
class Case:
    """A scene as the networks saw it, its things without classes, and pixels per group and thing [K, 1 + things]."""

    scene: Scene
    things: dict[str, int]
    counts: npt.NDArray[np.int64]


def look_at(folder: Path, bundle: Bundle) -> list[Case]:
    """Run the networks over all scenes; a case knows its things whose words are of the kind in question."""
    cases = []
    for scene in read_scenes(folder):
        words = [thing.word for thing in scene.things]
        kin = ask(words, bundle, read_constants(bundle)).kin
        things = {t.word: t.index for t, is_kin in zip(scene.things, kin, strict=True) if is_kin}
        rgb, mask = read_photo(folder / scene.image), cv2.imread(str(folder / scene.mask), cv2.IMREAD_GRAYSCALE)
        seen = look(rgb, bundle)
        groups = enlarge(at_size(seen.groups, rgb), rgb.shape, smooth=False)
        counts = np.zeros((len(seen.regions.area) - 1, 1 + max(t.index for t in scene.things)), np.int64)
        np.add.at(counts, (groups.ravel(), np.asarray(mask).ravel()), 1)
        cases.append(Case(seen, things, counts))
    return cases


def strengths(
    cases: list[Case], words: list[str], bundle: Bundle, constants: Constants
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """How strongly every scene speaks for every word, and whether it has it, both [scenes, N]."""
    queries = ask(words, bundle, constants)
    rows = [presence(evidence(queries, case.scene.regions, constants), constants) for case in cases]
    return np.array(rows), np.array([[w in case.things for w in words] for case in cases])


def score_of(strength: float, constants: Constants) -> float:
    """The score that the curve gives to a strength."""
    return float(1 / (1 + np.exp(constants.related_slope * (constants.related_at - strength))))


def judge(
    cases: list[Case], words: list[str], bundle: Bundle, constants: Constants, cut: float | None = None
) -> dict[str, float]:
    """Mean IoU and share found of the words that are there, share found of the others, the area under the curve; the
    strength from which a word counts as found is `cut`, or where `ALARMS` of the others are found.
    """
    strength, there = strengths(cases, words, bundle, constants)
    absent, present = strength[~there], strength[there]
    cut = float(np.quantile(absent, 1 - ALARMS)) if cut is None else cut
    asked = dataclasses.replace(constants, related_threshold=score_of(cut, constants))
    ious = []
    for case in cases:
        for word, index in case.things.items():
            if word in words:
                on = recognise(case.scene, [word], bundle, asked, SegmentOptions())[0] == 1
                ious.append(case.counts[on, index].sum() / (case.counts[on].sum() + case.counts[~on, index].sum()))
    area = np.mean([(present > value).mean() for value in absent])
    found = {"found": float((present > cut).mean()), "alarms": float((absent > cut).mean())}
    return {"iou": float(np.mean(ious)), **found, "area": float(area), "cut": cut}


def search(cases: list[Case], words: list[str], bundle: Bundle, trials: int, seed: int) -> Constants:
    """Random search from the bundle's own constants."""
    rng, best = np.random.default_rng(seed), read_constants(bundle)
    score = judge(cases, words, bundle, best)
    print("start", rounded(score), flush=True)
    for trial in range(trials):
        names = rng.choice(list(SEARCHED), size=rng.choice([1, 2]), replace=False)
        moved = {str(name): _move(str(name), getattr(best, str(name)), rng) for name in names}
        candidate = dataclasses.replace(best, **moved)
        result = judge(cases, words, bundle, candidate)
        if result["iou"] + result["area"] > score["iou"] + score["area"]:
            best, score = candidate, result
            print(trial, moved, rounded(score), flush=True)
    return calibrate(cases, words, bundle, best, score["cut"])


def calibrate(cases: list[Case], words: list[str], bundle: Bundle, constants: Constants, cut: float) -> Constants:
    """Fit place and slope of the curve; the threshold is the score of `cut`."""
    strength, there = strengths(cases, words, bundle, constants)
    losses = np.array([[balanced_loss(there, strength, s, at) for s in SLOPES] for at in MIDDLES])
    place, steep = np.unravel_index(losses.argmin(), losses.shape)
    fitted = dataclasses.replace(
        constants, related_at=round(float(MIDDLES[place]), 2), related_slope=round(float(SLOPES[steep]), 2)
    )
    return dataclasses.replace(fitted, related_threshold=round(score_of(cut, fitted), 3))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="choose on every other word, judge the rest")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    cases = look_at(arguments.scenes, bundle)
    words = sorted({word for case in cases for word in case.things})
    print(f"{len(words)} words in {len(cases)} scenes", flush=True)
    if arguments.held_out:
        for mine, others in ((words[::2], words[1::2]), (words[1::2], words[::2])):
            chosen = search(cases, mine, bundle, arguments.trials, arguments.seed)
            cut = chosen.related_at + np.log(1 / chosen.related_threshold - 1) / -chosen.related_slope
            print("held out", rounded(judge(cases, others, bundle, chosen, cut)), flush=True)
        return
    constants = search(cases, words, bundle, arguments.trials, arguments.seed)
    kept = {k: v for k, v in dataclasses.asdict(constants).items() if k.startswith("related")}
    print(json.dumps(kept))
    if arguments.output:
        arguments.output.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _move(name: str, value: float, rng: np.random.Generator) -> float:
    low, high = SEARCHED[name]
    return float(round(min(high, max(low, rng.normal(value, (high - low) * rng.choice([0.05, 0.2])))), 3))


def rounded(score: dict[str, float]) -> dict[str, float]:
    """For the log."""
    return {k: round(v, 3) for k, v in score.items()}


if __name__ == "__main__":
    main()
