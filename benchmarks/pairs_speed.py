"""What millions of pairs cost: preparing shards, their bytes, reading them back, a training step on them.

    export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
    python benchmarks/pairs_speed.py FLICKR8K [--pairs 1024] [--json FILE]

FLICKR8K: `captions-train.tsv` and `images`. Its photos, one sentence each, are put into shards of 64 as img2dataset
writes them; the starter's configuration is what they are prepared for and trained with, one thread a process. A rate of
preparing counts what comes behind each worker's first shard, which waits for the networks. A step's time is the median,
without the first two.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))

import pytorch_lightning as pl  # noqa: E402  (the libraries read their number of threads as they are imported)

from unsay.training.config import load_config  # noqa: E402
from unsay.training.pairs_readers import DataConfig  # noqa: E402
from unsay.training.segment import Segmenter  # noqa: E402
from unsay.training.segment_config import SegmentConfig  # noqa: E402
from unsay.training.segment_networks import build_networks  # noqa: E402
from unsay.training.shards.preparing import prepare_pairs  # noqa: E402
from unsay.training.shards.streaming import StreamData  # noqa: E402

CONFIG = Path(__file__).parents[1] / "src" / "unsay" / "training" / "configs" / "segment-starter.yaml"
SHARD = 64
STEPS = 8


def write_shards(data: Path, folder: Path, count: int) -> None:
    """The first `count` photos with their first sentence."""
    folder.mkdir()
    with open(data / "captions-train.tsv", encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    sentences = dict(reversed(rows))  # the first of each photo stays
    names = sorted(sentences)[:count]
    for shard in range(0, len(names), SHARD):
        with tarfile.open(folder / f"{shard // SHARD:05d}.tar", "w") as archive:
            for number, name in enumerate(names[shard : shard + SHARD], start=shard):
                photo = (data / "images" / name).read_bytes()
                for suffix, content in (("jpg", photo), ("txt", sentences[name].encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def size_of(folder: Path) -> int:
    """Bytes of the shards of a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.tar"))


def preparing(config: SegmentConfig, target: Path, workers: int) -> float:
    """Pairs a second."""
    ends: list[tuple[float, int]] = []

    def tell(done: int, of: int, record: dict[str, Any]) -> None:
        ends.append((time.perf_counter(), sum(pairs for _, pairs in record["pieces"])))

    shutil.rmtree(target, ignore_errors=True)
    prepare_pairs(config, str(target), number=workers, tell=tell)
    return sum(pairs for _, pairs in ends[workers:]) / (ends[-1][0] - ends[workers - 1][0])


def reading(data: StreamData, pairs: int) -> float:
    """Pairs a second that one process reads, shuffled and decoded."""
    start = time.perf_counter()
    read = len(data.some(pairs))
    return read / (time.perf_counter() - start)


class Times(pl.Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Called by Lightning."""
        self.ends.append(time.perf_counter())


def step_seconds(config: SegmentConfig, data: StreamData, scratch: Path) -> float:
    """A step of `config.batch` pairs on one thread, reading included."""
    times = Times()
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=STEPS, logger=False, enable_checkpointing=False, callbacks=[times],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=str(scratch),
    )  # fmt: skip
    trainer.fit(Segmenter(config, data.networks), datamodule=data)
    gaps = [after - before for before, after in zip(times.ends, times.ends[1:], strict=False)]
    return statistics.median(gaps[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    base = load_config(CONFIG, SegmentConfig)
    machine = dataclasses.replace(base.machine, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_shards(args.data, scratch / "raw", args.pairs)
        raw = DataConfig(kind="webdataset", path=str(scratch / "raw"))
        changes: dict[str, Any] = {"machine": machine, "out": str(scratch / "run"), "epochs": STEPS}
        config = dataclasses.replace(base, data=raw, **changes)
        rates = {n: preparing(config, scratch / f"prepared-{n}", n) for n in (1, 2)}
        prepared = scratch / "prepared-2"
        same = all(
            path.read_bytes() == (scratch / "prepared-1" / path.name).read_bytes() for path in prepared.glob("*.tar")
        )
        config = dataclasses.replace(config, data=DataConfig(kind="shards", path=str(prepared)))
        data = StreamData(config, build_networks(config))
        read = reading(data, args.pairs)
        seconds = step_seconds(config, data, scratch)
        result = {
            "pairs": args.pairs,
            "prepared_a_second": {f"{n} workers": round(rate, 2) for n, rate in rates.items()},
            "same_bytes": same,
            "kilobytes_a_pair": {
                "downloaded": round(size_of(scratch / "raw") / args.pairs / 1e3, 1),
                "prepared": round(size_of(prepared) / args.pairs / 1e3, 1),
            },
            "read_a_second": round(read, 1),
            "step": {"pairs": config.batch, "seconds": round(seconds, 2), "threads": 1},
        }
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
