"""Writes one half of a bundle: copies files in, updates `bundle.json` with their sizes and hashes. Needs no torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from unsay.bundle import FORMAT, MANIFEST, sha256


def write_part(folder: Path, verb: str, section: dict[str, Any], *, files: list[str], **meta: Any) -> None:
    """Record `section` as the bundle's part for `verb` ("segment" or "inpaint").

    `files`: names already lying in `folder` that this part reads. `meta`: top-level keys to set (name, version,
    licence, card), or dictionaries to merge into (`training`, `scores`). The manifest is replaced atomically.
    """
    path = folder / MANIFEST
    manifest: dict[str, Any] = {"format": FORMAT, "name": folder.name, "version": "0.1.0", "files": {}}
    if path.exists():
        manifest = json.loads(path.read_bytes())
    manifest[verb] = section
    for name in files:
        manifest["files"][name] = {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
    for key, value in meta.items():
        if isinstance(value, dict):
            manifest.setdefault(key, {}).update(value)
        else:
            manifest[key] = value
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(scratch, path)
