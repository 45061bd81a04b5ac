"""A folder or a bucket, behind fsspec: what is in it, reading, and writing in one step.

Names within a place are relative, with `/`, whatever the system. A file of a folder becomes visible whole: it is
written into the place's own state folder, flushed and renamed. An object store shows an object only once it is there.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from unsay.errors import BadInput, UnsayError
from unsay.photo.read import shown

STATE = ".unsay-batch"
"""The folder in a batch's destination that holds what a run needs while it lasts; gone once the run is whole."""
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory"}
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class Entry:
    """A file of a place: its `name` in it, its `size` in bytes.

    `stamp`: changes with its content, as far as the place tells; empty where it does not.
    """

    name: str
    size: int
    stamp: str


@dataclass(frozen=True)
class Place:
    """A folder (`photos`) or a bucket's path (`s3://bucket/photos`); `root` is its path within the file system."""

    url: str
    files: Any
    root: str

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "file" in _protocols(self.files)

    def path(self, name: str) -> str:
        """The full path of one of its files within the file system."""
        return f"{self.root}/{name}" if self.root else name

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self.files.isfile(self.path(name)))

    def walk(self, without: frozenset[str] = frozenset()) -> Iterator[Entry]:
        """Its files and those of the folders in it, a folder at a time.

        Hidden ones, links to folders, and the folders with full paths in `without` are passed over.
        Raises `BadInput` where it cannot be listed.
        """
        try:
            for folder, folders, files in self.files.walk(self.root, detail=True, on_error="raise"):
                for name in [n for n, info in folders.items() if _passed_over(n, info, folder, without)]:
                    del folders[name]
                for name, info in files.items():
                    if name and not name.startswith("."):
                        path = posixpath.join(folder, name)
                        inner = path[len(self.root) :].lstrip("/") if self.root else path.lstrip("/")
                        yield Entry(inner, int(info.get("size") or 0), stamp_of(info))
        except FileNotFoundError:  # in a bucket there are no empty folders
            return
        except (OSError, ValueError) as error:
            raise BadInput(f"cannot list {shown(self.url)}: {_reason(error)}") from error

    def read(self, name: str) -> bytes:
        """The content of one of its files. Raises `OSError` (or what the file system's library raises)."""
        return bytes(self.files.cat_file(self.path(name)))

    def entry(self, name: str) -> Entry:
        """What the place tells of one of its files now. Raises as `read` does."""
        info = self.files.info(self.path(name))
        return Entry(name, int(info.get("size") or 0), stamp_of(info))

    def put(self, name: str, data: bytes) -> None:
        """Put `data` there in one step. Raises `OSError` (or what the file system's library raises)."""
        path = self.path(name)
        if _protocols(self.files) & _OBJECT_STORES:
            self.files.pipe_file(path, data)
            return
        scratch = self.path(f"{STATE}/{secrets.token_hex(8)}.part")
        self.files.makedirs(posixpath.dirname(scratch), exist_ok=True)
        self.files.makedirs(posixpath.dirname(path), exist_ok=True)
        try:
            if self.local:
                _write_and_flush(scratch, data)
                os.replace(scratch, path)
            else:
                self.files.pipe_file(scratch, data)
                self.files.mv(scratch, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self.files.rm_file(scratch)
            raise

    def put_file(self, name: str, local: Path) -> None:
        """Put the content of a file of this machine there in one step, without reading it whole."""
        if self.local:
            scratch = Path(self.path(f"{STATE}/{secrets.token_hex(8)}.part"))
            scratch.parent.mkdir(parents=True, exist_ok=True)
            with open(local, "rb") as source, open(scratch, "wb") as sink:
                while block := source.read(1 << 20):
                    sink.write(block)
                sink.flush()
                os.fsync(sink.fileno())
            os.replace(scratch, self.path(name))
        elif _protocols(self.files) & _OBJECT_STORES:
            self.files.put_file(str(local), self.path(name))
        else:
            inner = f"{STATE}/{secrets.token_hex(8)}.part"
            self.files.makedirs(self.path(STATE), exist_ok=True)
            self.files.put_file(str(local), self.path(inner))
            self.files.mv(self.path(inner), self.path(name))

    def remove(self, name: str) -> None:
        """Delete one of its files, or a folder with all in it; one that is not there is none to delete."""
        with contextlib.suppress(FileNotFoundError):
            self.files.rm(self.path(name), recursive=True)

    def names(self, folder: str) -> list[str]:
        """The names of the files right in one of its folders, sorted; none where there is no such folder."""
        try:
            found = self.files.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(posixpath.basename(str(path)) for path in found)


def open_place(url: str) -> Place:
    """The place that a path or a URL (`s3://...`) names; it need not exist yet. Its own `url` is never relative.

    Raises `BadInput` for a kind of place that no library here knows.
    """
    if "\0" in url or not url:
        raise BadInput(f"{url!r} is no path: name a folder or a bucket")
    return _opened(url if "://" in url or "::" in url else os.path.abspath(url))


@lru_cache(maxsize=64)
def _opened(url: str) -> Place:
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise BadInput(f"{shown(url)} needs a library that is not installed: {_reason(error)}") from error
    except (ValueError, OSError) as error:
        raise BadInput(f"{shown(url)} cannot be opened: {_reason(error)}") from error
    return Place(url, files, str(root).rstrip("/"))


def split_url(url: str) -> tuple[str, str]:
    """A file's path or URL -> that of its folder, and its name."""
    folder, slash, name = url.rpartition("/")
    return (folder or slash or ".", name)


def stamp_of(info: dict[str, Any]) -> str:
    """What a listing tells of a file's content, as one short text; empty where it tells only the size."""
    tags = [str(info[tag]) for tag in _TAGS if info.get(tag)]
    return f"{info.get('size')}:{tags[0]}" if tags else ""


def check_destination(place: Place) -> None:
    """Raise `BadInput` unless files can be written to the place; what is missing of its folder is made."""
    probe = f"{STATE}/probe"
    try:
        place.put(probe, b"")
        place.remove(probe)
    except Exception as error:  # each library has its own
        raise BadInput(f"nothing can be written to {shown(place.url)}: {_reason(error)}") from error


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """No other batch writes into the same folder meanwhile. Raises `UnsayError` where one does.

    Buckets have no locks: there two runs would do the same work twice, and the result is the same.
    """
    if not place.local or os.name != "posix":
        yield
        return
    import fcntl

    state = Path(place.path(STATE))
    state.mkdir(parents=True, exist_ok=True)
    with open(state / "lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnsayError(
                f"another batch is writing into {shown(place.url)}: wait for it, or name another"
            ) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # where a journal is left, the folder stays
                (state / "lock").unlink()
                state.rmdir()


def _passed_over(name: str, info: dict[str, Any], folder: str, without: frozenset[str]) -> bool:
    return name.startswith(".") or bool(info.get("islink")) or posixpath.join(folder, name).rstrip("/") in without


def _protocols(files: Any) -> set[str]:
    named = files.protocol
    return {named} if isinstance(named, str) else set(named)


def _write_and_flush(path: str, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _reason(error: BaseException) -> str:
    told = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return str(told)[:300]
