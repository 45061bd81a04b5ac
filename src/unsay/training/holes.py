"""Where a training run's holes come from: drawn by `masks.py`, silhouettes of cut-outs, or a folder of mask images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.results import Mask
from unsay.training.cutouts import FAINT, in_split
from unsay.training.masks import ALL_KINDS, BANDS, KINDS, band_of, check_band, compose_hole, fit_band, random_hole

log = logging.getLogger(__name__)
SILHOUETTES = "silhouettes"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
LARGEST = 256
"""Silhouettes are kept at so many pixels on their longer side."""
SMALLEST_CROP = 0.6
"""A mask image is cropped to between this share of each side and all of it."""
TRIES = 20


@dataclass(frozen=True)
class MaskConfig:
    """Which holes are cut; each has its ratio in one of `bands`, all equally often."""

    bands: tuple[int, ...] = tuple(range(len(BANDS)))
    """Numbers of the bands: 0 is 0-10%, 5 is 50-60%."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of drawn holes, all equally often: "strokes", "object", "mixed", "polygons", "silhouettes"."""
    silhouettes: str = ""
    """Folder of cut-outs (PNG with alpha) whose outlines are the kind "silhouettes"."""
    folder: str = ""
    """Folder of mask images, white = hole, instead of drawn holes; `kinds` is then not read."""
    black: bool = False
    """Black is the hole in the mask images."""


class Holes(Protocol):
    """A source of holes."""

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        """One hole [height, width] bool, True = fill; a function of the generator's state alone."""
        ...


def open_holes(config: MaskConfig) -> Holes:
    """The holes that `config` means. Raises `BadInput` for one that cannot be drawn, or a folder without any."""
    for band in config.bands:
        check_band(band)
    if not config.bands:
        raise BadInput(f"masks.bands is empty; give at least one of 0 to {len(BANDS) - 1}")
    if config.folder:
        return FolderHoles(Path(config.folder), config.bands, config.black)
    unknown = [kind for kind in config.kinds if kind not in (*ALL_KINDS, SILHOUETTES)]
    if unknown or not config.kinds:
        known = ", ".join((*ALL_KINDS, SILHOUETTES))
        raise BadInput(f"masks.kinds are {list(config.kinds)}; give at least one of {known}")
    if SILHOUETTES in config.kinds and not config.silhouettes:
        raise BadInput("masks.kinds has silhouettes: set masks.silhouettes to a folder of cut-outs, PNG with alpha")
    outlines = read_silhouettes(Path(config.silhouettes)) if SILHOUETTES in config.kinds else ()
    return DrawnHoles(config.bands, config.kinds, outlines)


@dataclass(frozen=True)
class DrawnHoles:
    """Holes that are drawn anew each time."""

    bands: tuple[int, ...]
    kinds: tuple[str, ...]
    silhouettes: tuple[npt.NDArray[np.uint8], ...] = ()

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        """See `Holes`."""
        band = self.bands[int(rng.integers(len(self.bands)))]
        kind = str(rng.choice(self.kinds))
        if kind == SILHOUETTES:
            return compose_hole(rng, height, width, band, partial(_placed, self.silhouettes))
        return random_hole(rng, height, width, band, kind)


