"""A watched folder: each photo that is put there is edited once it is whole, whatever the others are like."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchfiles import Change, watch

from unsay.adapt import default_output
from unsay.bundle import Bundle
from unsay.delivery import check_places
from unsay.errors import BadInput, BundleError, NotFound, UnsayError
from unsay.inpainting import settled
from unsay.options import MAX_MEGAPIXELS, EraseOptions
from unsay.photo.read import shown
from unsay.photo.write import SUFFIXES
from unsay.segmentation.pieces import check_picks
from unsay.segmentation.words import check_words
from unsay.verbs import run_erase

RESULTS = "unsaid"
"""The folder within the watched one where results go, where no other is named."""
SETTLED = 0.5
"""Seconds without a change after which a file is taken for whole."""
PATIENCE = 5.0
"""The same for one that cannot be read, or has no bytes: something may be writing it with pauses."""
_TICK_MS = 200
_ANY_SIZE = (10**9, 10**9)

Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Handled:
    """A photo that was edited, or why not. `details`: as a report has them, or the scores of words not found."""

    photo: Path
    output: Path | None
    status: int
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Watch:
    """What is done with each photo of `folder`. `results`: where to; None: `unsaid` in it. Raises `BadInput`."""

    folder: Path
    words: Sequence[str]
    options: EraseOptions
    bundle: Bundle
    results: Path | None = None
    max_megapixels: float = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        check_words(self.words)
        check_picks(self.options.segment, *_ANY_SIZE)
        settled(self.options.inpaint, _ANY_SIZE)
        if not self.folder.is_dir():
            raise BadInput(f"{shown(self.folder)} is no folder: name the folder that photos are put into")
        self._make_place()

    @property
    def place(self) -> Path:
        """The folder that results are written to."""
        return self.folder / RESULTS if self.results is None else self.results

    def output(self, photo: Path) -> Path:
        """Where the result of a photo goes: under its own name, or as `photo.unsaid.jpg` beside it."""
        return default_output(photo) if self._is_beside() else self.place / photo.name

    def photos(self) -> list[Path]:
        """The photos that lie in the folder now, in the order of their names."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError as error:
            raise self._gone(error) from error
        return [self.folder / name for name in names if self.takes(name)]

    def takes(self, name: str) -> bool:
        """Whether a file of this name is a photo to edit: none that is hidden, and no result of ours."""
        path = Path(name)
        if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            return False
        return not (path.stem.endswith(".unsaid") and self._is_beside())

    def run(self, *, existing: bool = True, stop: Any = None) -> Iterator[Handled]:
        """Edit photos as they come, until `stop` (an event) is set. `existing`: first those without a result.

        Raises `UnsayError` where the folder is gone, `BundleError` for a bundle that cannot be used.
        """
        waiting = Waiting()
        for photo in self._arriving(waiting, existing, stop):
            done = self.handle(photo)
            if done.status != BadInput.exit_status or not waiting.again(photo):
                yield done

    def handle(self, photo: Path) -> Handled:
        """Edit one photo; whatever is wrong with it is told, not raised."""
        try:
            self._make_place()
            outcome = run_erase(
                photo,
                self.words,
                self.options,
                bundle=self.bundle,
                output=self.output(photo),
                max_megapixels=self.max_megapixels,
            )
        except BundleError:
            raise
        except NotFound as error:
            details = {"scores": error.scores, "nearest": error.nearest}
            return Handled(photo, None, error.exit_status, str(error), details)
        except UnsayError as error:
            return Handled(photo, None, error.exit_status, str(error))
        except Exception as error:
            return Handled(photo, None, 1, f"{type(error).__name__}: {error}")
        return Handled(photo, outcome.value, 0, None, outcome.report.details)

    def _arriving(self, waiting: Waiting, existing: bool, stop: Any) -> Iterator[Path]:
        """Each photo once it is whole, and again whenever it was replaced since."""
        known = {photo for photo in self.photos() if not existing or self.output(photo).exists()}
        waiting.pass_over(known)
        begun = False
        for changes in self._changes(stop):
            photos = [self.folder / Path(name).name for _, name in changes if self._is_here(name)]
            if not begun:  # from here on nothing is missed, so what came before this moment is looked at now
                photos += [photo for photo in self.photos() if photo not in known]
                begun = True
            for photo in sorted(set(photos)):
                waiting.add(photo)
            yield from waiting.whole()

    def _changes(self, stop: Any) -> Iterator[set[tuple[Change, str]]]:
        how: dict[str, Any] = {"debounce": 2 * _TICK_MS, "rust_timeout": _TICK_MS, "yield_on_timeout": True}
        try:
            for changes in watch(self.folder, watch_filter=None, recursive=False, stop_event=stop, **how):
                if not self.folder.is_dir():
                    raise self._gone()
                yield changes
        except OSError as error:
            raise self._gone(error) from error

    def _is_beside(self) -> bool:
        """Whether results are written into the watched folder itself."""
        return os.path.realpath(self.place) == os.path.realpath(self.folder)

    def _is_here(self, name: str) -> bool:
        """Whether a path that changed is a photo in the folder itself, however the system spells that."""
        path = Path(name)
        return self.takes(path.name) and os.path.realpath(path.parent) == os.path.realpath(self.folder)

    def _make_place(self) -> None:
        try:
            self.place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            name = shown(self.place)
            raise BadInput(f"{name} cannot be made ({error.strerror}): name another folder with -o") from error
        check_places(self.place / "photo")

    def _gone(self, error: OSError | None = None) -> UnsayError:
        reason = f" ({error.strerror or error})" if error else ""
        return UnsayError(f"{shown(self.folder)} can no longer be watched{reason}: make it, and start again")


class Waiting:
    """Photos that came, until their size, time and place on the disk stay the same for a while."""

    def __init__(self) -> None:
        self._files: dict[Path, tuple[Signature | None, float, float]] = {}
        self._last: tuple[Path, tuple[Signature | None, float, float]] | None = None
        self._done: dict[Path, Signature | None] = {}

    def pass_over(self, photos: Iterable[Path]) -> None:
        """Leave photos as they are now: only if they change is there anything to do."""
        self._done.update({photo: _signature(photo) for photo in photos})

    def add(self, photo: Path) -> None:
        """A photo came or changed."""
        self._files.setdefault(photo, (None, time.monotonic(), SETTLED))

    def again(self, photo: Path) -> bool:
        """Whether the photo that was given out last, and could not be read, gets more time to become whole."""
        if self._last is None or self._last[0] != photo:
            return False
        signature, since, needed = self._last[1]
        if needed >= PATIENCE and signature == _signature(photo):
            return False
        self._files[photo] = (signature, since, PATIENCE)
        self._done.pop(photo, None)
        return True

    def whole(self) -> Iterator[Path]:
        """Those that are whole now, each of which is then no longer waited for; those that are gone are forgotten."""
        for photo in list(self._files):
            before, since, needed = self._files[photo]
            now = _signature(photo)
            if now is None:
                del self._files[photo]
                self._done.pop(photo, None)
            elif now == self._done.get(photo):  # new permissions, say, are no new photo
                del self._files[photo]
            elif now != before:
                self._files[photo] = (now, time.monotonic(), SETTLED)
            elif time.monotonic() - since >= (needed if now[0] else PATIENCE):
                self._last = (photo, self._files.pop(photo))
                self._done[photo] = now
                yield photo


def _signature(photo: Path) -> Signature | None:
    """What changes with a file: its size, time and place on the disk; None for what is no ordinary file."""
    try:
        status = os.stat(photo)
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None
