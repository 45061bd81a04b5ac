"""Picking one of several things: by a box or by a point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.options import SegmentOptions
from unsay.segmentation.grouping import Labels


def check_picks(options: SegmentOptions, height: int, width: int) -> None:
    """Raise `BadInput` where the threshold, the box or the point lies outside what the photo allows."""
    threshold: Any = options.threshold
    if threshold is not None and not (isinstance(threshold, Real) and 0.0 <= float(threshold) <= 1.0):
        raise BadInput(f"the threshold is {options.threshold}; it must lie between 0 and 1")
    if options.box is not None:
        _check_whole("box", "X,Y,W,H", options.box)
        x, y, w, h = options.box
        if w <= 0 or h <= 0:
            raise BadInput(f"the box {x},{y},{w},{h} is {w} pixels wide and {h} high: give X,Y,W,H of at least 1x1")
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise BadInput(
                f"the box {x},{y},{w},{h} lies outside the photo of {width}x{height} pixels: give X,Y,W,H inside"
            )
    if options.point is not None:
        _check_whole("point", "X,Y", options.point)
        x, y = options.point
        if not (0 <= x < width and 0 <= y < height):
            raise BadInput(f"the point {x},{y} lies outside the photo of {width}x{height} pixels: give X,Y inside it")


def _check_whole(option: str, names: str, value: object) -> None:
    wanted = len(names.split(","))
    numbers = list(value) if isinstance(value, Iterable) else []
    if len(numbers) != wanted or not all(isinstance(number, Integral) for number in numbers):
        raise BadInput(f"the {option} {value!r} is not {names}: give {wanted} whole numbers")


def pick_pieces(labels: Labels, options: SegmentOptions) -> Labels:
    """Keep of each word's connected pieces (8-neighbours) those that the options pick; 0 elsewhere. [H, W] int32.

    A box keeps the pieces whose centre of mass lies inside it; if it holds no centre, what lies inside it. A point
    keeps the one piece under it; with both, only what both pick.
    """
    if options.box is None and options.point is None:
        return labels
    kept = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        mask = (labels == label).astype(np.uint8)
        _, parts, _, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
        chosen = _chosen(parts, centres, options)
        kept[np.isin(parts, chosen)] = label
    if options.box is not None and not kept.any():
        x, y, w, h = options.box
        inside = np.zeros(labels.shape, bool)
        inside[max(y, 0) : y + h, max(x, 0) : x + w] = True
        kept = np.where(inside, labels, 0).astype(np.int32)
        return pick_pieces(kept, replace(options, box=None))
    return kept


def _chosen(parts: Labels, centres: np.ndarray, options: SegmentOptions) -> list[int]:
    chosen = list(range(1, len(centres)))
    if options.box is not None:
        x, y, w, h = options.box
        chosen = [p for p in chosen if x <= centres[p][0] < x + w and y <= centres[p][1] < y + h]
    if options.point is not None:
        under = int(parts[options.point[1], options.point[0]])
        chosen = [p for p in chosen if p == under]
    return chosen