class FolderHoles:
    """Mask images, cut to fit: mirrored, turned by quarters and cropped, so that nothing but their holes is a hole.

    They are made black and white first, at half of their range. (The authors' release turns masks by any angle and
    leaves them grey: the corners become holes, and edges half-holes.)
    """

    def __init__(self, folder: Path, bands: tuple[int, ...], black: bool = False) -> None:
        self.bands = bands
        self.by_band: dict[int, list[npt.NDArray[np.uint8]]] = {band: [] for band in bands}
        """The masks of each band, each encoded as PNG: a small fraction of its pixels."""
        left_out = 0
        for hole in _read_masks(folder, black):
            found = self.by_band.get(-1 if (band := band_of(hole)) is None else band)
            left_out += found is None
            if found is not None:
                found.append(np.asarray(cv2.imencode(".png", hole)[1], np.uint8))
        empty = [band for band in bands if not self.by_band[band]]
        if empty:
            raise BadInput(f"no mask image in {folder} has a ratio in band {empty[0]}: leave it out of masks.bands")
        if left_out:
            log.info("%d mask images in %s have a ratio outside the bands and are left out", left_out, folder)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        """See `Holes`. A crop whose ratio leaves the band is cut anew; in the end the whole mask is taken."""
        band = self.bands[int(rng.integers(len(self.bands)))]
        masks = self.by_band[band]
        stored = cv2.imdecode(masks[int(rng.integers(len(masks)))], cv2.IMREAD_GRAYSCALE)
        whole = np.rot90(np.asarray(stored, np.uint8), int(rng.integers(4)))
        whole = whole[:, ::-1] if rng.random() < 0.5 else whole
        for _ in range(TRIES):
            hole = _resized(_crop(whole, rng), height, width)
            if band_of(hole) == band:
                return hole.astype(bool)
        return fit_band(_resized(whole, height, width), band, rng)


def read_silhouettes(folder: Path) -> tuple[npt.NDArray[np.uint8], ...]:
    """The alpha of every PNG under `folder` that has one, cut to what it shows: [h, w] uint8, 0 to 255.

    Files whose names fall to the test scenes (`cutouts.in_split`) are left out, so that no hole of theirs is learned.
    Raises `BadInput` if none is left.
    """
    found = []
    for path in sorted(folder.rglob("*.png")):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if in_split(path.name, "train") else None
        if picture is None or picture.ndim < 3 or picture.shape[2] != 4:
            continue
        alpha = np.asarray(picture[..., 3] // 256 ** (picture.itemsize - 1), np.uint8)  # 8 or 16 bits a sample
        x, y, width, height = cv2.boundingRect((alpha >= FAINT).astype(np.uint8))
        if width and height:
            found.append(_at_most(alpha[y : y + height, x : x + width], LARGEST))
    if not found:
        raise BadInput(f"no cut-outs for training under {folder}: expected PNG files with alpha")
    return tuple(found)


def _placed(
    outlines: tuple[npt.NDArray[np.uint8], ...], rng: np.random.Generator, height: int, width: int, missing: float
) -> npt.NDArray[np.uint8]:
    """One silhouette, mirrored or not, somewhat turned, of about the missing area, at a random place."""
    alpha = outlines[int(rng.integers(len(outlines)))]
    area = height * width * max(missing, 0.005) * rng.uniform(0.5, 1.0)
    scale = np.sqrt(area / max(1.0, float((alpha > 127).sum())))
    rows, columns = alpha.shape
    turned = cv2.getRotationMatrix2D((columns / 2, rows / 2), rng.uniform(-30, 30), scale)
    turned[:, 2] += (rng.uniform(0, width) - columns / 2, rng.uniform(0, height) - rows / 2)
    source = alpha[:, ::-1] if rng.random() < 0.5 else alpha
    laid = cv2.warpAffine(np.ascontiguousarray(source), turned, (width, height))  # 0 beyond its own frame
    return np.asarray(laid > 127, np.uint8)


def _read_masks(folder: Path, black: bool) -> Iterator[npt.NDArray[np.uint8]]:
    """Every mask image under `folder`, [H, W] uint8, 1 = hole."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInput(f"no mask images under {folder}: expected files ending in {', '.join(SUFFIXES)}")
    for path in files:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            raise BadInput(f"{path} cannot be decoded as a mask image: remove it from the folder")
        yield np.asarray((grey <= 127) if black else (grey > 127), np.uint8)


def _crop(whole: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    share = rng.uniform(SMALLEST_CROP, 1.0)
    height, width = (max(1, round(side * share)) for side in whole.shape)
    y, x = int(rng.integers(whole.shape[0] - height + 1)), int(rng.integers(whole.shape[1] - width + 1))
    return whole[y : y + height, x : x + width]


def _resized(hole: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(hole, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _at_most(alpha: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    scale = side / max(alpha.shape)
    if scale >= 1:
        return np.ascontiguousarray(alpha)
    size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.uint8)
