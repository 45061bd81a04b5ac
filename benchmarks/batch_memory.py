"""Memory of `unsay batch` over 10,000 photos: is it the same as over 100?

    python benchmarks/batch_memory.py PHOTOS [--count 10000] [--json FILE]

PHOTOS: a folder of photos of at least 1 megapixel. They are stored as JPEG of quality 90 and linked again and again
under other names until there are `count`; a hole of 30 x 30 pixels is filled in each, as that is the quickest of all
that reads, computes and writes. Counted is the proportional set size of the command and everything below it (workers,
Ray's own processes, its object store) every two seconds, Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unsay.batch import How, Job, run_batch

SUFFIXES = (".jpg", ".png")


def below(root: int) -> list[int]:
    """A process and everything below it."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in found.splitlines()]
    known = {root}
    while more := {pid for pid, parent in rows if parent in known} - known:
        known |= more
    return sorted(known)


def mebibytes(root: int) -> dict[str, float]:
    """Proportional set sizes: of the command, of the workers, of the rest (Ray's own processes)."""
    parts = {"command": 0.0, "workers": 0.0, "ray": 0.0}
    for pid in below(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        size = next((int(row.split()[1]) for row in rollup.splitlines() if row.startswith("Pss:")), 0) / 1024
        parts["command" if pid == root else "workers" if b"MapWorker" in line else "ray"] += size
    return parts


def link(photos: Path, folder: Path, count: int) -> tuple[int, int]:
    """`count` names for the photos, and masks of the same names; height and width of the smallest."""
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in SUFFIXES)
    (folder / "kept").mkdir()
    sizes = []
    for number, path in enumerate(files):
        pixels = cv2.imread(str(path))
        cv2.imwrite(str(folder / "kept" / f"{number}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
        hole = np.zeros(pixels.shape[:2], np.uint8)
        hole[300:330, 400:430] = 255
        cv2.imwrite(str(folder / "kept" / f"{number}.png"), hole)
        sizes.append(hole.shape)
    for number in range(count):
        for kind, suffix in (("photos", ".jpg"), ("masks", ".png")):
            target = folder / kind / f"{number // 1000:03d}" / f"{number:07d}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / "kept" / f"{number % len(files)}{suffix}", target)
    height, width = min(sizes, key=lambda size: size[0] * size[1])
    return height, width


def watch(folder: Path) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """Run the batch; every two seconds how far it is and what it takes. Then how the photos ended, by status."""
    progress: list[Any] = [None]
    samples: list[dict[str, Any]] = []
    over, start = threading.Event(), time.monotonic()

    def sample() -> None:
        while not over.wait(2.0):
            sizes = {part: round(size, 1) for part, size in mebibytes(os.getpid()).items()}
            done = 0 if progress[0] is None else progress[0].handled
            samples.append({"seconds": round(time.monotonic() - start, 1), "photos": done, **sizes})

    def tell(now: Any, _: Any) -> None:
        progress[0] = now

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        how, masks = How(workers=2), str(folder / "masks")
        ended = run_batch(Job("inpaint"), str(folder / "photos"), str(folder / "out"), how, masks=masks, tell=tell)
    finally:
        over.set()
        sampler.join()
    return samples, dict(sorted(ended.by_status.items()))


def around(samples: list[dict[str, Any]], photos: int) -> dict[str, float]:
    """Medians of the ten samples from that many photos on, with their sum."""
    behind = [sample for sample in samples if sample["photos"] >= photos][:10]
    medians = {part: statistics.median(sample[part] for sample in behind) for part in ("command", "workers", "ray")}
    return {**medians, "all": round(sum(medians.values()), 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.photos.parent) as scratch:
        height, width = link(args.photos, Path(scratch), args.count)
        samples, by_status = watch(Path(scratch))
    marks = [mark for mark in (100, 1000, args.count // 2, int(args.count * 0.98)) if mark <= samples[-1]["photos"]]
    result = {
        "photos": args.count,
        "megapixels": round(height * width / 1e6, 2),
        "by_status": by_status,
        "seconds": samples[-1]["seconds"],
        "mebibytes_after": {str(mark): around(samples, mark) for mark in marks},
        "largest": max(round(s["command"] + s["workers"] + s["ray"], 1) for s in samples),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
