"""Pascal VOC: its layout on disk, its 21 classes, and the words that we offer for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.results import Pixels

_NAMES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)
NAMES = _NAMES.split()
WORDS = {
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "television",
    "aeroplane": "airplane",
}
"""Class names that are no English words, and the word offered instead; all other classes go by their name."""
ANIMALS7 = tuple(NAMES.index(n) for n in ("background", "cat", "cow", "dog", "horse", "sheep", "person"))
"""The classes of mIoU-7."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One photo [H, W, 3] uint8 RGB and its truth [H, W] uint8: 0..20, 255 = ignored."""

    name: str
    rgb: Pixels
    truth: npt.NDArray[np.uint8]


def offered_words() -> list[str]:
    """The 20 words, in class order: word i is class i + 1."""
    return [WORDS.get(name, name) for name in NAMES[1:]]


def split_names(data: Path, split: str) -> list[str]:
    """The photos of a split. Raises `BadInput` for a folder or split that is not there."""
    folder = data / "ImageSets" / "Segmentation"
    listing = folder / f"{split}.txt"
    if not listing.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.txt"))) or "none: not a VOCdevkit folder"
        raise BadInput(f"{data} has no split {split!r}; it has: {known}")
    return listing.read_text(encoding="utf-8").split()


def read_samples(data: Path, split: str, limit: int | None = None) -> Iterator[Sample]:
    """The photos of a split with their truth, in the order of its list."""
    for name in split_names(data, split)[:limit]:
        photo = cv2.imread(str(data / "JPEGImages" / f"{name}.jpg"), cv2.IMREAD_COLOR)
        truth = read_indices(data / "SegmentationClass" / f"{name}.png")
        if photo is None:
            raise BadInput(f"{data} lacks the photo JPEGImages/{name}.jpg that its split {split!r} lists")
        if photo.shape[:2] != truth.shape:
            raise BadInput(f"{name}: the photo is {photo.shape[:2]}, its mask {truth.shape}")
        yield Sample(name, np.ascontiguousarray(photo[..., ::-1]), truth)


def read_indices(path: Path) -> npt.NDArray[np.uint8]:
    """A class mask as indices: a grey PNG holds them as they are, a palette PNG through VOC's colour map."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BadInput(f"{path} is not a mask that can be read")
    if image.ndim == 2:
        return np.asarray(image, np.uint8)
    rgb = image[..., 2::-1].astype(np.int64) if image.shape[2] == 3 else image[..., [2, 1, 0]].astype(np.int64)
    keys = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
    table = {int(r) << 16 | int(g) << 8 | int(b): i for i, (r, g, b) in enumerate(colour_map().tolist())}
    values, inverse = np.unique(keys, return_inverse=True)
    unknown = [v for v in values.tolist() if v not in table]
    if unknown:
        raise BadInput(f"{path} has the colour #{unknown[0]:06x}, which is none of Pascal VOC's")
    return np.asarray(np.array([table[v] for v in values.tolist()], np.uint8)[inverse.reshape(keys.shape)])


def colour_map() -> npt.NDArray[np.uint8]:
    """Pascal VOC's 256 colours [256, 3]: the bits of the index, dealt out to red, green and blue."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)
