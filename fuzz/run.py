"""Hostile cases by the hundred thousand: `python -m fuzz.run --cases N --seed S`.

One worker process runs case after case under a limit of memory; this one watches it: a case that takes longer than a
minute, ends the process, prints anything or raises what is not ours is saved in `tests/hostile/`, and a new worker
goes on behind it. Case i of seed S is the same whenever it is run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

SECONDS = 60
GIGABYTES = 2
HOSTILE = Path(__file__).parents[1] / "tests" / "hostile"


@dataclass
class Tally:
    """What came of the cases so far."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: dict[str, Any] = field(default_factory=lambda: {"ms": 0.0})
    largest: dict[str, Any] = field(default_factory=lambda: {"mb": 0.0})
    violations: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def is_new(self, violation: str) -> bool:
        """Whether fewer than three of the kind, numbers aside, were seen: one bug need not fill the folder."""
        kind = re.sub(r"\d+|0x\w+", "", violation)[:60]
        self.kinds[kind] += 1
        return self.kinds[kind] <= 3

    def add(self, line: dict[str, Any]) -> None:
        """Count one case."""
        self.pairs[line["format"], line["verb"]] += 1
        self.outcomes[line["format"], line["outcome"]] += 1
        self.slowest = max(self.slowest, line, key=lambda one: one["ms"])
        self.largest = max(self.largest, line, key=lambda one: one["mb"])


def main() -> None:
    """Run the cases and print what came of them."""
    options = _arguments()
    if options.worker:
        _work(options.first, options.cases, options.seed)
        return
    started, tally = time.monotonic(), Tally()
    for line in _lines(options.cases, options.seed):
        if "violation" in line:
            saved = _keep(options.seed, line) if tally.is_new(line["violation"]) else "another of the same"
            tally.violations.append(f"case {line['case']}: {line['violation']}; {saved}")
            print(tally.violations[-1], file=sys.stderr, flush=True)
        else:
            tally.add(line)
    _print(tally, options, time.monotonic() - started)
    sys.exit(bool(tally.violations))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- the one that watches -----------------------------------------------------------------------------------------


def _lines(cases: int, seed: int) -> Iterator[dict[str, Any]]:
    """What the workers say of each case, in order."""
    following, ready = 0, False
    while following < cases:
        command = [sys.executable, "-m", "fuzz.run", "--worker", f"--first={following}"]
        limits = {"VIPS_CONCURRENCY": "1", "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            [*command, f"--cases={cases}", f"--seed={seed}"], stdout=subprocess.PIPE, env={**os.environ, **limits}
        ) as worker:
            for line in _said(worker):
                if "ready" in line:
                    ready = True
                    continue
                following = line["case"] + 1
                yield line
            if not ready:
                sys.exit("the worker did not start")
            if following < cases:
                worker.kill()
                status = worker.wait()
                why = f"took more than {SECONDS} s" if status == -9 else f"ended the process (status {status})"
                yield {"case": following, "violation": why}
                following += 1


def _said(worker: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """The worker's lines until it ends or is silent for too long."""
    assert worker.stdout is not None
    left = b""
    while select.select([worker.stdout], [], [], SECONDS)[0]:
        block = os.read(worker.stdout.fileno(), 1 << 16)
        if not block:
            worker.wait()
            return
        *lines, left = (left + block).split(b"\n")
        yield from map(json.loads, lines)


def _keep(seed: int, line: dict[str, Any]) -> str:
    from fuzz.stage import make_case

    case = make_case(Random(f"{seed}/{line['case']}"))
    saved = []
    for name, data in (("photo", case.photo), ("mask", case.mask)):
        if name == "photo" or case.verb == "inpaint":
            path = HOSTILE / f"{case.format}-fuzz-{name}-{hashlib.sha256(data).hexdigest()[:10]}"
            path.write_bytes(data)
            saved.append(path.name)
    rest = f"{case.verb} {case.words} -> {case.output} {case.kind} in_place={case.in_place} {case.options}"
    return f"{', '.join(saved)}: {rest}"


def _print(tally: Tally, options: argparse.Namespace, seconds: float) -> None:
    total = sum(tally.pairs.values()) + len(tally.violations)
    print(f"python -m fuzz.run --cases {options.cases} --seed {options.seed}")
    print(
        f"{total} cases in {seconds:.0f} s, {1000 * seconds / total:.1f} ms a case; {len(tally.violations)} violations"
    )
    verbs = sorted({verb for _, verb in tally.pairs})
    print(f"\n{'share of':10}" + "".join(f"{verb:>10}" for verb in verbs))
    for kind in sorted({kind for kind, _ in tally.pairs}):
        print(f"{kind:10}" + "".join(f"{tally.pairs[kind, verb] / total:>10.2%}" for verb in verbs))
    outcomes = sorted({outcome for _, outcome in tally.outcomes})
    print(f"\n{'outcomes':10}" + "".join(f"{outcome:>14}" for outcome in outcomes))
    for kind in sorted({kind for kind, _ in tally.outcomes}):
        print(f"{kind:10}" + "".join(f"{tally.outcomes[kind, outcome]:>14}" for outcome in outcomes))
    print(f"\nslowest: {json.dumps(tally.slowest)}")
    print(f"largest: {json.dumps(tally.largest)}")
    for violation in tally.violations:
        print(violation)


# --- the one that works -------------------------------------------------------------------------------------------


def _work(first: int, cases: int, seed: int) -> None:
    from fuzz.stage import make_case, run_case, tiny_bundle

    said = os.dup(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as scratch:
        noise = os.open(f"{scratch}/noise", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(noise, 1)
        folder = Path(scratch) / "folder"
        folder.mkdir()
        tiny_bundle()
        _limit_memory()
        os.write(said, b'{"ready": true}\n')
        for number in range(first, cases):
            case = make_case(Random(f"{seed}/{number}"))
            line = _one(lambda case=case: run_case(case, folder), noise)  # type: ignore[misc]
            line |= {"case": number, "format": case.format, "verb": case.verb}
            os.write(said, (json.dumps(line) + "\n").encode())


def _one(run: Any, noise: int) -> dict[str, Any]:
    """One case: its outcome, time and memory, or how it broke the promise."""
    _forget_peak()
    before, kept = time.perf_counter(), os.dup(2)
    os.ftruncate(noise, 0)
    os.dup2(noise, 2)
    try:
        outcome = {"outcome": run()}
    except Exception as error:
        outcome = {"violation": f"{type(error).__name__}: {error}"[:300]}
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    if said := os.pread(noise, 300, 0):
        outcome = {"violation": f"printed {said!r}"}
    return outcome | {"ms": round(1000 * (time.perf_counter() - before), 1), "mb": _peak()}


def _limit_memory() -> None:
    """No more than so many gigabytes beyond what the libraries occupy already."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (GIGABYTES << 30),) * 2)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


if __name__ == "__main__":
    main()
