"""Writes one half of a bundle: copies files in, updates `bundle.json` with their sizes and hashes. Needs no torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from unsay.bundle import FORMAT, MANIFEST, sha256

MEASURED = {"segment": ("segment", "presence", "erase"), "inpaint": ("inpaint", "erase")}
"""First words of the scores that depend on each part."""


def write_part(folder: Path, verb: str, section: dict[str, Any], *, files: list[str], **meta: Any) -> None:
    """Record `section` as the bundle's part for `verb` ("segment" or "inpaint").

    `files`: names already lying in `folder` that this part reads. `meta`: top-level keys to set (name, version,
    licence, card), or dictionaries to merge into (`training`, `scores`). The manifest is replaced atomically. Files
    that only the part's former version read are deleted, and scores measured with other files are dropped.
    """
    path = folder / MANIFEST
    manifest: dict[str, Any] = {"format": FORMAT, "name": folder.name, "version": "0.1.0", "files": {}}
    if path.exists():
        manifest = json.loads(path.read_bytes())
    listed, former = dict(manifest["files"]), strings(manifest.get(verb, {}))
    manifest[verb] = section
    for name in files:
        manifest["files"][name] = {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
    read = strings(section) & set(files)
    if "scores" in manifest and any(manifest["files"][name] != listed.get(name) for name in read):
        manifest["scores"] = {k: v for k, v in manifest["scores"].items() if not k.startswith(MEASURED[verb])}
    for key, value in meta.items():
        if isinstance(value, dict):
            manifest.setdefault(key, {}).update(value)
        else:
            manifest[key] = value
    used = strings({key: value for key, value in manifest.items() if key != "files"}) | set(files)
    left = sorted(former & set(listed) - used)
    for name in left:
        del manifest["files"][name]
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(scratch, path)
    for name in left:
        (folder / name).unlink(missing_ok=True)


def strings(value: Any) -> set[str]:
    """All strings that are values in nested dictionaries and lists."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(strings, value)) if isinstance(value, list) else set()
