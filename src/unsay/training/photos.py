"""Photos for training: kept in memory as the encoded bytes of their files, decoded and cropped when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.results import Pixels

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Photos:
    """Groups of encoded photos; a photo is drawn from group g with probability `weights[g]`."""

    groups: tuple[tuple[bytes, ...], ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    def crop(self, rng: np.random.Generator, size: int) -> Pixels:
        """A random square crop [size, size, 3] uint8 RGB: random photo, scale (0.6 to 1.6 crops wide), place, flip."""
        group = self.groups[int(rng.choice(len(self.groups), p=self.weights))]
        photo = decode(group[int(rng.integers(len(group)))])
        height, width = photo.shape[:2]
        side = int(min(size * rng.uniform(0.6, 1.6), height, width))
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        piece = photo[y : y + side, x : x + side]
        if side != size:
            method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
            piece = np.asarray(cv2.resize(piece, (size, size), interpolation=method), np.uint8)
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        return np.ascontiguousarray(piece)


def decode(data: bytes) -> Pixels:
    """Encoded bytes -> [H, W, 3] uint8 RGB."""
    photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if photo is None:
        raise BadInput(f"a training photo of {len(data)} bytes cannot be decoded: remove it from the folder")
    return np.asarray(photo, np.uint8)


def read_folders(
    folders: Sequence[str | Path],
    weights: Sequence[float] | None = None,
    *,
    leave_out: Iterable[str] = (),
    long_side: int = 1024,
) -> Photos:
    """Read every photo under each folder; each folder is one group.

    `weights`: how often each folder is drawn from (default: by its number of photos). `leave_out`: file names to skip.
    Photos with a longer side than `long_side` are shrunk once, so that memory stays small.
    """
    left_out = set(leave_out)
    groups = [tuple(_read_folder(Path(folder), left_out, long_side)) for folder in folders]
    sizes = np.array(weights if weights is not None else [len(g) for g in groups], float)
    if len(sizes) != len(groups):
        raise BadInput(f"{len(sizes)} weights for {len(groups)} folders: give one weight each")
    return Photos(tuple(groups), tuple((sizes / sizes.sum()).tolist()))


def _read_folder(folder: Path, leave_out: set[str], long_side: int) -> Iterable[bytes]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.name not in leave_out)
    if not files:
        raise BadInput(f"no photos under {folder}: expected files ending in {', '.join(SUFFIXES)}")
    for path in files:
        data = path.read_bytes()
        photo = decode(data)
        scale = long_side / max(photo.shape[:2])
        if scale < 1:
            size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
            photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
            data = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        yield data
