"""The ablation of the segmentation half as one command: `unsay ablate segment --config FILE`.

Trains what has to be compared, judges every row of the four tables on photos with true masks, and says how much the
seeds matter. See docs/ablation-segmentation.md.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unsay
from unsay.bundle import load_bundle
from unsay.errors import BadInput
from unsay.evaluation.datasets import find_set
from unsay.evaluation.segment import offered_words
from unsay.evaluation.tables import text_table
from unsay.models.efficientnet_lite import load_trunk
from unsay.segmentation.vision import run_maps
from unsay.training.bundling import write_part
from unsay.training.segment_ablation_config import TABLES, AblationConfig, Setting, check_ablation, sentences_only
from unsay.training.segment_ablation_judging import Judge, Tally, Trunk
from unsay.training.segment_ablation_runs import (
    Build,
    Learned,
    learned,
    prepare_photos,
    remembering,
    run_configs,
    train,
)
from unsay.training.segment_bundle import section
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_files import write_atomically
from unsay.training.segment_networks import build_networks, export_trunk

log = logging.getLogger(__name__)
PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "torch", "pytorch-lightning", "spacy")
EVERY = 20
"""Photos between two lines of the log."""
SENTENCES = "sentences only: "
COLUMNS = {
    "mIoU-7": "mIoU-7",
    "mIoU-21": "mIoU-21",
    "mIoU-7, words given": "words given",
    "presence mAP": "presence mAP",
    f"{SENTENCES}mIoU-7": "s.o. mIoU-7",
    f"{SENTENCES}mIoU-7, words given": "s.o. words given",
    f"{SENTENCES}presence mAP": "s.o. presence mAP",
    "oracle mIoU-7": "oracle",
    "regions": "regions",
    "seconds": "s a photo",
}
"""Measures that are printed, and the heads of their columns."""


def ablate_segment(config: AblationConfig, build: Build = build_networks, trunk: Trunk | None = None) -> dict[str, Any]:
    """Train every variant with every seed and judge all rows; gives the figures, ready for JSON (NaN as None).

    `build`, `trunk`: instead of the networks that `config.train` names. Finished runs in `config.out` are read, not
    trained again. Raises `BadInput` for a configuration or data that cannot be used.
    """
    check_ablation(config)
    judged, stages = find_set("voc21"), dict[str, float]()
    data, limit = Path(config.data), config.limit or None
    photos, words = len(judged.photo_names(data, config.split)[:limit]), offered_words(judged)
    if not photos:
        raise BadInput(f"the split {config.split!r} of {data} has no photo to judge: choose another")
    torch.set_num_threads(config.train.machine.threads)
    runs, trained = _learn(config, build, words, stages)
    first = next(iter(runs.values()))
    judge = Judge(config, runs, trunk or open_trunk(config), words)
    with _stage("judging", stages):
        for done, sample in enumerate(judged.read(data, config.split, limit), start=1):
            judge.add(sample)
            if done % EVERY == 0:
                log.info("judged %d of %d photos", done, photos)
    return {
        "data": data.name,
        "split": config.split,
        "photos": photos,
        "training_photos": trained,
        "seeds": list(config.seeds),
        "words": words,
        "config": dataclasses.asdict(config),
        "constants": first.bundle.section("segment")["recognition"],
        "versions": {"unsay": unsay.__version__, **{name: version(name) for name in PACKAGES}},
        "machine": {"python": platform.python_version(), "processor": platform.machine()},
        "threads": config.train.machine.threads,
        "stages": stages,
        "tables": {t: {n: _row(s, config.seeds, judge.tallies) for n, s in r.items()} for t, r in TABLES.items()},
    }


def table(result: dict[str, Any]) -> str:
    """The result as plain text: a heading, then one table for each thing that is varied.

    A figure is the mean over the seeds (largest - smallest); no brackets where all seeds agree.
    """
    epochs, seeds = result["config"]["train"]["epochs"], ", ".join(map(str, result["seeds"]))
    lines = [
        f"{result['data']} {result['split']}: {result['photos']} photos, {len(result['words'])} words offered for all;",
        f"trained on {result['training_photos']} photos, {epochs} epochs; seeds {seeds}: mean (largest - smallest);",
        "s.o. = sentences only; words given = told which are there; oracle = every region named by the truth",
    ]
    for name, rows in result["tables"].items():
        cells = [[row, *(_cell(rows[row].get(measure)) for measure in COLUMNS)] for row in rows]
        lines += ["", text_table([name, *COLUMNS.values()], cells)]
    return "\n".join(lines)


def keep(result: dict[str, Any], path: Path) -> None:
    """Write the figures as JSON. Raises `BadInput` where the file cannot be written."""
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    try:
        write_atomically(path, lambda stream: stream.write(text.encode()))
    except OSError as error:
        raise BadInput(f"cannot write the numbers to {path}: {error.strerror}") from error


def open_trunk(config: AblationConfig) -> Trunk:
    """The frozen CNN that `config.train` names, run as in use: through ONNX Runtime."""
    train = config.train
    network = load_trunk(train.starter.trunk, Path(train.trunk_weights) if train.trunk_weights else None)
    folder = Path(config.out) / "trunk"
    folder.mkdir(parents=True, exist_ok=True)
    export_trunk(network, folder / "trunk.onnx")
    write_part(folder, "segment", section(train), files=["trunk.onnx"])
    session = load_bundle(folder, threads=train.machine.threads).session("trunk.onnx")
    return Trunk(lambda pixels: run_maps(session, pixels), network)


def _learn(
    config: AblationConfig, build: Build, words: list[str], stages: dict[str, float]
) -> tuple[dict[tuple[str, int], Learned], int]:
    """All runs by variant and seed, and the number of photos they learned from."""
    configs = run_configs(config)
    first = next(iter(configs.values()))
    embed = remembering(build(first).embed())

    def networks(one: SegmentConfig) -> Any:
        return dataclasses.replace(build(one), embed=lambda: embed)

    with _stage("looking at the training photos", stages):
        photos = prepare_photos(first, networks(first))
    with _stage("training", stages):
        encoders = {key: train(one, networks(one)) for key, one in configs.items()}
    with _stage("lexicons", stages):
        runs = {key: learned(one, encoders[key], networks(one), words) for key, one in configs.items()}
    return runs, photos


def _row(setting: Setting, seeds: tuple[int, ...], tallies: dict[tuple[Setting, int], Tally]) -> dict[str, Any]:
    row: dict[str, Any] = {"setting": dataclasses.asdict(setting), **_measures(setting, seeds, tallies)}
    if setting.evidence == "both":
        alone = _measures(sentences_only(setting), seeds, tallies)
        row |= {SENTENCES + name: alone[name] for name in ("mIoU-7", "mIoU-21", "mIoU-7, words given", "presence mAP")}
    return row


def _measures(setting: Setting, seeds: tuple[int, ...], tallies: dict[tuple[Setting, int], Tally]) -> dict[str, Any]:
    each = [tallies[setting, seed].measures() for seed in seeds]
    return {name: _spread([one[name] for one in each]) for name in each[0]}


def _spread(values: list[float]) -> dict[str, Any]:
    if any(math.isnan(value) for value in values):
        return {"mean": None, "spread": None, "values": [None if math.isnan(v) else v for v in values]}
    return {"mean": float(np.mean(values)), "spread": max(values) - min(values), "values": values}


def _cell(measure: dict[str, Any] | None) -> str:
    if measure is None or measure["mean"] is None:
        return "-"
    spread = f" ({measure['spread']:.3f})" if measure["spread"] else ""
    return f"{measure['mean']:.3f}{spread}"


@contextmanager
def _stage(name: str, stages: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stages[name] = round(time.perf_counter() - start, 1)
    log.info("%s took %.0f s", name, stages[name])
