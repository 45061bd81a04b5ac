"""What is kept of an open photo between its jobs, as plain arrays in files: edits, and what the networks saw.

A folder holds `photo` (the file as it came) and for each edit, under a name of its own that is never used again,
`patches-NAME.npz` (what it laid over the photo) and `seen-NAME.npz` (what the networks saw after it; of the photo as
it came `seen-photo.npz`). So no job can take the files of one edit for another's, whatever was done meanwhile.
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


def save_patches(folder: Path, edit: str, patches: Sequence[Patch]) -> None:
    """Keep the patches of an edit."""
    arrays: dict[str, Any] = {"corners": np.array([(p.x, p.y) for p in patches], np.int64).reshape(-1, 2)}
    for number, patch in enumerate(patches):
        arrays |= {f"pixels{number}": patch.pixels, f"weight{number}": patch.weight}
    _write(folder / f"patches-{edit}.npz", arrays)


def load_patches(folder: Path, edit: str) -> list[Patch]:
    """The patches of an edit. Raises `FileNotFoundError` for one that was dropped."""
    with np.load(folder / f"patches-{edit}.npz", allow_pickle=False) as kept:
        corners = kept["corners"].tolist()
        return [Patch(x, y, kept[f"pixels{i}"], kept[f"weight{i}"]) for i, (x, y) in enumerate(corners)]


def save_seen(folder: Path, edits: Sequence[str], seen: Seen) -> None:
    """Keep what was seen of the photo after these edits."""
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
    _write(_seen_file(folder, edits), arrays)


def load_seen(folder: Path, edits: Sequence[str]) -> Seen | None:
    """What was seen of the photo after these edits; None where nobody has looked yet."""
    try:
        kept = np.load(_seen_file(folder, edits), allow_pickle=False)
    except FileNotFoundError:
        return None
    with kept:
        regions = Regions(kept["embeddings"], kept["logits"], kept["area"])
        height, width = kept["shape"].tolist()
        scene = Scene(kept["scene"], regions)
        return Seen(scene, kept["groups"], kept["colours"], (height, width), tuple(kept["nearest"].tolist()))


def drop_edit(folder: Path, edit: str) -> None:
    """Delete all files of an edit, those half-written too."""
    for path in folder.glob(f"*-{edit}.*"):
        path.unlink(missing_ok=True)


def _seen_file(folder: Path, edits: Sequence[str]) -> Path:
    return folder / f"seen-{edits[-1] if edits else PHOTO}.npz"


def _write(path: Path, arrays: dict[str, Any]) -> None:
    """In one step: a job that is stopped leaves the file whole or not there."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write_array(member, np.asanyarray(array), allow_pickle=False)
    part.replace(path)
