"""The ablation of the inpainting half as one command: `unsay ablate inpaint --config FILE`.

Trains a small network without this and without that, on the same crops, for as many steps, with (nearly) as many
learned values, judges each on the same holes, and says how much the seeds matter. See docs/ablation-inpainting.md.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import unsay
from unsay.evaluation.inpaint_result import COLUMNS
from unsay.evaluation.metrics import NAMES
from unsay.evaluation.peers import RIM_ALONE, TELEA, Filler
from unsay.evaluation.tables import text_table
from unsay.results import Mask, Pixels
from unsay.training.ablation_figures import spread, spread_cell
from unsay.training.inpaint_ablation_config import (
    TABLES,
    InpaintAblationConfig,
    Setting,
    all_settings,
    check_ablation,
    run_config,
)
from unsay.training.inpaint_ablation_models import build_on_meta, count_values, matched_sizes
from unsay.training.inpaint_ablation_runs import Judged, judge, judged_photos, judged_run, run_name, trained
from unsay.training.inpaint_data import read_photos
from unsay.training.photos import Photos

log = logging.getLogger(__name__)
PACKAGES = ("numpy", "opencv-python-headless", "torch", "pytorch-lightning")
PRINTED = {name: COLUMNS[name] for name in NAMES}
"""Measures that are printed, with their heads and digits."""


def ablate_inpaint(config: InpaintAblationConfig, *, photos: Photos | None = None) -> dict[str, Any]:
    """Train every row with every seed and judge it; gives the figures, ready for JSON.

    `photos`: to train on, instead of the folders that `config.train` names. Finished runs in `config.out` are read,
    not trained again. Raises `BadInput` for a configuration or data that cannot be used.
    """
    check_ablation(config)
    judged = judged_photos(config)
    to_train_on = functools.cache(lambda: photos or read_photos(config.train))
    rows = {setting: _row(config, setting, judged, to_train_on) for setting in all_settings()}
    return {
        "task": "inpaint",
        "data": Path(config.data).name,
        "photos": len(judged),
        "seeds": list(config.seeds),
        "config": dataclasses.asdict(config),
        "versions": {"unsay": unsay.__version__, **{name: version(name) for name in PACKAGES}},
        "machine": {"python": platform.python_version(), "processor": platform.machine()},
        "threads": config.train.machine.threads,
        "tables": {name: {row: rows[setting] for row, setting in table.items()} for name, table in TABLES.items()},
        "for scale": {filler.name: _peer(filler, judged) for filler in (TELEA, RIM_ALONE)},
    }


def table(result: dict[str, Any]) -> str:
    """The result as plain text: a heading, one table for each thing that is varied, then the hole's PSNR by band.

    A figure is the mean over the seeds (largest - smallest); no brackets where all seeds agree.
    """
    train, side, seeds = result["config"]["train"], result["config"]["side"], ", ".join(map(str, result["seeds"]))
    lines = [
        f"{result['data']}: {result['photos']} photos at {side}x{side}, one hole a band;",
        f"trained {train['steps']} steps of {train['batch']} crops of {train['crop']}x{train['crop']};",
        f"seeds {seeds}: mean (largest - smallest); structure: lower is better; texture: 1 is the photo's own",
    ]
    head = ["values", *(name for name, _ in PRINTED.values()), "s a step"]
    for name, rows in result["tables"].items():
        cells = [[row, f"{f['values']:,}", *_cells(f["all"]), spread_cell(f["seconds"], 3)] for row, f in rows.items()]
        lines += ["", text_table([name, *head], cells)]
    scale = [
        [name, *_cells({k: spread([v]) for k, v in one["all"].items()})] for name, one in result["for scale"].items()
    ]
    lines += ["", text_table(["for scale, the same holes", *head[1:-1]], scale)]
    return "\n".join([*lines, "", _by_band(result)])


def _row(
    config: InpaintAblationConfig, setting: Setting, judged: list[Judged], photos: Callable[[], Photos]
) -> dict[str, Any]:
    """The figures of one setting over all seeds."""
    network = run_config(config, setting, 0).network
    sizes, scores, seconds = matched_sizes(setting, network), [], []
    for seed in config.seeds:
        run = run_config(config, setting, seed)
        one = trained(run, setting, sizes, photos)
        seconds.append(float(one["seconds"]))
        scores.append(judged_run(config, run_name(run, setting, sizes), one["network"], judged))
        log.info("%s, seed %d: PSNR in the hole %.2f dB", setting.name, seed, scores[-1]["all"]["hole_psnr"])
    by_group = {group: {name: spread([one[group][name] for one in scores]) for name in NAMES} for group in scores[0]}
    return {
        "setting": dataclasses.asdict(setting),
        "sizes": dataclasses.asdict(sizes),
        "values": count_values(build_on_meta(setting, network, sizes)),
        "seconds": spread(seconds),
        **by_group,
    }


def _peer(filler: Filler, judged: list[Judged]) -> dict[str, Any]:
    """The scores of a filler that learns nothing, on the same holes."""

    def fill(rgb: Pixels, holes: list[Mask]) -> list[Pixels]:
        return [filler.fill(rgb, hole) for hole in holes]

    return {"settings": filler.settings, **judge(fill, judged)}


def _cells(measures: dict[str, Any]) -> list[str]:
    return [spread_cell(measures[name], digits) for name, (_, digits) in PRINTED.items()]


def _by_band(result: dict[str, Any]) -> str:
    """PSNR inside the hole of every distinct row, by band."""
    rows: dict[str, dict[str, Any]] = {}
    for name, table in result["tables"].items():
        for row, figures in table.items():
            if figures not in rows.values():
                rows[f"{name}: {row}"] = figures
    bands = [group for group in next(iter(rows.values())) if group.endswith("%")]
    cells = [[name, *(spread_cell(f[band]["hole_psnr"], 2) for band in bands)] for name, f in rows.items()]
    return text_table(["hole PSNR", *bands], cells)
