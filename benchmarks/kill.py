"""`kill -9` of real processes of `unsay erase`, `unsay export` and `unsay train inpaint`: what is left, does it go on?

    python benchmarks/kill.py --erase 110 --train 50 --export 40 --seed 0

Each run is a process of its own, forked from this one once the libraries are loaded, that calls the real command line.
In it every write is slowed down (pieces with pauses between them, pauses before and after each rename) and tells this
process how far it has come, so that the kill can be aimed: before the first write, inside one, between a write and its
rename, between two files, or after the last rename. Then: no half-written file under a final name, the source as it
was, and the next run, not slowed down, ends as if nothing had happened.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import dataclasses
import hashlib
import io
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

sys.path.append(str(Path(__file__).parents[1]))

from unsay import cli

PHASES = ("before the first write", "inside a write", "between write and rename", "between two files", "after")
AIM = {"b": 0, "o": 1, "w": 1, "c": 2, "r": 3}
"""What a process tells, and the phase that it is in then: begun, opened, wrote a piece, closed, renamed."""
SECONDS = 120


class SlowFile:
    """A file opened for writing whose bytes arrive in pieces, with pauses; it tells of each."""

    def __init__(self, file: Any, tell: Callable[[str], None]) -> None:
        self._file, self._tell = file, tell
        tell("o")

    def write(self, data: Any) -> int:
        """Write in eight pieces."""
        step = max(1, -(-len(data) // 8))
        for at in range(0, len(data), step):
            self._file.write(data[at : at + step])
            self._file.flush()
            self._tell("w")
            time.sleep(0.001)
        return len(data)

    def __enter__(self) -> SlowFile:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)
        self._tell("c")

    def close(self) -> None:
        """Close, and tell of it."""
        if not self._file.closed:
            self._file.close()
            self._tell("c")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def slowed(tell: Callable[[str], None]) -> None:
    """From now on this process writes files slowly and tells how far it is."""
    opened, replaced = builtins.open, os.replace

    def slow_open(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        given = opened(file, mode, *rest, **options)
        name = "" if isinstance(file, int) else Path(file).name
        scratch = not name or name.endswith((".part", ".tmp")) or name.startswith("tmp")  # of Python's own tempfile
        return SlowFile(given, tell) if "w" in mode and scratch else given

    def slow_replace(*given: Any, **options: Any) -> None:
        time.sleep(0.004)
        replaced(*given, **options)
        tell("r")
        time.sleep(0.004)

    builtins.open, io.open, os.replace = slow_open, slow_open, slow_replace  # type: ignore[assignment]


def started(arguments: list[str], slow: bool) -> tuple[int, int]:
    """The command line in a process of its own: its number, and the pipe through which it tells."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    os.close(reader)
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    status = 99
    with contextlib.suppress(BaseException):
        os.write(writer, b"b")
        if slow:
            slowed(lambda mark: os.write(writer, mark.encode()) and None)
        status = cli.main(arguments)
    os._exit(status)


def killed(arguments: list[str], phase: int, chance: random.Random, typical: float) -> int:
    """Start, kill in `phase` or as near to it as it comes, and say in which one it was."""
    pid, reader = started(arguments, slow=True)
    told, wanted = b"", chance.randrange(1, 9)
    deadline = time.monotonic() + SECONDS
    if phase == 0:
        time.sleep(chance.uniform(0, typical))
    while phase and time.monotonic() < deadline and select.select([reader], [], [], SECONDS)[0]:
        mark = os.read(reader, 1)
        told += mark
        if not mark or _reached(told, phase, wanted):
            break
    time.sleep(chance.choice((0, 0, 0.001, 0.003)))
    os.kill(pid, signal.SIGKILL)
    ended = os.waitpid(pid, 0)[1]
    while block := os.read(reader, 4096):
        told += block
    os.close(reader)
    return 4 if os.WIFEXITED(ended) or (told.endswith(b"r") and _is_last(arguments, told)) else AIM[chr(told[-1])]


def _reached(told: bytes, phase: int, wanted: int) -> bool:
    if phase == 1:
        return told.count(b"w") >= wanted
    return told.endswith({2: b"c", 3: b"r", 4: b"\0"}[phase])


def _is_last(arguments: list[str], told: bytes) -> bool:
    """Whether the rename just told of is the command's last one."""
    return told.count(b"r") >= {"erase": 1, "inpaint": 1, "export": 2, "train": 3}[arguments[0]]


