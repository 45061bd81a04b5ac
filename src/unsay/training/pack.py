"""Training packs: photos in files small enough to be lent, with the source tree, to a machine that trains for minutes.

A pack is an uncompressed zip: `manifest.json` first, then `photos/<group>/<name>.jpg`, then `captions.tsv` (photo,
sentence) where its photos have sentences. The same photos give the same bytes. To train from packs elsewhere, with
nothing but PyTorch, PyTorch Lightning, OpenCV, NumPy, SciPy and PyYAML installed:

    PYTHONPATH=src python -m unsay.training.pack packs --minutes 9 --output weights
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import os
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unsay.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from unsay.training.inpaint_config import InpaintConfig
    from unsay.training.photos import Photos

FORMAT = 1
LIMIT_MIB = 64.0
SHORT_SIDE = 256
QUALITY = 92
RESERVE = 1 << 20
"""Bytes left free in each pack's budget, for what carries it."""
OVERHEAD = 160
"""Bytes of a zip's own entries per member, besides twice its name."""
WEIGHTS_BYTES = 15_500_000
"""Weights in one file, so that it stays under 16 MB."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Sample:
    """One photo of a pack: `data` is a JPEG file, `captions` its sentences, if it has any."""

    group: str
    name: str
    data: bytes
    captions: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What it takes in a pack."""
        sentences = sum(len(c.encode()) + len(self.name) + 2 for c in self.captions)
        return len(self.data) + OVERHEAD + 2 * len(f"photos/{self.group}/{self.name}") + sentences


def make_packs(
    sources: list[Path], out: Path, limit_mib: float = LIMIT_MIB, *, tree: Path | None = None, carried: int = 0
) -> list[Path]:
    """Write the photos of the folders `sources` into as few packs as will do; return their paths.

    Each pack fits, with the files of the git checkout `tree` (None: the one around the working directory) and
    `carried` further bytes, into `limit_mib` MiB. A source with `captions-train.tsv` gives the photos listed there,
    with their sentences; one with `images/train` gives those; any other gives every photo under it. Photos are shrunk
    to at most 256 pixels on their shorter side; those that are no larger and JPEG are kept as they are. Every pack
    holds its share of every source. Packs of an earlier call in `out` are replaced.
    Raises `BadInput` for a source without photos, and where the tree leaves no room.
    """
    taken = tree_bytes(tree or Path.cwd()) + carried
    budget = int(limit_mib * (1 << 20)) - taken - RESERVE
    groups = [list(_read_source(source, name)) for source, name in zip(sources, _group_names(sources), strict=True)]
    largest = max((s.bytes for group in groups for s in group), default=0)
    if budget < max(2 * largest, int(limit_mib * (1 << 20) / 20)):  # less would make heaps of tiny packs
        raise BadInput(f"the tree takes {taken / 2**20:.1f} of {limit_mib:g} MiB: too little is left for a pack")
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("pack-*.zip"):
        old.unlink()
    shards = _deal(groups, budget)
    return [_write_pack(out / f"pack-{i:02d}.zip", shard, i, len(shards)) for i, shard in enumerate(shards)]


def read_pack(path: Path) -> Iterator[Sample]:
    """The photos of a pack in their order. Raises `BadInput` for a file that is no pack of this format."""
    try:
        with zipfile.ZipFile(path) as pack:
            _manifest(pack, path)
            captions = _captions(pack)
            for name in pack.namelist():
                if name.startswith("photos/"):
                    _, group, file = name.split("/", 2)
                    yield Sample(group, file, pack.read(name), tuple(captions.get(f"{group}/{file}", ())))
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} cannot be read as a pack ({error}): make it again with unsay pack") from error


def read_photos(packs: Path, weights: Sequence[float] = ()) -> Photos:
    """All photos of a pack, or of a folder of packs, to train from; each source of the packs is one group.

    `weights`: how often each source is drawn from, in the order in which they were packed; default: by their numbers.
    """
    from unsay.training.photos import Photos

    files = sorted(packs.glob("pack-*.zip")) if packs.is_dir() else [packs]
    if not files:
        raise BadInput(f"no packs in {packs}: make them with unsay pack")
    groups: dict[str, list[bytes]] = {}
    for file in files:
        for sample in read_pack(file):
            groups.setdefault(sample.group, []).append(sample.data)
    shares = np.array(weights if len(weights) == len(groups) else [len(g) for g in groups.values()], float)
    return Photos(tuple(tuple(g) for g in groups.values()), tuple((shares / shares.sum()).tolist()))


