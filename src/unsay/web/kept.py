"""What is kept of an open photo between its jobs, as plain arrays in files: edits, and what the networks saw.

A folder holds `photo` (the file as it came), `patches-1.npz`, `patches-2.npz`, ... (what each edit laid over it) and
`seen-0.npz`, `seen-1.npz`, ... (what the networks saw after so many edits).
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array

from unsay.results import Patch
from unsay.segmentation.pipeline import Seen
from unsay.segmentation.regions import Regions, Scene

PHOTO = "photo"


def save_patches(folder: Path, step: int, patches: Sequence[Patch]) -> None:
    """Keep the patches of the edit `step`."""
    arrays: dict[str, Any] = {"corners": np.array([(p.x, p.y) for p in patches], np.int64).reshape(-1, 2)}
    for number, patch in enumerate(patches):
        arrays |= {f"pixels{number}": patch.pixels, f"weight{number}": patch.weight}
    _write(folder / f"patches-{step}.npz", arrays)


def load_patches(folder: Path, step: int) -> list[Patch]:
    """The patches of the edit `step`."""
    with np.load(folder / f"patches-{step}.npz", allow_pickle=False) as kept:
        corners = kept["corners"].tolist()
        return [Patch(x, y, kept[f"pixels{i}"], kept[f"weight{i}"]) for i, (x, y) in enumerate(corners)]


def save_seen(folder: Path, step: int, seen: Seen) -> None:
    """Keep what was seen of the photo after `step` edits."""
    regions = seen.scene.regions
    arrays = {
        "scene": seen.scene.groups,
        "embeddings": regions.embeddings,
        "logits": regions.logits,
        "area": regions.area,
        "groups": seen.groups,
        "colours": seen.colours,
        "shape": np.array(seen.shape, np.int64),
        "nearest": np.array(seen.nearest, np.str_),
    }
    _write(folder / f"seen-{step}.npz", arrays)


def load_seen(folder: Path, step: int) -> Seen | None:
    """What was seen of the photo after `step` edits; None where nobody has looked yet."""
    try:
        kept = np.load(folder / f"seen-{step}.npz", allow_pickle=False)
    except FileNotFoundError:
        return None
    with kept:
        regions = Regions(kept["embeddings"], kept["logits"], kept["area"])
        height, width = kept["shape"].tolist()
        scene = Scene(kept["scene"], regions)
        return Seen(scene, kept["groups"], kept["colours"], (height, width), tuple(kept["nearest"].tolist()))


def drop_after(folder: Path, step: int) -> None:
    """Forget the edits after `step`, and what was seen of them."""
    for path in folder.iterdir():
        kind, _, number = path.stem.partition("-")
        if kind in ("patches", "seen") and number.isdecimal() and int(number) > step:
            path.unlink()


def _write(path: Path, arrays: dict[str, Any]) -> None:
    """In one step: a job that is stopped leaves the file whole or not there."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write_array(member, np.asanyarray(array), allow_pickle=False)
    part.replace(path)
