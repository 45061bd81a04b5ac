"""Chooses the recognition constants of a bundle on voc-animals' `dev` photos and Flickr8k's val photos.

    python benchmarks/choose_constants.py ../shared/data --bundle starter --trials 4000 -o chosen.json

A random search: each trial moves one to three constants and is kept where the objective grows. That is mIoU-7 with
all 20 words offered + 0.15 of the worst class's IoU + 0.25 of the F1 with which the six names, each asked alone, are
said to be found (all on `dev`) + 0.5 of the mean average precision of presence on Flickr8k val + 0.25 of that of the
six names on `dev` + 0.5 of the mean of two shares of Flickr8k val's photos, with all 20 words offered: of those with
a word for a person in at least 3 sentences, where a region is named person, and of those with none, where no region
is. Then both calibration curves are fitted to the presence answers of both sets, photos that have a noun and others
weighing the same, and the thresholds are put where the same words as before are found. Networks run once; every trial
is arithmetic on what they said. `--held-out` searches on every other photo of `dev` from the defaults of `Constants`,
judges the rest, the same the other way round, and prints the means: what a choice is worth on new photos. The printed
constants go into `src/unsay/training/data/recognition.json`; the next export reads them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.bundle import Bundle, load_bundle
from unsay.evaluation.calibration import average_precision
from unsay.evaluation.confusion import Confusion
from unsay.evaluation.datasets import find_set
from unsay.evaluation.presence import from_table
from unsay.evaluation.segment import offered_words
from unsay.evaluation.voc import ANIMALS7, ANIMALS7_INDICES
from unsay.options import SegmentOptions
from unsay.segmentation.asking import ask, read_constants
from unsay.segmentation.lexicon import Lexicon, bundle_lexicon
from unsay.segmentation.pipeline import recognise
from unsay.segmentation.recognition import Constants, evidence, presence
from unsay.segmentation.regions import Scene, look
from unsay.segmentation.sizes import at_size, enlarge

SEARCHED: dict[str, tuple[float, float]] = {
    "class_weight": (0.2, 1.6),
    "class_floor": (-9.0, -3.5),
    "trust_photos": (5.0, 500.0),
    "alone": (0.0, 1.5),
    "whole_head": (0.0, 1.0),
    "kind_margin": (0.0, 2.5),
    "unseen_scale": (0.4, 2.2),
    "unseen_bonus": (-1.0, 2.5),
    "worn_weight": (0.0, 1.5),
    "worn_floor": (-8.0, -1.0),
    "background_classes": (0.0, 0.8),
    "background_margin": (-1.0, 2.5),
    "best_region": (0.1, 1.0),
    "behind_best": (0.8, 6.0),
    "behind_rival": (0.0, 3.0),
    "middle": (0.2, 1.0),
    "lead": (-1.0, 1.5),
    "thing_margin": (-0.5, 1.5),
    "threshold": (0.02, 0.98),
    "unseen_threshold": (0.02, 0.98),
}
"""The range of each constant; a step is a normal one of 5, 15 or 40% of it."""
STEPS = (0.05, 0.15, 0.4)
SLOPES = np.geomspace(0.3, 6.0, 40)
MIDDLES = np.arange(-1.0, 7.0, 0.1)
ALONE = ANIMALS7[1:]
SAID = 3
"""Sentences of a photo, of 5, that have to speak of a person."""


@dataclass(frozen=True, eq=False)
class Looked:
    """A photo as the networks saw it: its scene, and pixels per group and true class [K, 21]."""

    scene: Scene
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Data:
    """What is judged on: `photos` of `dev` with the 20 `words` in class order; `cases`, scenes of Flickr8k val with
    what is known of the presence of the `nouns`; `people`, scenes of the same with whether a person is there.
    """

    photos: list[Looked]
    words: list[str]
    cases: list[tuple[Scene, dict[str, bool]]]
    nouns: list[str]
    people: list[tuple[Scene, bool]]


def look_at(data: Path, bundle: Bundle) -> Data:
    """Run the networks over both sets."""
    dataset = find_set("voc21")
    photos = []
    for sample in dataset.read(data / "voc-animals", "dev"):
        scene = look(sample.rgb, bundle)
        groups = enlarge(at_size(scene.groups, sample.rgb), sample.rgb.shape, smooth=False)
        valid = sample.truth < 21
        counts = np.zeros((len(scene.regions.area) - 1, 21), np.int64)
        np.add.at(counts, (groups[valid], sample.truth[valid]), 1)
        photos.append(Looked(scene, counts))
    source = from_table(data / "flickr8k", data / "flickr8k" / "presence-val.tsv")
    cases = [(look(case.rgb, bundle), case.present) for case in source.cases]
    with_people = people_said(data / "flickr8k" / "captions-val.tsv", bundle_lexicon(bundle))
    names = _photos_of(data / "flickr8k" / "presence-val.tsv")
    people = [(scene, with_people[name]) for name, (scene, _) in zip(names, cases, strict=True) if name in with_people]
    return Data(photos, offered_words(dataset), cases, source.nouns, people)


def people_said(captions: Path, lexicon: Lexicon) -> dict[str, bool]:
    """Photos with a word for a person in at least `SAID` sentences (True), and those with it in none (False)."""
    words = {"person", *(lexicon.vocabulary[i] for i in lexicon.narrower["person"])}
    said: dict[str, int] = {}
    for line in captions.read_text(encoding="utf-8").splitlines()[1:]:
        name, sentence = line.split("\t", 1)
        has = any(lexicon.normal(w) in words for w in re.findall("[a-z]+", sentence.lower()))
        said[name] = said.get(name, 0) + has
    return {name: count >= SAID for name, count in said.items() if count >= SAID or not count}


def judge(data: Data, bundle: Bundle, constants: Constants) -> dict[str, float]:
    """The objective and its parts, by name."""
    confusion = Confusion(21)
    hits = misses = alarms = 0
    for photo in data.photos:
        named, _ = recognise(photo.scene, data.words, bundle, constants, SegmentOptions())
        np.add.at(confusion.counts, (slice(None), named), photo.counts.T)
        for word in ALONE:
            alone, _ = recognise(photo.scene, [word], bundle, constants, SegmentOptions())
            there = photo.counts[:, data.words.index(word) + 1].any()
            hits += bool(there and alone.any())
            misses += bool(there and not alone.any())
            alarms += bool(not there and alone.any())
    iou = confusion.iou()
    per_class = {f"iou {name}": float(iou[i]) for name, i in zip(ANIMALS7, ANIMALS7_INDICES, strict=True)}
    result = {
        "miou7": confusion.mean_iou(ANIMALS7_INDICES),
        "alone_f1": 2 * hits / max(1, 2 * hits + misses + alarms),
        "presence_nouns": _precision(answers(data.cases, data.nouns, bundle, constants)),
        "presence_animals": _precision(answers(_animal_cases(data), ALONE, bundle, constants)),
        "people": _people(data, bundle, constants),
    }
    worst = min(per_class.values())
    objective = (
        result["miou7"]
        + 0.15 * worst
        + 0.25 * result["alone_f1"]
        + 0.5 * result["presence_nouns"]
        + 0.25 * result["presence_animals"]
        + 0.5 * result["people"]
    )
    return {"objective": objective, **result, **per_class}


def answers(
    cases: list[tuple[Scene, dict[str, bool]]], nouns: list[str], bundle: Bundle, constants: Constants
) -> dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]]:
    """For each noun whether it is there and how strongly the photo speaks for it, over the photos where it is known."""
    queries = ask(nouns, bundle, constants)
    strength = [presence(evidence(queries, scene.regions, constants), constants) for scene, _ in cases]
    rows = {}
    for place, noun in enumerate(nouns):
        known = [(there[noun], s[place]) for (_, there), s in zip(cases, strength, strict=True) if noun in there]
        rows[noun] = np.array([there for there, _ in known], bool), np.array([s for _, s in known], np.float32)
    return rows


def search(
    data: Data, bundle: Bundle, trials: int, seed: int, start: Constants | None = None
) -> tuple[Constants, dict[str, float]]:
    """Random search from `start`, or the bundle's own constants."""
    rng = np.random.default_rng(seed)
    best = start or read_constants(bundle)
    score = judge(data, bundle, best)
    print("start", _rounded(score), flush=True)
    for trial in range(trials):
        names = rng.choice(list(SEARCHED), size=rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]), replace=False)
        moved = {str(name): _move(str(name), getattr(best, str(name)), rng) for name in names}
        candidate = dataclasses.replace(best, **moved)
        result = judge(data, bundle, candidate)
        if result["objective"] > score["objective"] + 1e-4:
            best, score = candidate, result
            print(trial, moved, _rounded(score), flush=True)
    return best, score