def train_from_packs(
    packs: Path,
    minutes: float,
    out: Path,
    part: str = "inpaint",
    *,
    config: InpaintConfig | None = None,
    run: Path = Path("runs/from-packs"),
    resume: bool = False,
) -> list[Path]:
    """Train from packs for `minutes`, and leave the averaged weights in the folder `out`, each file under 16 MB.

    `part`: "inpaint". `config`: everything else about the run; its folders are not read. `run`: where the checkpoints
    lie, from which `resume` goes on. Returns the weights' files: the first is a checkpoint that `unsay export` and
    `init_from` take as it is where it is the only one; `join_weights` joins several.
    Raises `BadInput` for another part, no packs, or less than no time.
    """
    if part != "inpaint":
        raise BadInput(f"packs cannot train {part!r}: only 'inpaint' can be trained from photos alone")
    if not minutes > 0:
        raise BadInput(f"{minutes} minutes is no time to train: give more than 0")
    from unsay.training.inpaint import train_inpaint
    from unsay.training.inpaint_config import InpaintConfig

    chosen = replace(config or InpaintConfig(), out=str(run), leave_out="")
    photos = read_photos(packs, chosen.weights)
    checkpoint = train_inpaint(chosen, photos=photos, max_minutes=minutes, resume=resume)
    return split_weights(checkpoint, out)


def split_weights(checkpoint: Path, out: Path, limit: int = WEIGHTS_BYTES) -> list[Path]:
    """The averaged weights of a checkpoint as files of at most `limit` bytes of weights; matrices in half precision.

    Vectors stay in single precision: statistics of batch-norm can exceed what half precision holds.
    """
    import torch

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    kept = {name: _lean(value) for name, value in state["state_dict"].items() if name.startswith("average.")}
    if not kept:
        raise BadInput(f"{checkpoint} holds no averaged weights: give a checkpoint of unsay train inpaint")
    shards: list[dict[str, Tensor]] = [{}]
    for name, value in kept.items():
        if value.nbytes > limit:
            raise BadInput(f"{name} alone has {value.nbytes} bytes; a file may have {limit}")
        if sum(v.nbytes for v in shards[-1].values()) + value.nbytes > limit:
            shards.append({})
        shards[-1][name] = value
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("weights-*.pt"):
        old.unlink()
    about = {key: state[key] for key in ("kind", "config", "global_step")}
    paths = [out / f"weights-{i:02d}.pt" for i in range(len(shards))]
    for i, (path, shard) in enumerate(zip(paths, shards, strict=True)):
        torch.save({**about, "file": i, "files": len(shards), "state_dict": shard}, path)
    return paths


def join_weights(files: Sequence[Path], checkpoint: Path) -> Path:
    """Join the files of `split_weights` to one checkpoint. Raises `BadInput` if one is missing or of another run."""
    import torch

    states = [torch.load(file, map_location="cpu", weights_only=True) for file in files]
    states.sort(key=lambda state: int(state.get("file", -1)))
    if not states or [s.get("file") for s in states] != list(range(states[0]["files"])):
        raise BadInput(f"{len(files)} files of weights are not one whole set: give every weights-*.pt of one folder")
    if any(s["config"] != states[0]["config"] or s["global_step"] != states[0]["global_step"] for s in states):
        raise BadInput("the files of weights are of different runs: give every weights-*.pt of one folder")
    joined = {name: value for state in states for name, value in state["state_dict"].items()}
    torch.save({**states[0], "file": 0, "files": 1, "state_dict": joined}, checkpoint)
    return checkpoint


def tree_bytes(tree: Path) -> int:
    """Bytes of the files that git tracks, or would (not ignored), in the checkout around `tree`."""
    command = ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--full-name"]
    try:
        top = subprocess.run(
            ["git", "-C", str(tree), "rev-parse", "--show-toplevel"], capture_output=True, check=True, text=True
        ).stdout.strip()
        command[2] = top
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BadInput(
            f"{tree} cannot be measured as a git checkout: run this inside one, with git installed"
        ) from error
    files = [Path(top) / os.fsdecode(name) for name in listed.split(b"\0") if name]
    return sum(f.lstat().st_size for f in files if f.is_file() or f.is_symlink())


def _group_names(sources: list[Path]) -> list[str]:
    """The sources' folder names, numbered where two are called alike."""
    names: list[str] = []
    for source in sources:
        name = source.resolve().name.replace(" ", "_")
        same = sum(n == name or n.startswith(name + ".") for n in names)
        names.append(f"{name}.{same + 1}" if same else name)
    return names


