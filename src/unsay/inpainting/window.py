"""Where the network looks: windows around the hole, the scale each is filled at, and the tiles of large ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from unsay.inpainting.hole import Box, depths, join_pairs, piece_boxes
from unsay.results import Mask, Pixels

MIN_MARGIN_SHARE = 0.125
"""Context on each side of a hole as a share of `max_side` (64 pixels of 512), however small the hole."""
THIN_SHARE = 0.25
"""A hole at most this share of `max_side` thick is filled tile by tile: every tile then sees across it."""
TILE_MARGIN_SHARE = 0.1875
"""Context around the core of a tile, as a share of `max_side`: 0.75 of the thickest hole that is tiled."""


@dataclass(frozen=True)
class Window:
    """One piece of work: the hole pixels in `hole`, seen with the surroundings in `area`, at `scale` (at most 1)."""

    hole: Box
    area: Box
    scale: float


@dataclass(frozen=True)
class _Cluster:
    """Pieces of the hole that are filled together; `thickness`: diameter of the largest disc in them, in pixels."""

    box: Box
    thickness: float

    def joined(self, other: _Cluster) -> _Cluster:
        return _Cluster(self.box.joined(other.box), max(self.thickness, other.thickness))


def plan_windows(hole: Mask, max_side: int, multiple: int = 1) -> list[Window]:
    """Windows that together cover every True pixel of `hole` [H, W]; their `hole` boxes do not overlap.

    Sides at the network's scale are at most `max_side` (but for tiled windows) and, where the photo is large enough,
    multiples of `multiple`: the network would else look at padding at the same cost.

    The scale is the best of two: where the whole window fits into `max_side`, and where the hole is thin enough to
    be filled tile by tile. It is never above 1. Neighbours are joined where that is no coarser. Source: ours.
    """
    shape = hole.shape

    def wanted(a: _Cluster, b: _Cluster) -> bool:
        if a.box.overlaps(b.box):
            return True
        if not _window(a, shape, max_side).area.overlaps(_window(b, shape, max_side).area):
            return False
        scales = [_window(cluster, shape, max_side).scale for cluster in (a.joined(b), a, b)]
        return scales[0] >= min(scales[1:])

    clusters = [_Cluster(box, _thickness(hole, box)) for box in piece_boxes(hole)]
    windows = (_window(cluster, shape, max_side) for cluster in join_pairs(clusters, wanted, _Cluster.joined))
    return [_filled_up(window, shape, multiple) for window in windows]


def tiles(hole: Mask, max_side: int) -> Iterator[tuple[Box, Box]]:
    """Pairs (core, area) that cover `hole` [h, w]: fill the hole pixels of `core`, looking at `area`.

    One pair with everything if `hole` fits into `max_side`; else a grid in reading order, without its empty tiles.
    """
    everything = Box(0, 0, hole.shape[1], hole.shape[0])
    if everything.long <= max_side:
        yield everything, everything
        return
    margin = round(TILE_MARGIN_SHARE * max_side)
    step = max_side - 2 * margin
    for y in range(0, hole.shape[0], step):
        for x in range(0, hole.shape[1], step):
            core = Box(x, y, min(x + step, hole.shape[1]), min(y + step, hole.shape[0]))
            if hole[core.slices].any():
                yield core, core.grown(margin, hole.shape)


def shrunk(rgb: Pixels, hole: Mask, scale: float) -> tuple[Pixels, Mask]:
    """A window at the network's scale: area averages over the known pixels alone, so that no hole pixel bleeds in.

    rgb [H, W, 3] uint8, hole [H, W] bool -> the same kinds, smaller. A pixel is hole where more than half of it was.
    """
    if scale >= 1:
        return rgb.copy(), hole.copy()
    size = (max(1, round(hole.shape[1] * scale)), max(1, round(hole.shape[0] * scale)))
    share = cv2.resize((~hole).view(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_AREA) / np.float32(255)
    masked = cv2.resize(rgb * (~hole)[..., None], size, interpolation=cv2.INTER_AREA)
    small = np.rint(masked / np.maximum(share, 1e-3)[..., None]).clip(0, 255).astype(np.uint8)
    return small, np.asarray(share < min(0.5, float(share.max())))


def _window(cluster: _Cluster, shape: tuple[int, ...], max_side: int) -> Window:
    box = cluster.box
    room = (max_side - box.long) // 2
    one = box.grown(max(round(MIN_MARGIN_SHARE * max_side), min(max(room, box.long // 2), box.long)), shape)
    fits, thin = max_side / one.long, THIN_SHARE * max_side / cluster.thickness
    if fits >= min(thin, 1):
        return Window(box, one, min(fits, 1.0))
    scale = min(thin, 1.0)
    return Window(box, box.grown(round(TILE_MARGIN_SHARE * max_side / scale), shape), scale)


def _filled_up(window: Window, shape: tuple[int, ...], multiple: int) -> Window:
    """The window with as much more context as the network's multiples have room for."""
    area, scale = window.area, window.scale
    x0, x1 = _stretched(area.x0, area.x1, shape[1], scale, multiple)
    y0, y1 = _stretched(area.y0, area.y1, shape[0], scale, multiple)
    return Window(window.hole, Box(x0, y0, x1, y1), scale)


def _stretched(start: int, stop: int, limit: int, scale: float, multiple: int) -> tuple[int, int]:
    wanted = math.ceil(round((stop - start) * scale) / multiple) * multiple
    length = max(min(int(wanted / scale), limit), stop - start)
    start = min(max(start - (length - stop + start) // 2, 0), limit - length)
    return start, start + length


def _thickness(hole: Mask, box: Box) -> float:
    return 2 * float(depths(hole[box.grown(1, hole.shape).slices]).max())