def held_out(data: Data, bundle: Bundle, trials: int, seed: int) -> dict[str, float]:
    """Means of what either half of both sets gives with constants that were chosen on the other."""
    halves = [Data(data.photos[i::2], data.words, data.cases[i::2], data.nouns, data.people[i::2]) for i in (0, 1)]
    scores = []
    for mine, other in (halves, halves[::-1]):
        chosen, _ = search(mine, bundle, trials, seed, Constants())
        scores.append(judge(other, bundle, chosen))
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}


def calibrate(data: Data, bundle: Bundle, constants: Constants) -> Constants:
    """Fit place and slope of both curves; the thresholds move along, so that the same words are found."""
    rows = answers(data.cases, data.nouns, bundle, constants)
    rows.update(answers(_animal_cases(data), ALONE, bundle, constants))
    for kind, name, covered in (("present", "threshold", True), ("unseen", "unseen_threshold", False)):
        nouns = [n for n in rows if bool(ask([n], bundle, constants).covered[0]) == covered]
        if not nouns:
            continue
        losses = np.array(
            [[np.mean([balanced_loss(*rows[n], s, at) for n in nouns]) for s in SLOPES] for at in MIDDLES]
        )
        place, steep = np.unravel_index(losses.argmin(), losses.shape)
        at, slope = round(float(MIDDLES[place]), 2), round(float(SLOPES[steep]), 2)
        own = getattr(constants, name)
        strength = getattr(constants, f"{kind}_at") + np.log(own / (1 - own)) / getattr(constants, f"{kind}_slope")
        moved = round(float(1 / (1 + np.exp(slope * (at - strength)))), 3)
        constants = dataclasses.replace(constants, **{f"{kind}_at": at, f"{kind}_slope": slope, name: moved})
        print(kind, at, slope, "threshold", moved, "loss", round(float(losses.min()), 4), nouns)
    return constants


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", default="starter")
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="choose on halves of dev, judge the other halves")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    data = look_at(arguments.data, bundle)
    if arguments.held_out:
        print(json.dumps(_rounded(held_out(data, bundle, arguments.trials, arguments.seed))))
        return
    constants, score = search(data, bundle, arguments.trials, arguments.seed)
    constants = calibrate(data, bundle, constants)
    kept = {k: v for k, v in dataclasses.asdict(constants).items() if k not in ("background", "things")}
    result: dict[str, Any] = {"score": score, "recognition": kept}
    print(json.dumps(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _photos_of(table: Path) -> list[str]:
    """The photos of a table of presence, in its order."""
    rows = table.read_text(encoding="utf-8").splitlines()[1:]
    return list(dict.fromkeys(row.split("\t")[1] for row in rows))


def _people(data: Data, bundle: Bundle, constants: Constants) -> float:
    """Mean of two shares: of photos with people that are named so, of the others that are not."""
    number = data.words.index("person") + 1
    named = [(recognise(s, data.words, bundle, constants, SegmentOptions())[0] == number).any() for s, _ in data.people]
    right = [
        [found == there for found, (_, there) in zip(named, data.people, strict=True) if there == kind]
        for kind in (True, False)
    ]
    return float(np.mean([np.mean(part) for part in right]))


def _animal_cases(data: Data) -> list[tuple[Scene, dict[str, bool]]]:
    places = {word: data.words.index(word) + 1 for word in ALONE}
    return [(p.scene, {w: bool(p.counts[:, i].any()) for w, i in places.items()}) for p in data.photos]


def _precision(rows: dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]]) -> float:
    return float(np.mean([average_precision(*row) for row in rows.values()]))


def _move(name: str, value: float, rng: np.random.Generator) -> float:
    low, high = SEARCHED[name]
    moved = rng.normal(value, (high - low) * rng.choice(STEPS))
    return float(round(min(high, max(low, moved)), 2))


def balanced_loss(there: npt.NDArray[np.bool_], strength: npt.NDArray[np.float32], slope: float, at: float) -> float:
    """Mean log loss of the scores, photos that have the noun and others weighing the same."""
    raw = slope * (strength - at)
    return float(np.logaddexp(0, -raw[there]).mean() + np.logaddexp(0, raw[~there]).mean()) / 2


def _rounded(score: dict[str, float]) -> dict[str, float]:
    return {k: round(v, 3) for k, v in score.items()}


if __name__ == "__main__":
    main()
