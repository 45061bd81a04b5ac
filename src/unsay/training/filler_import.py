"""What `unsay import madf` and `unsay import onnx` share: a filler's ONNX file is tried, then takes its place."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unsay.bundle import MANIFEST, Bundle, read_manifest, sha256
from unsay.errors import BadInput, UnsayError
from unsay.inpainting.filler import Filler
from unsay.training.bundling import write_part

BOTH_LICENCES = re.compile(r"segment: (.*); inpaint: (.*)")
"""The licence of a bundle whose parts have one each."""


def place_filler(
    out: Path,
    name: str,
    write: Callable[[Path], list[str]],
    section: Callable[[list[str]], dict[str, Any]],
    *,
    licence: str,
    learned: dict[str, Any],
) -> float:
    """Make what `write` writes the inpaint part of the bundle `out`; a segment part that is there stays.

    `write`: takes a path, called `name`, and returns the names of the files it wrote, that one first; `section` makes
    of those names what the manifest says (see `unsay.inpainting.recipe`). `name` stands for the content, so that the
    files of a part that is replaced stay whole until the manifest names the new ones. Nothing in `out` changes before
    the file has filled a test picture. Returns how far known pixels come back from their values there, as a mean of
    0..255: a range or a colour order that is stated wrongly shows. Raises `BadInput` for a folder that is no bundle, a
    file that does not fill, `BundleError` for a bundle whose manifest cannot be used.
    """
    out = out.resolve()
    new = not (out / MANIFEST).is_file()
    if new and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BadInput(f"{out} exists and is no bundle (no {MANIFEST}): name a new folder with -o")
    if not new:
        licence = joint_licence(read_manifest(out / MANIFEST), licence)
    about_bundle = {"name": out.name, "licence": licence, "training": {"inpaint": learned}}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        trial = Path(scratch) / out.name
        trial.mkdir()
        files = write(trial / name)
        part = section(files)
        write_part(trial, "inpaint", part, files=files, **about_bundle)
        miss = known_miss(Bundle(trial, read_manifest(trial / MANIFEST)))
        if new:
            if out.exists():
                out.rmdir()
            os.rename(trial, out)
            return miss
        for file in files:
            os.replace(trial / file, out / file)
        write_part(out, "inpaint", part, files=files, **about_bundle)
    return miss


def content_name(source: Path, *, half: bool = False) -> str:
    """The name of the filler's graph that is made of the file `source`."""
    return f"filler-{sha256(source)[:8]}{'-half' if half else ''}.onnx"


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
