"""What a million photos and twelve million pairs cost, reckoned from what the benchmarks measured: docs/scale.md.

Each number is arithmetic on `benchmarks/results/batch-*.json` and `pairs-speed.json`; `scripts/write-tables` puts them
into the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PHOTOS = 1_000_000
PAIRS = 12_000_000
MACHINE = 32
"""Cores of the machine whose hours are told."""


@cache
def result(name: str) -> Any:
    """What a benchmark wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def significant(value: float, digits: int = 2) -> str:
    """270,000 for 271,432 and so on: what is reckoned has no more digits than what was measured."""
    if value == 0:
        return "0"
    behind = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, behind)
    return f"{rounded:,.{max(0, behind)}f}"


def photo_hours() -> float:
    """Core-hours that a million photos take, the driver's share aside."""
    return float(PHOTOS / result("batch-speed")["photos_a_second"]["batch 1"] / 3600)


def pair_hours() -> float:
    """Core-hours that preparing twelve million pairs takes."""
    return float(PAIRS / result("pairs-speed")["prepared_a_second"]["1 workers"] / 3600)


def epoch_hours() -> float:
    """Core-hours of an epoch over twelve million pairs."""
    step = result("pairs-speed")["step"]
    return float(PAIRS / step["pairs"] * step["seconds"] / 3600)


def terabytes(kind: str) -> float:
    """What twelve million pairs take."""
    return float(PAIRS * result("pairs-speed")["kilobytes_a_pair"][kind] / 1e9)


def ceiling() -> float:
    """Workers at which the driver hands out photos as fast as it can."""
    return float(through_ray()["a_second"] / result("batch-speed")["photos_a_second"]["batch 1"])


def through_ray() -> Any:
    """What Ray hands out to workers that answer at once."""
    return result("batch-ceiling")["through_ray"]


def drivers() -> Any:
    """What the driver took, for two numbers of photos."""
    return result("batch-ceiling")["driver"]


def driver() -> Any:
    """What it took for the larger one."""
    return drivers()[-1]


def ratio(name: str) -> str:
    """A median with the least and the most."""
    one = result("batch-speed")["ratios"][name]
    return f"{one['median']:.2f} ({one['least']:.2f} to {one['most']:.2f})"


def markdown(rows: list[list[str]]) -> str:
    """A table: the first row its head, the first column to the left."""
    head, *rest = rows
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rest]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def speed_table() -> str:
    """Every way through the same photos."""
    rates = result("batch-speed")["photos_a_second"]
    loop = "batch 1 / loop", "batch 2 / batch 1", "batch 2 / pool 2"
    titles = {
        "loop": "a plain loop in Python, one thread",
        "batch 1": "`unsay batch`, one worker",
        "batch 2": "`unsay batch`, two workers",
        "pool 2": "`multiprocessing.Pool(2)`",
    }
    beside = dict(zip(("batch 1", "batch 2"), ((f"{ratio(loop[0])} of the loop"), ratio(loop[1])), strict=True))
    beside["batch 2"] = f"{beside['batch 2']} of one worker, {ratio(loop[2])} of the pool"
    rows = [["", "photos a second", "in one repeat"]]
    rows += [[title, f"{rates[name]:.2f}", beside.get(name, "")] for name, title in titles.items()]
    return markdown(rows)


def memory_table() -> str:
    """Memory by how many photos were done."""
    marks = result("batch-memory")["mebibytes_after"]
    rows = [["photos done", "command", "two workers", "Ray", "all, MiB"]]
    rows += [
        [f"{int(mark):,}", *(f"{one[part]:.0f}" for part in ("command", "workers", "ray", "all"))]
        for mark, one in marks.items()
    ]
    return markdown(rows)


