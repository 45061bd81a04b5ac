"""Bundles: a folder of data with the networks that a verb needs. Nothing in one is ever executed or unpickled.

A file is opened by another library only after its size and sha256 were found as the manifest says and, for a network,
after `unsay.onnx_check` passed it. The sha256 tells damage; it does not tell who made a bundle. A folder that somebody
changes while it is being opened is beyond what can be checked: put bundles where you alone can write.

`bundle.json` (format 1):

    {"format": 1, "name": "starter", "version": "0.1.0", "licence": "CC-BY-NC-4.0", "card": "CARD.md",
     "files": {"filler.onnx": {"sha256": "...", "bytes": 123}, ...},      every file but bundle.json itself
     "segment": {...}, "inpaint": {...},      either may be absent; each room documents the keys that it reads
     "training": {...}, "scores": {...}}      what it learned from, what it measured
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from unsay.errors import BadInput, BundleError
from unsay.onnx_check import Graph, check_graph
from unsay.runtime import Session

FORMAT = 1
MOST_THREADS = 256
MANIFEST = "bundle.json"
MAX_MANIFEST_BYTES = 4_000_000
MOST_FILES = 1000
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

    @property
    def packaged(self) -> bool:
        """Whether it came with the package: what is wrong with it then is our own mistake."""
        return self.path.resolve().parent == _packaged_root().resolve()

    def file(self, name: str) -> Path:
        """The path of one of the bundle's files, its size and sha256 checked once. Raises `BundleError`."""

        def build() -> Path:
            path = self._listed(name)
            self._compare(path, sha256(path))
            return path

        return self.part(f"file:{name}", build)

    def graph(self, name: str) -> Graph:
        """What one of the bundle's ONNX files reads and gives, once it is known to be safe to open. Raises
        `BundleError`, see `unsay.onnx_check`.
        """
        return self.part(f"graph:{name}", lambda: self._checked(name))

    def session(self, name: str) -> Session:
        """One of the bundle's networks, checked and opened once, on the CPU in fp32. Raises `BundleError`."""
        self.graph(name)
        return self.part(f"session:{name}", lambda: Session(self.file(name), self.threads))

    def part(self, key: str, build: Callable[[], T]) -> T:
        """What `build` returned the first time `key` was asked for: parts live as long as the bundle."""
        if key not in self._parts:
            self._parts[key] = build()
        value: T = self._parts[key]
        return value

    @contextmanager
    def answering(self, what: str) -> Iterator[None]:
        """Makes an error that the block meets the bundle's: for blocks that get nothing unchecked but its parts.

        One in a packaged bundle is ours, and comes out as it is.
        """
        try:
            yield
        except (BundleError, MemoryError):
            raise
        except Exception as error:
            if self.packaged:
                raise
            told = " ".join(str(error).split())[:300] or type(error).__name__
            raise BundleError(f"the bundle {self.name!r} cannot {what}, its parts do not fit: {told}") from error

    def _checked(self, name: str) -> Graph:
        path = self._listed(name)
        with open(path, "rb") as stream, _mapped(stream) as data:  # hashed and checked where it lies: no copy is made
            self._compare(path, hashlib.sha256(data).hexdigest())
            graph = check_graph(path, data)
        self._parts[f"file:{name}"] = path
        return graph

    def _listed(self, name: str) -> Path:
        """Where a file lies that the manifest lists, within the folder and of the stated size."""
        entry = self.manifest["files"].get(name) if isinstance(name, str) else None
        if entry is None:
            raise BundleError(f"the bundle {self.name!r} lists no file {name!r} in {MANIFEST}: install it again")
        path = self.path / name
        try:
            outside = path.name != name or path.resolve().parent != self.path.resolve()
            there = path.is_file()
            size = path.stat().st_size if there else 0
        except (ValueError, OSError, RuntimeError) as error:  # a name that no file can have; a link to itself
            raise BundleError(f"the bundle {self.name!r} names a file {name[:80]!r}: {error}") from error
        if outside:
            raise BundleError(f"the bundle {self.name!r} names a file outside its folder, or a link to one: {name!r}")
        if not there:
            raise BundleError(f"the bundle {self.name!r} lacks its file {name!r}: install it again")
        if size != entry["bytes"]:
            raise BundleError(f"{path} has {size} bytes, its manifest says {entry['bytes']}: install it again")
        return path

    def _compare(self, path: Path, found: str) -> None:
        """Raises `BundleError` unless the sha256 that was found is the one that the manifest states."""
        stated = self.manifest["files"][path.name]["sha256"]
        if found != stated:
            raise BundleError(
                f"{path} has sha256 {found[:12]}..., its manifest says {stated[:12]}...: install it again"
            )


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
    return sorted(p.parent.name for p in _packaged_root().glob(f"*/{MANIFEST}"))


