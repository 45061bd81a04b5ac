"""What `unsay batch` itself costs for each photo, and how many a second its driver can hand out: no photo is opened.

    python benchmarks/batch_ceiling.py [--photos 100000] [--items 16384] [--json FILE]

The first part lists a folder of that many names, plans, keeps every record and writes the manifest, with workers that
answer at once in this process; then the same again, where nothing is to be done. Memory is what the process holds at
most, at a tenth of the photos and at all of them. The second part sends items through Ray to two workers that answer
at once: more photos a second than that no cluster gets from one command.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from unsay.batch import How, Job, run_batch, running
from unsay.batch.engine import LEAST_WAVE, ROWS, Workers, records, workers
from unsay.batch.journal import MANIFEST
from unsay.batch.ledger import Item, Record
from unsay.batch.work import blank

_SIZES: list[int] = []


@dataclass(frozen=True)
class Nothing:
    """Workers that answer at once: nothing was found."""

    rows: int = ROWS

    def prepare(self) -> Callable[[Item], Record]:
        """What makes a record of an item."""
        return answer

    def died(self, item: Item) -> Record:
        """Not called: they do not die."""
        return answer(item)


def answer(item: Item) -> Record:
    """As long as a real one."""
    told = {"status": 3, "error": "nothing was found", "input": "0" * 64, "words": ["dog"], "scores": {"dog": 0.1}}
    return blank(item) | told


@contextmanager
def nobody(*_: Any) -> Iterator[Workers]:
    """In the place of Ray; in the end the size of the run's database is taken."""
    yield Workers(1, 1)
    found = Path(tempfile.gettempdir()).glob(f"unsay-batch-{os.getpid()}-*/ledger.sqlite")
    _SIZES.extend(path.stat().st_size for path in found)


def at_once(items: Iterable[Item], *_: Any) -> Iterator[Record]:
    """In the place of the workers."""
    return map(answer, items)


def make_names(folder: Path, count: int) -> None:
    """Empty files, a thousand in a folder."""
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:08d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def alone(count: int) -> dict[str, float]:
    """The first part, in a process of its own."""
    running.workers, running.records = nobody, at_once  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as scratch:
        make_names(Path(scratch) / "in", count)
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            ended = run_batch(Job("erase", ("dog",)), f"{scratch}/in", f"{scratch}/out", How())
            seconds.append(time.perf_counter() - start)
        if ended.unchanged != count:
            raise RuntimeError(f"{ended.unchanged} of {count} were as they were")
        manifest = (Path(scratch) / "out" / MANIFEST).stat().st_size
    return {
        "photos": count,
        "milliseconds_a_photo": round(seconds[0] / count * 1e3, 3),
        "milliseconds_a_photo_again": round(seconds[1] / count * 1e3, 3),
        "database_bytes_a_photo": round(max(_SIZES) / count),
        "manifest_bytes_a_photo": round(manifest / count),
        "most_mebibytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def through_ray(count: int) -> dict[str, float]:
    """Items a second within a wave, and the seconds from one wave's last record to the next one's first: medians."""
    items = ({"name": f"{i:08d}.jpg", "result": f"{i:08d}.jpg", "recipe": "0" * 64, "stamp": "1"} for i in range(count))
    ends = []
    with workers(None, 2, 1) as use:
        for _ in records(items, Nothing(), use):
            ends.append(time.perf_counter())
    waves = [ends[start : start + LEAST_WAVE] for start in range(0, len(ends), LEAST_WAVE)]
    rates = [(len(wave) - 1) / (wave[-1] - wave[0]) for wave in waves]
    between = [after[0] - before[-1] for before, after in pairwise(waves)]
    return {
        "items": count,
        "a_second": round(statistics.median(rates), 1),
        "seconds_between_waves": round(statistics.median(between), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=16_384)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    parts = []
    for count in (args.photos // 10, args.photos):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            parts.append(pool.apply(alone, (count,)))
    result = {"driver": parts, "through_ray": through_ray(args.items)}
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
