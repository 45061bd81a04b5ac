"""The photos that pages have open: each in a folder of its own, deleted when it is closed, forgotten or crowded out."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unsay.leftovers import private_folder
from unsay.web.jobs import Refused
from unsay.web.kept import PHOTO, drop_edit
from unsay.web.settings import MEGABYTE, Settings
from unsay.web.work import FULL, FULL_SENTENCE

PREFIX = "unsay-page-"


@dataclass(eq=False)
class Opened:
    """An open photo. `edits`: the names of those made so far, in order; `bytes`: the room that its files take."""

    id: str
    folder: Path
    name: str
    about: dict[str, Any] = field(default_factory=dict)
    edits: list[str] = field(default_factory=list)
    bytes: int = 0
    used: float = field(default_factory=time.monotonic)
    users: int = 0
    editing: bool = False

    def state(self, step: int) -> dict[str, Any]:
        """What the API says of it."""
        return {"id": self.id, "name": self.name, **self.about, "step": step, "steps": len(self.edits)}

    def until(self, step: int) -> tuple[str, ...]:
        """The edits up to a step. Raises `Refused` with 409 for one that was not made."""
        if step > len(self.edits):
            raise Refused(409, f"the photo has {len(self.edits)} edits; there is no step {step}")
        return tuple(self.edits[:step])

    def add(self, edit: str, step: int) -> None:
        """An edit was made upon this step: those after it are dropped."""
        dropped, self.edits = self.edits[step:], [*self.edits[:step], edit]
        for old in dropped:
            drop_edit(self.folder, old)

    def measure(self) -> None:
        """Take note of the room that its files take."""
        with contextlib.suppress(FileNotFoundError):  # one that is being replaced
            self.bytes = sum(path.stat().st_size for path in self.folder.iterdir())


class Store:
    """All of them, in a private folder that is gone when the server is."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.photos: dict[str, Opened] = {}
        self.incoming: set[Opened] = set()
        self.root = private_folder(PREFIX)

    def close(self) -> None:
        """Delete everything."""
        self.photos.clear()
        shutil.rmtree(self.root, ignore_errors=True)

    async def receive(self, chunks: AsyncIterator[bytes], name: str) -> Opened:
        """A new photo from the bytes that come in: then `keep` or `discard` it.

        Raises `Refused` with 413 for too many of them, 422 for none, 429 where there is no room.
        """
        self.make_room()
        photo = Opened(secrets.token_urlsafe(16), self.root / secrets.token_hex(16), name)
        photo.folder.mkdir(mode=0o700, parents=True)
        self.incoming.add(photo)
        try:
            await self.pour(chunks, photo, PHOTO)
        except BaseException:
            self.discard(photo)
            raise
        if not photo.bytes:
            self.discard(photo)
            raise Refused(422, "no photo came: send the file itself as the request's body")
        return photo

    async def pour(self, chunks: AsyncIterator[bytes], photo: Opened, name: str) -> Path:
        """Bytes that come in, as a file in the photo's folder. Raises as `receive` does."""
        path, came = photo.folder / name, 0
        try:
            with open(path, "wb") as file:
                async for chunk in chunks:
                    came += len(chunk)
                    if came > self.settings.max_bytes:
                        raise too_many_bytes(self.settings.max_bytes)
                    self._need(len(chunk))
                    photo.bytes += len(chunk)
                    file.write(chunk)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise Refused(507, FULL_SENTENCE) from None
        return path

    def _need(self, more: int) -> None:
        """Make room for `more` bytes, if they need any. Raises `Refused` with 429 where there is none."""
        if self._bytes() + more > self.settings.photo_bytes:
            self.make_room(more)
            if self._bytes() + more > self.settings.photo_bytes:
                raise Refused(429, "there is no room for more photos now: try again in a few seconds")

    def keep(self, photo: Opened) -> None:
        """From now on it can be asked for by its id."""
        photo.measure()
        photo.used = time.monotonic()
        self.incoming.discard(photo)
        self.photos[photo.id] = photo
        self.make_room(keep=photo)

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
        self.incoming.discard(photo)
        self._delete(photo)

    def make_room(self, more: int = 0, keep: Opened | None = None) -> None:
        """Let go what was unused for too long, then what was unused for longest while there is too much.

        `more`: bytes that are to come; `keep`: a photo that stays whatever there is.
        """
        idle = sorted((p for p in self.photos.values() if not p.users and p is not keep), key=lambda p: p.used)
        for photo in idle:
            old = time.monotonic() - photo.used > self.settings.keep
            crowded = len(self.photos) > self.settings.photos or self._bytes() + more > self.settings.photo_bytes
            if old or crowded:
                self.drop(photo.id)

    def _bytes(self) -> int:
        return sum(p.bytes for p in (*self.photos.values(), *self.incoming))

    @staticmethod
    def _delete(photo: Opened) -> None:
        shutil.rmtree(photo.folder, ignore_errors=True)


def too_many_bytes(limit: int) -> Refused:
    """The refusal of a body that is too large."""
    return Refused(413, f"more than {limit / MEGABYTE:g} MB came; that is the limit: use a smaller file")