def _read_source(source: Path, group: str) -> Iterator[Sample]:
    """The photos of one source, by name."""
    captions: dict[str, list[str]] = {}
    folder = source
    if (source / "captions-train.tsv").is_file():
        folder = source / "images"
        with open(source / "captions-train.tsv", encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                captions.setdefault(row["image"], []).append(row["caption"])
    elif (source / "images" / "train").is_dir():
        folder = source / "images" / "train"
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder of photos")
    files = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and (not captions or p.name in captions)
    )
    if not files:
        raise BadInput(f"no photos under {folder}: expected files ending in {', '.join(SUFFIXES)}")
    for path in files:
        name = "+".join(path.relative_to(folder).parts)
        name += "" if path.suffix == ".jpg" else ".jpg"
        yield Sample(group, name, _small(path), tuple(captions.get(path.name, ())))


def _small(path: Path) -> bytes:
    """The photo as a JPEG of at most `SHORT_SIDE` pixels on its shorter side."""
    data = path.read_bytes()
    photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if photo is None:
        raise BadInput(f"{path} cannot be decoded as a photo: remove it from the folder")
    scale = SHORT_SIDE / min(photo.shape[:2])
    if scale >= 1 and data[:3] == b"\xff\xd8\xff":
        return data
    if scale < 1:
        size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _deal(groups: list[list[Sample]], budget: int) -> list[list[Sample]]:
    """Every source dealt over as few shards as fit into `budget` bytes each; sources stay in their order."""
    ordered = [s for group in groups for s in sorted(group, key=lambda s: hashlib.sha256(s.name.encode()).digest())]
    total = sum(s.bytes for s in ordered)
    count = max(1, math.ceil(total / budget))
    while True:
        shards = [ordered[i::count] for i in range(count)]
        if all(sum(s.bytes for s in shard) <= budget for shard in shards):
            return [shard for shard in shards if shard]
        count += 1


def _write_pack(path: Path, samples: list[Sample], index: int, count: int) -> Path:
    groups: dict[str, dict[str, int]] = {}
    for sample in samples:
        counts = groups.setdefault(sample.group, {"photos": 0, "captions": 0})
        counts["photos"] += 1
        counts["captions"] += len(sample.captions)
    manifest = {"format": FORMAT, "pack": index, "packs": count, "short_side": SHORT_SIDE, "groups": groups}
    scratch = path.with_suffix(".part")
    with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as pack:
        _store(pack, "manifest.json", json.dumps(manifest, indent=1).encode())
        for sample in samples:
            _store(pack, f"photos/{sample.group}/{sample.name}", sample.data)
        lines = [f"{s.group}/{s.name}\t{' '.join(c.split())}\n" for s in samples for c in s.captions]
        if lines:
            _store(pack, "captions.tsv", "".join(lines).encode())
    os.replace(scratch, path)
    return path


def _store(pack: zipfile.ZipFile, name: str, data: bytes) -> None:
    pack.writestr(zipfile.ZipInfo(name, DATE), data, zipfile.ZIP_STORED)


def _manifest(pack: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(pack.read("manifest.json"))
        version = manifest["format"]
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(f"{path} is not a training pack: it has no manifest; make it again with unsay pack") from error
    if version != FORMAT:
        raise BadInput(f"{path} is of format {version!r}; this version reads format {FORMAT}: make it again")
    return dict(manifest)


def _captions(pack: zipfile.ZipFile) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    if "captions.tsv" in pack.namelist():
        for line in io.StringIO(pack.read("captions.tsv").decode()):
            name, _, caption = line.rstrip("\n").partition("\t")
            captions.setdefault(name, []).append(caption)
    return captions


def _lean(value: Tensor) -> Tensor:
    """In half precision, where that loses no more than digits."""
    import torch

    if value.dtype != torch.float32 or value.ndim < 2 or float(value.abs().max()) > 6e4:
        return value.contiguous()
    return value.half().contiguous()


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m unsay.training.pack`: train from packs where the command line's own packages are not installed."""
    parser = argparse.ArgumentParser(prog="python -m unsay.training.pack", description=train_from_packs.__doc__)
    parser.add_argument("packs", type=Path, help="a pack, or a folder of packs")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--config", type=Path, help="the run's configuration, a YAML file")
    parser.add_argument("--run", type=Path, default=Path("runs/from-packs"), help="folder for the checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    given = parser.parse_args(arguments)
    from unsay.training.config import load_config
    from unsay.training.inpaint_config import InpaintConfig

    config = load_config(given.config, InpaintConfig) if given.config else None
    files = train_from_packs(
        given.packs, given.minutes, given.output, config=config, run=given.run, resume=given.resume
    )
    for file in files:
        print(file)


if __name__ == "__main__":
    main()