def finished(arguments: list[str]) -> int:
    """Run to the end, not slowed down; the exit status."""
    pid, reader = started(arguments, slow=False)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(reader)
    return status


# --- the three commands -------------------------------------------------------------------------------------------


class Erase:
    """A photo, the words' bundle of the tests, and where the result goes: a new file, an old one, the photo itself."""

    def __init__(self, folder: Path) -> None:
        from fuzz.stage import tests_conftest, tiny_bundle

        tiny_bundle()  # words are colours from here on, in this process and those forked from it
        self.folder, self.bundle = folder / "erase", folder / "bundle"
        self.folder.mkdir()
        self.bundle.mkdir()
        tests_conftest().write_tiny_bundle(self.bundle)
        rgb = np.random.default_rng(0).integers(90, 130, (150, 200, 3), np.uint8)
        rgb[40:90, 50:100] = (10, 10, 230)
        self.photo = cv2.imencode(".png", rgb)[1].tobytes()
        self.old = b"what was there"
        self._arrange("new")
        assert finished(self.arguments("new")) == 0
        self.expected = (self.folder / "out.png").read_bytes()

    def arguments(self, where: str) -> list[str]:
        """The command."""
        given = ["erase", str(self.folder / "photo.png"), "red", "--bundle", str(self.bundle)]
        return [*given, *(["--in-place"] if where == "in place" else ["-o", str(self.folder / "out.png")])]

    def run(self, phase: int, chance: random.Random) -> int:
        """One kill and what must hold after it."""
        where = chance.choice(("new", "old", "in place"))
        self._arrange(where)
        hit = killed(self.arguments(where), phase, chance, 0.05)
        photo, out = self._read("photo.png"), self._read("out.png")
        assert photo == self.photo or (where == "in place" and photo == self.expected), "the source is damaged"
        assert out in {"new": (None, self.expected), "old": (self.old, self.expected), "in place": (None,)}[where]
        (self.folder / "photo.png").write_bytes(self.photo)
        assert finished(self.arguments(where)) == 0, "the next run failed"
        assert self._read("photo.png" if where == "in place" else "out.png") == self.expected
        return hit

    def _arrange(self, where: str) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        (self.folder / "photo.png").write_bytes(self.photo)
        if where == "old":
            (self.folder / "out.png").write_bytes(self.old)

    def _read(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.exists() else None


class Train:
    """A tiny training run with three checkpoints; after a kill it is resumed, and ends as one that was not killed."""

    def __init__(self, folder: Path) -> None:
        from unsay.models.madf import MADFConfig
        from unsay.training.inpaint_config import InpaintConfig
        from unsay.training.inpaint_losses import LossWeights
        from unsay.training.machine import MachineConfig

        self.folder, photos, self.config = folder / "train", folder / "photos", folder / "train.yaml"
        photos.mkdir()
        for i, coarse in enumerate(np.random.default_rng(0).integers(0, 255, (4, 5, 5, 3), np.uint8)):
            cv2.imwrite(str(photos / f"{i}.png"), cv2.resize(coarse, (80, 80), interpolation=cv2.INTER_CUBIC))
        config = InpaintConfig(
            folders=(str(photos),),
            network=MADFConfig(width=0.05, levels=5, refinements=1),
            losses=LossWeights(variation=0.0),
            machine=MachineConfig(accelerator="cpu", threads=1),
            out=str(self.folder),
            **{"crop": 32, "batch": 2, "steps": 6, "warmup": 1, "save_every": 2, "pictures_every": 0},
        )
        self.config.write_text(yaml.safe_dump(_plain(dataclasses.asdict(config))))
        assert finished(self.arguments()) == 0
        self.expected = self.weights()

    def arguments(self) -> list[str]:
        """The command."""
        return ["train", "inpaint", "--config", str(self.config)]

    def weights(self) -> str:
        """A digest of the network that the run's checkpoint holds, which must be whole."""
        import torch

        stored = torch.load(self.folder / "last.ckpt", weights_only=True)
        digest = hashlib.sha256(str(stored["global_step"]).encode())
        for name, value in sorted(stored["state_dict"].items()):
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def run(self, phase: int, chance: random.Random) -> int:
        """One kill and what must hold after it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        hit = killed(self.arguments(), phase, chance, 0.8)
        if (self.folder / "last.ckpt").exists():
            self.weights()
            assert finished([*self.arguments(), "--resume"]) == 0, "the run does not go on"
        else:
            assert finished([*self.arguments(), "--resume"]) == 2, "nothing to resume is to be said"
            assert finished(self.arguments()) == 0, "the next run failed"
        assert self.weights() == self.expected, "the resumed run ends otherwise"
        return hit


class Export:
    """A checkpoint exported over an older export: the folder is the old bundle, the new one, or refused as damaged."""

    def __init__(self, folder: Path, train: Train) -> None:
        import torch

        self.folder, self.kept = folder / "exported", folder / "kept" / "exported"
        self.checkpoint, other = folder / "new.ckpt", folder / "old.ckpt"
        shutil.copy(train.folder / "last.ckpt", self.checkpoint)
        stored = torch.load(self.checkpoint, weights_only=True)
        stored["state_dict"] = {k: v * 2 if v.is_floating_point() else v for k, v in stored["state_dict"].items()}
        torch.save(stored, other)
        assert finished(self.arguments()) == 0
        self.new = self._digest()
        assert finished(["export", str(other), "-o", str(self.kept)]) == 0

    def arguments(self) -> list[str]:
        """The command."""
        return ["export", str(self.checkpoint), "-o", str(self.folder)]

    def run(self, phase: int, chance: random.Random) -> int:
        """One kill and what must hold after it."""
        from unsay.bundle import read_manifest, sha256
        from unsay.errors import BundleError

        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)
        hit = killed(self.arguments(), phase, chance, 2.0)
        manifest = read_manifest(self.folder / "bundle.json")
        matching = all(sha256(self.folder / n) == e["sha256"] for n, e in manifest["files"].items())
        try:
            _verified(self.folder, manifest)
            assert matching, "a damaged bundle was opened"
        except BundleError:
            assert not matching, "a whole bundle was refused"
        assert finished(self.arguments()) == 0, "the next export failed"
        assert self._digest() == self.new, "the next export is another one"
        assert sorted(p.name for p in self.folder.iterdir()) == ["bundle.json", "filler.onnx"]
        return hit

    def _digest(self) -> list[bytes]:
        return [hashlib.sha256(path.read_bytes()).digest() for path in sorted(self.folder.glob("*.*"))]


def _verified(folder: Path, manifest: dict[str, Any]) -> None:
    from unsay.bundle import Bundle

    bundle = Bundle(folder, manifest)
    for name in manifest["files"]:
        bundle.file(name)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (tuple, list)) else value


def main(given: list[str] | None = None) -> None:
    """Kill as often as asked, and print where the kills fell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in (("erase", 110), ("train", 50), ("export", 40)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(given)
    start, counts = time.monotonic(), {name: Counter[int]() for name in ("erase", "train", "export")}
    with tempfile.TemporaryDirectory() as scratch:
        folder, chance = Path(scratch), random.Random(options.seed)
        for name, subject in _subjects(folder, options):
            for number in range(getattr(options, name)):
                counts[name][subject.run(_aimed(name, number), chance)] += 1
    asked = " ".join(f"--{name} {getattr(options, name)}" for name in (*counts, "seed"))
    print(f"python benchmarks/kill.py {asked}\n\n{'killed':26}" + "".join(f"{name:>8}" for name in (*counts, "all")))
    for number, phase in enumerate(PHASES):
        row = [counts[name][number] for name in counts]
        print(f"{phase:26}" + "".join(f"{count:>8}" for count in (*row, sum(row))))
    totals = [sum(counts[name].values()) for name in counts]
    print(f"{'all':26}" + "".join(f"{count:>8}" for count in (*totals, sum(totals))))
    print(f"\nno half-written file, sources untouched, every next run clean; {time.monotonic() - start:.0f} s")


def _subjects(folder: Path, options: argparse.Namespace) -> Any:
    if options.erase:
        yield "erase", Erase(folder)
    if options.train or options.export:
        train = Train(folder)
        exported = Export(folder, train) if options.export else None
        yield "train", train
        if exported is not None:
            yield "export", exported


def _aimed(name: str, number: int) -> int:
    """Phases in turn, those inside a write twice as often; one file alone has no time between two."""
    return ((1, 0, 2, 1, 4) if name == "erase" else (1, 0, 2, 1, 3, 4))[number % (5 if name == "erase" else 6)]


if __name__ == "__main__":
    main()
