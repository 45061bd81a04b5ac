"""What `unsay import madf` and `unsay import onnx` share: a filler's ONNX file is tried, then takes its place."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unsay.bundle import MANIFEST, Bundle
from unsay.errors import BadInput, UnsayError
from unsay.inpainting.filler import Filler
from unsay.training.bundling import write_part
from unsay.training.inpaint_export import FILE

BOTH_LICENCES = re.compile(r"segment: (.*); inpaint: (.*)")
"""The licence of a bundle whose parts have one each."""


def place_filler(
    out: Path,
    write: Callable[[Path], list[str]],
    section: Callable[[list[str]], dict[str, Any]],
    *,
    licence: str,
    learned: dict[str, Any],
) -> float:
    """Make what `write` writes the inpaint part of the bundle `out`; a segment part that is there stays.

    `write`: takes a path, and returns the names of the files it wrote, that one first; `section` makes of those names
    what the manifest says (see `unsay.inpainting.recipe`). Nothing in `out` changes before the file has filled a test
    picture. Returns how far known pixels come back from their values there, as a mean of 0..255: a range or a colour
    order that is stated wrongly shows. Raises `BadInput` for a folder that is no bundle, a file that does not fill.
    """
    out = out.resolve()
    manifest = out / MANIFEST
    if out.exists() and not manifest.is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise BadInput(f"{out} exists and is no bundle (no {MANIFEST}): name a new folder with -o")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        trial = Path(scratch)
        files = write(trial / FILE)
        about = section(files)
        write_part(trial, "inpaint", about, files=files)
        miss = known_miss(Bundle(trial, json.loads((trial / MANIFEST).read_bytes())))
        licence = joint_licence(json.loads(manifest.read_bytes()), licence) if manifest.exists() else licence
        out.mkdir(exist_ok=True)
        for name in reversed(files):
            os.replace(trial / name, out / name)
        write_part(out, "inpaint", about, files=files, name=out.name, licence=licence, training={"inpaint": learned})
    return miss


def known_miss(bundle: Bundle) -> float:
    """Mean difference, 0..255, between a smooth test picture and what the bundle's filler makes of its known pixels.

    Raises `BadInput` where the filler cannot be opened or does not fill.
    """
    try:
        filler = Filler(bundle)
        side = max(filler.multiple, min(filler.max_side, 64))
        ramp = np.linspace(40, 215, side)
        rgb = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], 90.0), 2).astype(np.uint8)
        hole = np.zeros((side, side), bool)
        hole[side // 3 : side // 2, side // 3 : side // 2] = True
        raw = filler.raw(rgb, hole).astype(np.float64)
    except UnsayError as error:
        raise BadInput(f"the file does not fill a test picture: {error}") from error
    return float(np.abs(raw - rgb)[~hole].mean())


def joint_licence(manifest: dict[str, Any], licence: str) -> str:
    """The bundle's licence once its inpaint part is under `licence`: that alone, or both parts by name."""
    if "segment" not in manifest:
        return licence
    stated = str(manifest.get("licence", "unknown"))
    parts = BOTH_LICENCES.fullmatch(stated)
    return f"segment: {parts.group(1) if parts else stated}; inpaint: {licence}"
