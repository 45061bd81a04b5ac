"""A small bundle with all parts, whose files and manifest can be replaced, and what is done with it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tests.conftest import write_tiny_bundle
from tests.segmentation.conftest import write_colour_bundle

from unsay.bundle import MANIFEST, Bundle, read_manifest
from unsay.errors import BundleError
from unsay.inpainting.filler import Filler
from unsay.segmentation import segment_pixels
from unsay.segmentation.lexicon import pack_rows
from unsay.training.bundling import write_part

RGB = np.full((48, 64, 3), 127, np.uint8)
RGB[12:36, 8:28], RGB[12:36, 40:56] = (250, 5, 5), (5, 5, 250)
HOLE = np.zeros((48, 64), bool)
HOLE[10:20, 10:30] = True
Edit = Callable[[dict[str, Any]], Any]


def use(folder: Path) -> None:
    """Everything that a bundle is opened for."""
    bundle = Bundle(folder, read_manifest(folder / MANIFEST), threads=1)
    if "inpaint" in bundle.manifest:
        Filler.of(bundle).fill(RGB, HOLE)
    if "features.onnx" in bundle.manifest["files"]:
        segment_pixels(RGB, ["red", "puce"], bundle)


def refusal(folder: Path) -> str:
    """Why the bundle is refused; nothing where it can be used. Any other error is one too many."""
    try:
        use(folder)
    except BundleError as error:
        return str(error)
    return ""


def record(folder: Path) -> None:
    """Make the manifest say of every file what is true of it."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in manifest["files"]:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


@cache
def whole() -> dict[str, bytes]:
    """The files of a small bundle with all parts: it fills by averaging, segments by colour and has a lexicon."""
    with tempfile.TemporaryDirectory() as scratch:
        return _whole(Path(scratch))


def _whole(folder: Path) -> dict[str, bytes]:
    write_colour_bundle(write_tiny_bundle(folder))
    words = {"vocabulary": ["red", "puce"], "photos": [900, 3], "visible": [0], "narrower": {"colour": [0, 1]}}
    words |= {"classes": {"red": [0]}, "related": {"families": [[0, 1]], "words": [[[0], "pink|rose"]], "worn": [1]}}
    (folder / "words.json").write_text(json.dumps(words))
    rows = np.array([(1, -1, -1, 0.3), (0, 0, 0, 1)], np.float32)
    bank = {"bank_mean": np.zeros(4, np.float32), "bank_spread": np.eye(4, dtype=np.float32)}
    np.savez(
        folder / "words.npz", allow_pickle=False, **pack_rows("vocabulary", rows), **pack_rows("classes", rows), **bank
    )
    section = json.loads((folder / MANIFEST).read_bytes())["segment"]
    section["lexicon"] = {"words": "words.json", "vectors": "words.npz"}
    write_part(folder, "segment", section, files=["words.json", "words.npz"])
    use(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make(folder: Path, edit: Edit | None = None, **files: bytes | onnx.ModelProto) -> Path:
    """That bundle in `folder`, with these files replaced ("filler_onnx" and so on), recorded, its manifest edited."""
    for name, content in whole().items():
        (folder / name).write_bytes(content)
    for stem, content in files.items():
        name = stem.replace("_", ".")
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    record(folder)
    if edit is not None:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        edit(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder
