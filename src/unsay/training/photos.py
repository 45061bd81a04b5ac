"""Photos for training: encoded, in memory or on the disk; decoded and cropped when asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.results import Pixels
from unsay.training.layouts import layout_photos

log = logging.getLogger(__name__)
SCALES = (0.6, 1.6)
"""A piece that is cut at random is so many crops wide."""


@dataclass(frozen=True)
class Photos:
    """Groups of encoded photos or their paths; a photo is drawn from group g with probability `weights[g]`."""

    groups: tuple[tuple[bytes | Path, ...], ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    def crop(
        self,
        rng: np.random.Generator,
        size: int,
        short_side: int = 0,
        scales: tuple[float, float] = SCALES,
        stretch: float = 1.0,
    ) -> Pixels:
        """A random square crop [size, size, 3] uint8 RGB: random photo, place, flip.

        `short_side`: the photo's shorter side is brought to that first, as in the paper; 0: a piece of random size is
        cut instead, `scales` crops on its longer side, and resized (ours). `stretch`: that piece's sides then differ by
        a random factor of at most so much.
        """
        group = self.groups[int(rng.choice(len(self.groups), p=self.weights))]
        photo = _readable(group, int(rng.integers(len(group))))
        if short_side:
            photo = _resize(photo, short_side / min(photo.shape[:2]))
        height, width = photo.shape[:2]
        side = size if short_side else int(min(size * rng.uniform(*scales), height, width))
        rows, columns = (side, side) if short_side or stretch == 1 else _stretched(rng, side, stretch)
        y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        piece = photo[y : y + rows, x : x + columns]
        if (rows, columns) != (size, size):
            method = cv2.INTER_AREA if max(rows, columns) > size else cv2.INTER_CUBIC
            piece = np.asarray(cv2.resize(piece, (size, size), interpolation=method), np.uint8)
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        return np.ascontiguousarray(piece)


def decode(data: bytes) -> Pixels:
    """Encoded bytes -> [H, W, 3] uint8 RGB."""
    photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if photo is None:
        raise BadInput(f"a training photo of {len(data)} bytes cannot be decoded: remove it from the folder")
    return np.asarray(photo, np.uint8)


def read_folders(
    folders: Sequence[str | Path],
    weights: Sequence[float] | None = None,
    *,
    layout: str = "folders",
    leave_out: Iterable[str] = (),
    in_memory: bool = True,
    long_side: int = 1024,
) -> Photos:
    """The training photos under each folder; each folder is one group.

    `weights`: how often each folder is drawn from (default: by its number of photos). `layout`: how the folders are
    laid out, see `layouts.LAYOUTS`. `leave_out`: file names to skip. `in_memory`: read them all now, those with a
    longer side than `long_side` shrunk once, so that memory stays small; otherwise a photo is read whenever it is
    drawn. Raises `BadInput` for a folder without photos, weights that are none, a photo that cannot be decoded now.
    """
    left_out = set(leave_out)
    groups: list[tuple[bytes | Path, ...]] = []
    for folder in folders:
        files = [path for path in layout_photos(layout, Path(folder)) if path.name not in left_out]
        if not files:
            raise BadInput(f"every photo under {folder} is left out: nothing is left to train on")
        groups.append(tuple(_read(path, long_side) for path in files) if in_memory else tuple(files))
    sizes = np.array(weights if weights is not None else [len(g) for g in groups], float)
    if len(sizes) != len(groups):
        raise BadInput(f"{len(sizes)} weights for {len(groups)} folders: give one weight each")
    if not groups or (sizes < 0).any() or not sizes.sum() > 0:
        raise BadInput(f"the folders' weights are {sizes.tolist()}: give none below 0, and one above it")
    return Photos(tuple(groups), tuple((sizes / sizes.sum()).tolist()))


def _readable(group: Sequence[bytes | Path], index: int) -> Pixels:
    """Photo `index` of a group, or the first one after it that can be decoded: one damaged file ends no long run."""
    for step in range(len(group)):
        item = group[(index + step) % len(group)]
        try:
            return decode(item if isinstance(item, bytes) else item.read_bytes())
        except (BadInput, OSError) as error:
            log.warning("%s: %s; the next one is taken", "a photo" if isinstance(item, bytes) else item, error)
    raise BadInput(f"none of {len(group)} training photos can be decoded: see the warnings above")


def _read(path: Path, long_side: int) -> bytes:
    data = path.read_bytes()
    try:
        photo = decode(data)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    scale = long_side / max(photo.shape[:2])
    if scale >= 1:
        return data
    smaller = _resize(photo, scale)[..., ::-1]
    return bytes(cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


def _stretched(rng: np.random.Generator, side: int, stretch: float) -> tuple[int, int]:
    """Rows and columns of a piece whose longer side is `side`."""
    factor = float(np.exp(rng.uniform(-1, 1) * np.log(stretch)))
    return max(1, round(side * min(1.0, factor))), max(1, round(side * min(1.0, 1 / factor)))


def _resize(photo: Pixels, scale: float) -> Pixels:
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(photo, size, interpolation=method), np.uint8)
