"""The photos that pages have open: each in a folder of its own, deleted when it is closed, forgotten or crowded out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unsay.web.jobs import Refused
from unsay.web.kept import PHOTO
from unsay.web.settings import MEGABYTE, Settings

PREFIX = "unsay-page-"
_NAME = re.compile(rf"{PREFIX}(\d+)-\w+")


@dataclass(eq=False)
class Opened:
    """An open photo. `steps`: the edits made so far; `lock`: one edit at a time."""

    id: str
    folder: Path
    name: str
    about: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    bytes: int = 0
    used: float = field(default_factory=time.monotonic)
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def state(self, step: int) -> dict[str, Any]:
        """What the API says of it."""
        return {"id": self.id, "name": self.name, **self.about, "step": step, "steps": self.steps}


class Store:
    """All of them, in a private folder that is gone when the server is."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.photos: dict[str, Opened] = {}
        self.incoming: set[Opened] = set()
        sweep_dead()
        self.root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))

    def close(self) -> None:
        """Delete everything."""
        self.photos.clear()
        shutil.rmtree(self.root, ignore_errors=True)

    async def receive(self, chunks: AsyncIterator[bytes], name: str) -> Opened:
        """A new photo from the bytes that come in. Raises `Refused` with 413 for too many of them, 422 for none,
        429 where there is no room.
        """
        self.make_room()
        photo = Opened(secrets.token_urlsafe(16), self.root / secrets.token_hex(16), name)
        photo.folder.mkdir(mode=0o700)
        self.incoming.add(photo)
        try:
            await self._pour(chunks, photo)
        except BaseException:
            self._delete(photo)
            raise
        finally:
            self.incoming.discard(photo)
        if not photo.bytes:
            self._delete(photo)
            raise Refused(422, "no photo came: send the file itself as the request's body")
        return photo

    async def _pour(self, chunks: AsyncIterator[bytes], photo: Opened) -> None:
        with open(photo.folder / PHOTO, "wb") as file:
            async for chunk in chunks:
                photo.bytes += len(chunk)
                if photo.bytes > self.settings.max_bytes:
                    raise too_many_bytes(self.settings)
                if self._bytes() > self.settings.photo_bytes:
                    raise Refused(429, "too many photos come at the same time: try again in a few seconds")
                file.write(chunk)

    def keep(self, photo: Opened) -> None:
        """From now on it can be asked for by its id."""
        self.photos[photo.id] = photo
        self.make_room()

    @contextlib.contextmanager
    def using(self, id: str) -> Iterator[Opened]:
        """The open photo of this id, which nobody deletes meanwhile. Raises `Refused` with 404."""
        photo = self.photos.get(id)
        if photo is None:
            raise Refused(404, "this photo was closed, or not used for long and let go: open it again")
        photo.users += 1
        try:
            yield photo
        finally:
            photo.users -= 1
            photo.used = time.monotonic()
            if photo.id not in self.photos and not photo.users:  # closed meanwhile
                self._delete(photo)

    def drop(self, id: str) -> None:
        """Close a photo; one that is not open is no mistake."""
        photo = self.photos.pop(id, None)
        if photo is not None and not photo.users:
            self._delete(photo)

    def discard(self, photo: Opened) -> None:
        """Delete a photo that was never kept."""
        self._delete(photo)

    def make_room(self) -> None:
        """Let go what was unused for too long, then what was unused for longest while there is too much."""
        idle = sorted((p for p in self.photos.values() if not p.users), key=lambda p: p.used)
        for photo in idle:
            old = time.monotonic() - photo.used > self.settings.keep
            crowded = len(self.photos) > self.settings.photos or self._bytes() > self.settings.photo_bytes
            if old or crowded:
                self.drop(photo.id)

    def _bytes(self) -> int:
        return sum(p.bytes for p in (*self.photos.values(), *self.incoming))

    @staticmethod
    def measure(photo: Opened) -> None:
        """Take note of the room that a photo and its edits take."""
        with contextlib.suppress(FileNotFoundError):  # one that is being replaced
            photo.bytes = sum(path.stat().st_size for path in photo.folder.iterdir())

    @staticmethod
    def _delete(photo: Opened) -> None:
        shutil.rmtree(photo.folder, ignore_errors=True)


def too_many_bytes(settings: Settings) -> Refused:
    """The refusal of a body that is too large."""
    return Refused(413, f"more than {settings.max_bytes // MEGABYTE} MB came; that is the limit: use a smaller file")


def sweep_dead() -> None:
    """Delete the folders of servers that were killed before they could."""
    if os.name != "posix":  # elsewhere there is no harmless way to ask whether a process lives
        return
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        found = _NAME.fullmatch(path.name)
        with contextlib.suppress(OSError):
            own = not path.is_symlink() and (not hasattr(os, "getuid") or path.stat().st_uid == os.getuid())
            if found and own and not _alive(int(found[1])):
                shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
