"""What frozen networks see in every training photo, computed once and kept: its groups, and the starter's patches.

The work is kept in chunks of photos, each written whole, so that a stopped preparation goes on where it was and several
processes can share it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.results import Pixels
from unsay.training.pairs_readers import PairReader, decode
from unsay.training.segment_files import write_atomically

log = logging.getLogger(__name__)
CHUNK = 256
"""Photos in one file."""


class View(NamedTuple):
    """One look at one photo.

    groups [h, w] int8: the region of each cell of a grid, from 0; patches [C, h', w'] fp16: the map that the region
    encoder reads, or None where it reads pixels.
    """

    groups: npt.NDArray[np.int8]
    patches: npt.NDArray[np.float16] | None


Look = Callable[[Pixels], View]
"""A photo [H, W, 3] uint8 RGB -> its view; the same shapes for every photo."""


@dataclass(frozen=True)
class Views:
    """The kept views of `photos` photos in `folder`; `flipped`: the mirror image has a view of its own."""

    folder: Path
    photos: int
    flipped: bool = False

    def view(self, photo: int, mirrored: bool = False) -> View:
        """The view of one photo; of its mirror image if `mirrored`."""
        chunk, row = divmod(photo, CHUNK)
        parts = [self._open(kind, chunk, mirrored) for kind in ("groups", "patches")]
        return View(parts[0][row], None if parts[1] is None else parts[1][row])

    def readable(self) -> npt.NDArray[np.int64]:
        """Numbers of the photos that could be read. The others are counted in the log; `BadInput` if none is left."""
        chunks = range(-(-self.photos // CHUNK))
        whole = np.concatenate([self._open("groups", chunk, False)[:, 0, 0] >= 0 for chunk in chunks])
        if not whole.any():
            raise BadInput(f"none of the {self.photos} training photos can be read: see the warnings above")
        if not whole.all():
            log.warning("%d of %d photos cannot be read and are left out", np.sum(~whole), self.photos)
        return np.flatnonzero(whole)

    def missing(self, rank: int = 0, ranks: int = 1) -> list[tuple[int, bool]]:
        """Chunks of this process's share that are not there yet, with whether they are of the mirror images."""
        chunks = range(-(-self.photos // CHUNK))
        wanted = [(chunk, mirrored) for mirrored in ((False, True) if self.flipped else (False,)) for chunk in chunks]
        return [(c, m) for c, m in wanted[rank::ranks] if not self._path("groups", c, m).is_file()]

    def prepare(self, reader: PairReader, look: Look, chunks: Iterable[tuple[int, bool]]) -> None:
        """Look at the photos of the `chunks` and keep the views."""
        for chunk, mirrored in chunks:
            numbers = range(chunk * CHUNK, min(self.photos, (chunk + 1) * CHUNK))
            log.info("looking at photos %d to %d of %d", numbers[0] + 1, numbers[-1] + 1, self.photos)
            views = [_look(reader, number, look, mirrored) for number in numbers]
            self._write(chunk, mirrored, views)

    def _write(self, chunk: int, mirrored: bool, views: list[View | None]) -> None:
        seen = next((view for view in views if view is not None), None)
        columns = [("patches", 0), ("groups", -1)]  # groups last: where they are, the chunk is complete
        for kind, blank in columns:
            one = getattr(seen, kind, np.zeros((1, 1), np.int8) if kind == "groups" else None)
            if one is not None:
                rows = [np.full_like(one, blank) if view is None else getattr(view, kind) for view in views]
                write_atomically(self._path(kind, chunk, mirrored), partial(_save, np.stack(rows)))

    def _open(self, kind: str, chunk: int, mirrored: bool) -> Any:
        path = self._path(kind, chunk, mirrored)
        return _mapped(path) if path.is_file() else None

    def _path(self, kind: str, chunk: int, mirrored: bool) -> Path:
        return self.folder / f"{kind}-{'mirrored' if mirrored else 'as-is'}-{chunk:05d}.npy"


def _save(array: npt.NDArray[Any], stream: BinaryIO) -> None:
    np.save(stream, array)


@lru_cache(maxsize=512)
def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _look(reader: PairReader, number: int, look: Look, mirrored: bool) -> View | None:
    try:
        photo = decode(reader, number)
    except BadInput as error:
        log.warning("left out: %s", error)
        return None
    return look(np.ascontiguousarray(photo[:, ::-1]) if mirrored else photo)