def _packaged_root() -> Path:
    return Path(str(resources.files("unsay"))) / "bundles"


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


@contextmanager
def _mapped(stream: BinaryIO) -> Iterator[bytes | mmap.mmap]:
    """A file's content."""
    if os.fstat(stream.fileno()).st_size == 0:  # cannot be mapped
        yield b""
        return
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _digest(stream: Any) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _find(bundle: str | os.PathLike[str]) -> Path:
    folder = Path(bundle)
    if (folder / MANIFEST).is_file():
        return folder
    packaged = _packaged_root() / str(bundle)
    if os.sep not in str(bundle) and (packaged / MANIFEST).is_file():
        return packaged
    names = ", ".join(packaged_bundles()) or "none"
    error = BundleError(f"no bundle {str(bundle)!r}: neither a folder with {MANIFEST} nor packaged (packaged: {names})")
    error.exit_status = BadInput.exit_status  # nothing is wrong with a bundle: a name was given that is none
    raise error


@lru_cache(maxsize=8)
def _load(folder: str, threads: int, precision: str) -> Bundle:
    return Bundle(Path(folder), read_manifest(Path(folder) / MANIFEST), threads, precision)


def read_manifest(path: Path) -> dict[str, Any]:
    """A bundle's manifest. Raises `BundleError` for a file that is none, or one of another format."""
    if path.is_symlink() and path.resolve().parent != path.parent.resolve():
        raise BundleError(f"{path} is a link to a file outside the bundle: copy the file itself")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} has {path.stat().st_size} bytes; a manifest has at most {MAX_MANIFEST_BYTES}")
    manifest = read_json(path, path.read_bytes())
    _check_manifest(path, manifest)
    return dict(manifest)


def read_json(path: Path, content: bytes) -> Any:
    """The value in a JSON file. Raises `BundleError` for what is none, or holds numbers that JSON has no word for."""
    try:
        return json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {str(error)[:200]}") from error


def _no_number(text: str) -> None:
    raise ValueError(f"it holds {text}, which is no number")


def _check_manifest(path: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("name"), str):
        raise BundleError(f"{path} is not a bundle's manifest: it has no name")
    version = manifest.get("format")
    if isinstance(version, bool) or not isinstance(version, int):
        raise BundleError(f"{path} has {str(version)[:80]!r} as its format; expected {FORMAT}: export the bundle again")
    if version != FORMAT:
        do = "update Unsay" if version > FORMAT else "export or import the bundle again"
        raise BundleError(f"{path} is of format {version}; this version of Unsay reads format {FORMAT}: {do}")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(e, dict) and _is_entry(e) for e in files.values()):
        raise BundleError(f"{path} must list every file with its bytes and sha256 under 'files': export it again")
    if len(files) > MOST_FILES:
        raise BundleError(f"{path} lists {len(files)} files; a bundle has at most {MOST_FILES}: it is none of ours")


def _is_entry(entry: dict[str, Any]) -> bool:
    size, digest = entry.get("bytes"), entry.get("sha256")
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return whole and isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) is not None
