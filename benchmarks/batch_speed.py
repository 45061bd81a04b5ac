"""Photos a second by `unsay batch`: two workers against one, against a plain loop, against multiprocessing.

    unsay prepare scenes --cutouts ... --backgrounds ... --split test --size 1280,960 --count 60 -o runs/scenes-batch
    python benchmarks/batch_speed.py runs/scenes-batch [--photos 60] [--repeats 4] [--json FILE]

Every way erases the same thing from the same photos (1.2 megapixels; the first word of each scene), with one thread a
process, and writes the results. A rate counts the photos behind those that wait for the networks and before those at
which a process has no more to do: what a long run does. Every repeat begins with another way, as shared machines grow
slower and faster within minutes; the rates are medians, the ratios those of one repeat, also medians, beside the least
and the most.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VIPS_CONCURRENCY")
os.environ.update(dict.fromkeys(THREADS, "1"))

import cv2  # noqa: E402  (the libraries read their number of threads as they are imported)

import unsay  # noqa: E402
from unsay.batch import How, Job, run_batch  # noqa: E402
from unsay.batch.engine import ROWS  # noqa: E402
from unsay.training.scenes import read_scenes  # noqa: E402

WAYS = ("loop", "batch 1", "batch 2", "pool 2")
_OPEN: dict[str, Any] = {}


def photos_of(scenes: Path) -> list[tuple[Path, str]]:
    """Every scene's photo with the word of its first thing, if that was found: else nothing would be filled."""
    return [(scenes / scene.image, scene.things[0].word) for scene in read_scenes(scenes)]


def erase_one(task: tuple[Path, str, Path]) -> float:
    """Erase one thing; gives the time at which it was done. The process's networks are opened by its first photo."""
    photo, word, target = task
    if not _OPEN:
        cv2.setNumThreads(1)
        _OPEN["bundle"] = unsay.load_bundle("starter", threads=1)
    with contextlib.suppress(unsay.NotFound):
        unsay.erase(photo, word, bundle=_OPEN["bundle"], output=target)
    return time.perf_counter()


def steady(ends: list[float], apart: int) -> float:
    """Photos a second while every process has work: without the first and the last `apart` photos."""
    ends = sorted(ends)
    return (len(ends) - 2 * apart) / (ends[-apart - 1] - ends[apart - 1])


def loop(tasks: list[tuple[Path, str, Path]]) -> float:
    """One process, one photo after the other."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a fresh process, as the others have
        return steady(pool.apply(_loop, (tasks,)), ROWS)


def _loop(tasks: list[tuple[Path, str, Path]]) -> list[float]:
    return [erase_one(task) for task in tasks]


def pool(tasks: list[tuple[Path, str, Path]], processes: int) -> float:
    """`multiprocessing.Pool`, a photo at a time."""
    with multiprocessing.get_context("spawn").Pool(processes) as running:
        return steady(list(running.imap_unordered(erase_one, tasks)), ROWS * processes)


def batch(table: Path, target: Path, workers: int) -> tuple[float, float]:
    """`unsay batch erase TABLE`: photos a second, and the seconds of the whole, Ray's start and end included."""
    ends: list[float] = []
    start = time.perf_counter()

    def tell(progress: Any, record: Any) -> None:
        if record is not None:
            ends.append(time.perf_counter())

    run_batch(Job("erase"), str(table), str(target), How(workers=workers), tell=tell)
    return steady(ends, ROWS * workers), time.perf_counter() - start


def write_table(photos: list[tuple[Path, str]], path: Path) -> None:
    """The photos and words as `unsay batch` reads them."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["photo", "words", "output"])
        rows.writerows([photo.resolve(), word, photo.name] for photo, word in photos)


def one_repeat(photos: list[tuple[Path, str]], scratch: Path, number: int) -> dict[str, float]:
    """The rates of all ways, once."""
    rates: dict[str, float] = {}

    def tasks(name: str) -> list[tuple[Path, str, Path]]:
        folder = scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return [(photo, word, folder / photo.name) for photo, word in photos]

    def by_batch(workers: int) -> None:
        target = scratch / f"batch-{workers}"
        shutil.rmtree(target, ignore_errors=True)
        name = f"batch {workers}"
        rates[name], rates[f"whole {name}"] = batch(scratch / "table.csv", target, workers)

    ways: list[Callable[[], None]] = [
        lambda: rates.update({"loop": loop(tasks("loop"))}),
        lambda: by_batch(1),
        lambda: by_batch(2),
        lambda: rates.update({"pool 2": pool(tasks("pool"), 2)}),
    ]
    first = number % len(ways)
    for way in ways[first:] + ways[:first]:
        way()
    return rates


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {name: round(of(values), 3) for name, of in (("median", statistics.median), ("least", min), ("most", max))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    photos = photos_of(args.scenes)[: args.photos]
    height, width = cv2.imread(str(photos[0][0])).shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        write_table(photos, Path(folder) / "table.csv")
        runs = [one_repeat(photos, Path(folder), number) for number in range(args.repeats)]
        same = all(
            (Path(folder) / "batch-2" / file.name).read_bytes() == file.read_bytes()
            for file in (Path(folder) / "loop").iterdir()
        )
    result = {
        "photos": len(photos),
        "megapixels": round(height * width / 1e6, 2),
        "repeats": args.repeats,
        "photos_a_second": {name: round(statistics.median(run[name] for run in runs), 3) for name in WAYS},
        "seconds_of_the_whole": {
            name: round(statistics.median(run[f"whole {name}"] for run in runs), 1) for name in WAYS[1:3]
        },
        "ratios": {
            f"{one} / {other}": spread([run[one] / run[other] for run in runs])
            for one, other in (("batch 2", "batch 1"), ("batch 1", "loop"), ("batch 2", "pool 2"), ("pool 2", "loop"))
        },
        "same_bytes_as_the_loop": same,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
