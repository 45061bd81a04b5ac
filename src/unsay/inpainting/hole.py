"""The hole as such: how far it is grown, how it is blended in, and which pieces it has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.options import InpaintOptions
from unsay.results import Mask

T = TypeVar("T")
COARSE_SIDE = 2048
"""Pieces are told apart on a grid of at most this many cells a side, so that a 100-megapixel mask stays cheap."""
MAX_PIECES = 200
"""Pieces that are told apart; comparing them is quadratic."""
GROW_SHARE = 0.007
"""The grown border as a share of the photo's diagonal: 10 pixels at 1 megapixel, 35 at 12."""


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: `x0 <= x < x1`, `y0 <= y < y1`."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index [H, W, ...] arrays with."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def long(self) -> int:
        """The longer side in pixels."""
        return max(self.x1 - self.x0, self.y1 - self.y0)

    def grown(self, by: int, shape: tuple[int, ...]) -> Box:
        """This box with `by` more pixels on every side, clipped to a photo of `shape` (H, W, ...)."""
        return Box(max(self.x0 - by, 0), max(self.y0 - by, 0), min(self.x1 + by, shape[1]), min(self.y1 + by, shape[0]))

    def joined(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def overlaps(self, other: Box) -> bool:
        """Whether the two have a pixel in common."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def inside(self, outer: Box) -> Box:
        """This box in the coordinates of `outer`."""
        return Box(self.x0 - outer.x0, self.y0 - outer.y0, self.x1 - outer.x0, self.y1 - outer.y0)


def settle(options: InpaintOptions, shape: tuple[int, ...]) -> tuple[int, int]:
    """How far to grow and to feather, in pixels, for a photo of `shape` (H, W, ...); None is chosen here.

    Growing takes in the blurred rim of a thing, which would stay as a ghost. The feather is half the grown rim, so
    that the thing itself is always replaced whole. Raises `BadInput` for a negative number.
    """
    given: tuple[tuple[str, Any], ...] = (("grow", options.grow), ("feather", options.feather))
    for name, value in given:
        if value is not None and not isinstance(value, Integral):
            raise BadInput(f"{name} is {value!r}; give a whole number of pixels")
        if value is not None and not 0 <= int(value) <= max(shape[:2]):
            raise BadInput(f"{name} is {value} pixels; for this photo it must lie between 0 and {max(shape[:2])}")
    grow = options.grow
    if grow is None:
        grow = min(max(3, round(GROW_SHARE * math.hypot(*shape[:2]))), min(shape[:2]) // 16)
    return grow, grow // 2 if options.feather is None else options.feather


def settled(options: InpaintOptions, shape: tuple[int, ...]) -> InpaintOptions:
    """`options` with every None replaced by the number that `settle` chooses."""
    grow, feather = settle(options, shape)
    return replace(options, grow=grow, feather=feather)


def grow_mask(mask: Mask, grow: int) -> Mask:
    """`mask` [H, W] bool with every pixel added that lies within `grow` pixels (Euclidean) of a True one."""
    if grow == 0 or not mask.any():
        return mask
    grown = mask.copy()
    for box in piece_boxes(mask, gap=grow):
        rows, columns = box.grown(grow, mask.shape).slices
        away = cv2.distanceTransform((~mask[rows, columns]).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        grown[rows, columns] |= away <= grow
    return grown


def feather_weights(hole: Mask, feather: int) -> npt.NDArray[np.float32]:
    """Weights [H, W] float32 of the fill: 0 outside the hole, rising inside it to 1 at `feather` pixels from its rim.

    The photo's own border is no rim: a hole that touches it is filled at full weight there.
    """
    if feather == 0:
        return hole.astype(np.float32)
    depth = depths(hole)
    weights: npt.NDArray[np.float32] = np.minimum(depth / np.float32(feather + 1), np.float32(1), dtype=np.float32)
    return weights


def depths(hole: Mask) -> npt.NDArray[np.float32]:
    """Distance [H, W] float32 of every hole pixel to the nearest known one; 0 outside. Infinite if all is hole."""
    if hole.all():
        return np.full(hole.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def box_around(mask: Mask) -> Box:
    """The tight box around the True pixels of `mask` [H, W], of which there is at least one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def piece_boxes(mask: Mask, *, gap: int = 0) -> list[Box]:
    """Tight boxes that together hold every True pixel of `mask` [H, W]; no two overlap, in reading order.

    Pieces about `gap` pixels apart or less share a box, and so do pieces whose boxes overlap. Where the mask is a
    spray of more than `MAX_PIECES` pieces, neighbours further apart share one as well, until they are few.
    """
    cell = math.ceil(max(mask.shape) / COARSE_SIDE)
    coarse = _any_pool(mask, cell)
    labels, boxes = _labelled(coarse, gap / cell)
    while len(boxes) > MAX_PIECES:
        gap = max(8 * cell, 2 * gap)
        labels, boxes = _labelled(coarse, gap / cell)
    exact = [_tightened(coarse, box, labels, number) for number, box in enumerate(boxes, 1)]
    rough = [_full_size(box, cell, mask.shape) for box in exact]
    tight = [_tightened(mask, box) for box in join_pairs(rough, Box.overlaps, Box.joined)]
    return sorted(tight, key=lambda box: (box.y0, box.x0))


def join_pairs(items: list[T], wanted: Callable[[T, T], bool], join: Callable[[T, T], T]) -> list[T]:
    """Join items pair by pair until `wanted` is true of no pair."""
    done: list[T] = []
    for item in items:
        now = item
        while (partner := next((other for other in done if wanted(now, other)), None)) is not None:
            done.remove(partner)
            now = join(now, partner)
        done.append(now)
    return done


def _labelled(mask: Mask, gap: float) -> tuple[npt.NDArray[np.int32], list[Box]]:
    """Labels [H, W] of the pieces, those `gap` cells apart or less with one label, and a box around each, not tight."""
    reach = 2 * math.ceil(gap / 2) + 1
    near = cv2.dilate(mask.view(np.uint8), np.ones((reach, reach), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    boxes = [Box(x, y, x + width, y + height) for x, y, width, height, _ in stats[1:].tolist()]
    return np.asarray(labels, np.int32), boxes


def _any_pool(mask: Mask, cell: int) -> Mask:
    if cell == 1:
        return np.ascontiguousarray(mask)
    rows = np.logical_or.reduceat(mask, np.arange(0, mask.shape[0], cell), axis=0)
    return np.ascontiguousarray(np.logical_or.reduceat(rows, np.arange(0, mask.shape[1], cell), axis=1))


def _full_size(box: Box, cell: int, shape: tuple[int, ...]) -> Box:
    return Box(box.x0 * cell, box.y0 * cell, min(box.x1 * cell, shape[1]), min(box.y1 * cell, shape[0]))


def _tightened(mask: Mask, box: Box, labels: npt.NDArray[np.int32] | None = None, number: int = 0) -> Box:
    """The box around the True pixels of `mask` in `box`; with `labels`, around those of this number alone."""
    crop = mask[box.slices]
    if labels is not None:
        crop = crop & (labels[box.slices] == number)
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    return Box(
        int(box.x0 + columns[0]), int(box.y0 + rows[0]), int(box.x0 + columns[-1] + 1), int(box.y0 + rows[-1] + 1)
    )