def costs_table() -> str:
    """The reckoning itself."""
    pairs = result("pairs-speed")
    rows = [["", "core-hours", f"hours of {MACHINE} cores", "room"]]
    sizes = "as the photos"
    for title, hours, room in (
        ("10^6 photos of 1.2 megapixels, one thing erased in each", photo_hours(), sizes),
        (
            "12M pairs prepared for the starter's networks, mirror images too",
            pair_hours(),
            f"{terabytes('prepared'):.1f} TB ({pairs['kilobytes_a_pair']['prepared']:.0f} kB a pair)",
        ),
        (f"an epoch over 12M pairs, steps of {pairs['step']['pairs']}", epoch_hours(), ""),
    ):
        rows.append([title, significant(hours), significant(hours / MACHINE), room])
    return markdown(rows)


TABLES: dict[str, Callable[[], str]] = {
    "batch-speed": speed_table,
    "batch-memory": memory_table,
    "scale-costs": costs_table,
}
FIGURES: dict[str, Callable[[], str]] = {
    "batch.two": lambda: f"{result('batch-speed')['ratios']['batch 2 / batch 1']['median']:.2f}",
    "batch.photos": lambda: str(result("batch-speed")["photos"]),
    "batch.megapixels": lambda: str(result("batch-speed")["megapixels"]),
    "batch.repeats": lambda: str(result("batch-speed")["repeats"]),
    "batch.memory-photos": lambda: f"{result('batch-memory')['photos']:,}",
    "scale.workers": lambda: significant(ceiling()),
    "scale.through-ray": lambda: significant(through_ray()["a_second"]),
    "scale.driver": lambda: significant(driver()["milliseconds_a_photo"]),
    "scale.driver-again": lambda: significant(driver()["milliseconds_a_photo_again"]),
    "scale.again-minutes": lambda: significant(driver()["milliseconds_a_photo_again"] * PHOTOS / 6e4),
    "scale.manifest": lambda: str(driver()["manifest_bytes_a_photo"]),
    "scale.manifest-billion": lambda: significant(driver()["manifest_bytes_a_photo"]),
    "scale.database-billion": lambda: significant(driver()["database_bytes_a_photo"]),
    "scale.plan-days": lambda: significant(driver()["milliseconds_a_photo"] * 1e6 / 86400),
    "scale.petabytes": lambda: significant(terabytes("prepared") / PAIRS * 1e9 / 1e3),
    "scale.database": lambda: str(driver()["database_bytes_a_photo"]),
    "scale.between": lambda: significant(through_ray()["seconds_between_waves"]),
    "scale.driver-memory": lambda: " and ".join(str(one["most_mebibytes"]) for one in drivers()),
    "scale.driver-photos": lambda: " and ".join(f"{one['photos']:,}" for one in drivers()),
    "scale.prepared-rate": lambda: f"{result('pairs-speed')['prepared_a_second']['1 workers']:.1f}",
    "scale.prepared-rate-two": lambda: f"{result('pairs-speed')['prepared_a_second']['2 workers']:.1f}",
    "scale.prepared-size": lambda: f"{result('pairs-speed')['kilobytes_a_pair']['prepared']:.0f}",
    "scale.downloaded-size": lambda: f"{result('pairs-speed')['kilobytes_a_pair']['downloaded']:.0f}",
    "scale.terabytes": lambda: f"{terabytes('prepared'):.1f}",
    "scale.read-rate": lambda: significant(result("pairs-speed")["read_a_second"]),
    "scale.step": lambda: f"{result('pairs-speed')['step']['seconds']:.1f}",
    "scale.step-pairs": lambda: str(result("pairs-speed")["step"]["pairs"]),
    "scale.train-rate": lambda: significant(
        result("pairs-speed")["step"]["pairs"] / result("pairs-speed")["step"]["seconds"]
    ),
    "scale.train-megabytes": lambda: significant(
        result("pairs-speed")["step"]["pairs"]
        / result("pairs-speed")["step"]["seconds"]
        * result("pairs-speed")["kilobytes_a_pair"]["prepared"]
        / 1e3
    ),
}
