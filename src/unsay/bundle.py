"""Bundles: a folder of data with the networks that a verb needs. Nothing in one is ever executed or unpickled.

`bundle.json` (format 1):

    {"format": 1, "name": "starter", "version": "0.1.0", "licence": "CC-BY-NC-4.0", "card": "CARD.md",
     "files": {"filler.onnx": {"sha256": "...", "bytes": 123}, ...},      every file but bundle.json itself
     "segment": {...}, "inpaint": {...},      either may be absent; each room documents the keys that it reads
     "training": {...}, "scores": {...}}      what it learned from, what it measured
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from unsay.errors import BadInput, BundleError

FORMAT = 1
MOST_THREADS = 256
MANIFEST = "bundle.json"
MAX_MANIFEST_BYTES = 4_000_000
PRECISIONS = ("fp32", "bf16")
T = TypeVar("T")


@dataclass(eq=False)
class Bundle:
    """An opened bundle: its folder, its verified manifest, and the parts that were built from it so far."""

    path: Path
    manifest: dict[str, Any]
    threads: int = 0
    precision: str = "fp32"
    """In which the filling network computes: one of `PRECISIONS`."""
    _parts: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return str(self.manifest["name"])

    def section(self, verb: str) -> dict[str, Any]:
        """The manifest's part for `verb` ("segment" or "inpaint"). Raises `BundleError` where it has none."""
        part = self.manifest.get(verb)
        if not isinstance(part, dict):
            raise BundleError(f"the bundle {self.name!r} cannot {verb}: its {MANIFEST} has no {verb!r} part")
        return part

    def file(self, name: str) -> Path:
        """The path of one of the bundle's files, its size and sha256 checked once. Raises `BundleError`."""
        return self.part(f"file:{name}", lambda: self._verified(name))

    def session(self, name: str) -> Any:
        """An `onnxruntime.InferenceSession` over one of the bundle's files, on the CPU in fp32, made once."""
        return self.part(f"session:{name}", lambda: _open_session(self.file(name), self.threads))

    def part(self, key: str, build: Callable[[], T]) -> T:
        """What `build` returned the first time `key` was asked for: parts live as long as the bundle."""
        if key not in self._parts:
            self._parts[key] = build()
        value: T = self._parts[key]
        return value

    def _verified(self, name: str) -> Path:
        entry = self.manifest["files"].get(name)
        if entry is None:
            raise BundleError(f"the bundle {self.name!r} lists no file {name!r} in {MANIFEST}")
        path = self.path / name
        if path.resolve().parent != self.path.resolve():
            raise BundleError(f"the bundle {self.name!r} names a file outside its folder, or a link to one: {name!r}")
        if not path.is_file():
            raise BundleError(f"the bundle {self.name!r} lacks its file {name!r}: install it again")
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise BundleError(f"{path} has {size} bytes, its manifest says {entry['bytes']}: install it again")
        found = sha256(path)
        if found != entry["sha256"]:
            raise BundleError(f"{path} has sha256 {found[:12]}..., its manifest says {entry['sha256'][:12]}...")
        return path


def load_bundle(
    bundle: str | os.PathLike[str] | Bundle = "starter", *, threads: int = 0, precision: str = "fp32"
) -> Bundle:
    """Open a bundle: a packaged one by name, or any folder that holds a `bundle.json`.

    Opening the same folder twice in one process gives the same object, so that its networks are built once.
    `threads` bounds the processor threads of its networks (0: ONNX Runtime's own choice). `precision`: "bf16" runs the
    filling network in half the time, a little differently, through OpenVINO (see `unsay.inpainting.network`).
    Raises `BundleError` if it is missing, damaged or of a newer format, `BadInput` for what names no bundle.
    """
    if isinstance(bundle, Bundle):
        return bundle
    if not isinstance(bundle, (str, os.PathLike)):
        raise BadInput(f"a bundle is given by name or folder, not as {type(bundle).__name__}: {bundle!r}")
    if not isinstance(threads, int) or not 0 <= threads <= MOST_THREADS:
        raise BadInput(f"threads is {threads!r}; give 0 (ONNX Runtime chooses) to {MOST_THREADS}")
    if precision not in PRECISIONS:
        raise BadInput(f"precision is {precision!r}; known: {', '.join(PRECISIONS)}")
    return _load(str(_find(bundle).resolve()), threads, precision)


def packaged_bundles() -> list[str]:
    """Names of the bundles that came with the package."""
    root = Path(str(resources.files("unsay"))) / "bundles"
    return sorted(p.parent.name for p in root.glob(f"*/{MANIFEST}"))


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def _digest(stream: Any) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _find(bundle: str | os.PathLike[str]) -> Path:
    folder = Path(bundle)
    if (folder / MANIFEST).is_file():
        return folder
    packaged = Path(str(resources.files("unsay"))) / "bundles" / str(bundle)
    if os.sep not in str(bundle) and (packaged / MANIFEST).is_file():
        return packaged
    names = ", ".join(packaged_bundles()) or "none"
    raise BundleError(f"no bundle {str(bundle)!r}: neither a folder with {MANIFEST} nor packaged (packaged: {names})")


@lru_cache(maxsize=8)
def _load(folder: str, threads: int, precision: str) -> Bundle:
    return Bundle(Path(folder), read_manifest(Path(folder) / MANIFEST), threads, precision)


def read_manifest(path: Path) -> dict[str, Any]:
    """A bundle's manifest. Raises `BundleError` for a file that is none, or one of a newer format."""
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} has {path.stat().st_size} bytes; a manifest has at most {MAX_MANIFEST_BYTES}")
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    _check_manifest(path, manifest)
    return manifest


def _check_manifest(path: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("name"), str):
        raise BundleError(f"{path} is not a bundle's manifest: it has no name")
    version = manifest.get("format")
    if version != FORMAT:
        raise BundleError(f"{path} is of format {version!r}; this version of Unsay reads format {FORMAT}: update Unsay")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(e, dict) and isinstance(e.get("bytes"), int) and isinstance(e.get("sha256"), str)
        for e in files.values()
    ):
        raise BundleError(f"{path} must list every file with its bytes and sha256 under 'files'")


def _open_session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions share no public base class
        raise BundleError(f"{path} cannot be opened by ONNX Runtime: {error}") from error
