"""A folder or a bucket, behind fsspec: what is in it, reading, and writing in one step.

Names within a place are relative, with `/`, whatever the system. A file of a folder becomes visible whole: it is
written into the place's own state folder, flushed and renamed. An object store shows an object only once it is there.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from unsay.errors import BadInput, UnsayError
from unsay.photo.read import shown

STATE = ".unsay-batch"
"""The folder in a batch's destination that holds what a run needs while it lasts; gone once the run is whole."""
LOCK = "lock"
"""The file in it that a running batch holds."""
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

        Hidden ones, links to folders, what is neither file nor folder, and the folders with full paths in `without` are
        passed over. Raises `BadInput` where it, or a folder in it, cannot be listed.
        """
        folders = [self.root]
        while folders:
            folder = folders.pop()
            for info in self._listed(folder):
                path = str(info["name"]).rstrip("/")
                if posixpath.basename(path).startswith(".") or path == folder.rstrip("/"):
                    continue
                if info["type"] == "directory":
                    folders += [] if path in without else [path]
                elif (file := _file(path, info)) is not None:
                    inner = path[len(self.root) :].lstrip("/") if self.root else path.lstrip("/")
                    yield Entry(inner, int(file.get("size") or 0), stamp_of(file))

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        try:
            return list(self.files.ls(folder, detail=True))
        except FileNotFoundError:  # in a bucket there are no empty folders, and elsewhere one may go meanwhile
            return []
        except (OSError, ValueError) as error:
            raise BadInput(f"cannot list {shown(folder)}: {_reason(error)}") from error

    def read(self, name: str) -> bytes:
        """The content of one of its files. Raises `OSError` (or what the file system's library raises)."""
        return bytes(self.files.cat_file(self.path(name)))

    def entry(self, name: str) -> Entry:
        """What the place tells of one of its files now. Raises as `read` does, `BadInput` for what is no file."""
        info = _file(self.path(name), self.files.info(self.path(name)))
        if info is None:
            raise BadInput(f"{shown(name)} is no file")
        return Entry(name, int(info.get("size") or 0), stamp_of(info))

    def put(self, name: str, data: bytes) -> None:
        """Put `data` there in one step. Raises `OSError` (or what the file system's library raises), `BadInput` where
        a link leads out of the place.
        """
        path = self.path(name)
        if _protocols(self.files) & _OBJECT_STORES:
            self.files.pipe_file(path, data)
            return
        scratch = self.path(f"{STATE}/{secrets.token_hex(8)}.part")
        if self.local:
            self._check_inside(scratch, path)
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

    def _check_inside(self, *paths: str) -> None:
        for path in paths:
            folder = _real(self.files, posixpath.dirname(path))
            if folder != self.root and not folder.startswith(f"{self.root}/"):
                raise BadInput(f"{shown(posixpath.dirname(path))} is a link that leads out of {shown(self.url)}")

    def remove(self, name: str) -> None:
        """Delete one of its files; one that is not there is none to delete."""
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(self.path(name))

    def clear(self, folder: str, but: str = "") -> None:
        """Delete one of its folders with all in it; files named `but` stay, and with them their folder."""
        for path in self.files.find(self.path(folder)):
            if posixpath.basename(path) != but:
                with contextlib.suppress(FileNotFoundError):
                    self.files.rm_file(path)
        if self.local:
            for inner, _, _ in os.walk(self.path(folder), topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(inner)

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
    if "file" in _protocols(files):
        root = _real(files, str(root))  # one folder has one name, whatever links lead to it
    return Place(url, files, str(root).rstrip("/"))


def split_url(url: str) -> tuple[str, str]:
    """A file's path or URL -> that of its folder, and its name."""
    folder, slash, name = url.rpartition("/")
    return (folder or slash or ".", name)


def file_at(url: str) -> tuple[Place, str]:
    """A file's place and its name there. Raises `BadInput` as `open_place` does."""
    folder, name = split_url(url)
    return open_place(folder), name


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
    state = Path(place.path(STATE))
    if state.is_symlink():
        raise BadInput(f"{shown(str(state))} is a link: delete it")
    state.mkdir(parents=True, exist_ok=True)
    lock = _locked(state / LOCK, place)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # where a journal is left, the folder stays
            (state / LOCK).unlink()
            state.rmdir()
        os.close(lock)


def _locked(path: Path, place: Place) -> int:
    """The descriptor of the lock file, held. Whoever held it before may have deleted it: then that of the next file."""
    import fcntl

    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(lock), os.lstat(path)):
                return lock
        except BlockingIOError as error:
            os.close(lock)
            told = f"another batch is writing into {shown(place.url)}: wait for it, or name another"
            raise UnsayError(told) from error
        os.close(lock)


def _file(path: str, info: dict[str, Any]) -> dict[str, Any] | None:
    """What is told of a file, or of the file that a link leads to; None for anything else."""
    if not info.get("islink"):
        return info if info["type"] in ("file", "link") else None
    try:
        there = os.stat(path)
    except OSError:  # it leads nowhere
        return None
    return {"size": there.st_size, "mtime": there.st_mtime} if stat.S_ISREG(there.st_mode) else None


def _real(files: Any, path: str) -> str:
    return str(files._strip_protocol(os.path.realpath(path)))


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
