"""Groups on a grid -> groups at photo size, their borders drawn to the photo's edges.

Fast guided filter with a colour guide (He and Sun 2015): each group's map is, in every small window, a linear function
of the colour; the functions are found at a reduced size and applied to the larger photo. Two windows away from a group
its function is 0, so each group is filtered in its own surroundings only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.results import Pixels
from unsay.segmentation.grouping import Labels
from unsay.segmentation.vision import Array

COARSE = 6
"""Cells of at least so many pixels are patches, whose borders are far off; smaller ones are nearly right already."""


@dataclass(frozen=True)
class BorderOptions:
    """`radius`: of the window, as a share of the long side, for groups on a grid of patches; `fine_radius`: for groups
    of superpixels; `eps`: how much colour variance counts as flat (colours in 0..1); `reduce`: by how much smaller the
    linear functions are found.
    """

    radius: float = 0.04
    fine_radius: float = 0.02
    eps: float = 1e-3
    reduce: int = 2

    def __post_init__(self) -> None:
        if min(self.radius, self.fine_radius) < 0 or self.eps <= 0:
            raise BadInput(f"border radius {self.radius}, {self.fine_radius}, eps {self.eps}: give 0 or more, above 0")
        if self.reduce < 1:
            raise BadInput(f"border reduce is {self.reduce}; give a whole number of 1 or more")


def draw_borders(groups: Labels, rgb: Pixels, options: BorderOptions | None = None) -> Labels:
    """Groups [h, w] of a grid, rgb [H, W, 3] uint8 the photo at the size wanted -> groups [H, W] int32.

    A group that loses all its pixels to its neighbours simply does not occur in the result. The time grows with H * W
    and with how far the groups reach, not with their number alone.
    """
    options = options or BorderOptions()
    height, width = rgb.shape[:2]
    step = options.reduce
    padded = cv2.copyMakeBorder(rgb, 0, -height % step, 0, -width % step, cv2.BORDER_REPLICATE)
    guide = padded.astype(np.float32) / 255
    rows, columns = guide.shape[0] // step, guide.shape[1] // step
    small = np.asarray(cv2.resize(guide, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)
    share = options.radius if max(height, width) >= COARSE * max(groups.shape) else options.fine_radius
    filtered = _Guide(small, max(1, round(share * max(rows, columns))), options.eps)
    best = np.full(guide.shape[:2], -np.inf, np.float32)
    labels = np.zeros(guide.shape[:2], np.int32)
    for group in np.unique(groups).tolist():
        soft = _resized((groups == group).astype(np.float32), rows, columns)
        place = filtered.surroundings(soft)
        wide = tuple(slice(side.start * step, side.stop * step) for side in place)
        colours = guide[wide]
        fitted = _resized(filtered.solve(soft, place), *colours.shape[:2])
        value = fitted[..., 3] + np.einsum("hwc,hwc->hw", fitted[..., :3], colours)
        wins = value > best[wide]
        np.copyto(best[wide], value, where=wins)
        labels[wide][wins] = group
    return np.ascontiguousarray(labels[:height, :width])


def _resized(array: Array, height: int, width: int) -> Array:
    """[h, w] or [h, w, C] -> that size: bilinear, or the mean over the area where it shrinks."""
    method = cv2.INTER_AREA if array.shape[0] > height else cv2.INTER_LINEAR
    resized = cv2.resize(array, (width, height), interpolation=method)
    return np.asarray(resized.reshape(height, width, *array.shape[2:]), np.float32)


class _Guide:
    """What the guided filter needs of the guide, once for all groups: window means and inverse covariances."""

    def __init__(self, guide: Array, radius: int, eps: float) -> None:
        self.radius = radius
        self.guide = guide
        self.mean = self._box(guide)
        products = self._box(np.stack([guide[..., i] * guide[..., j] for i, j in _PAIRS], axis=-1))
        xx, yy, zz, xy, xz, yz = (
            products[..., k] - self.mean[..., i] * self.mean[..., j] + np.float32(eps if i == j else 0)
            for k, (i, j) in enumerate(_PAIRS)
        )
        a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
        d, e, f = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
        rows = np.stack([a, b, c, b, d, e, c, e, f], axis=-1)
        self.inverse = rows / np.maximum(xx * a + xy * b + xz * c, 1e-12)[..., None]

    def surroundings(self, target: Array) -> tuple[slice, slice]:
        """The part of the photo outside which the filtered target [h, w] is 0."""
        reach = 2 * self.radius + 2
        spans = []
        for axis in (1, 0):
            used = np.flatnonzero(target.any(axis=axis))
            first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
            spans.append(slice(max(first - reach, 0), last + reach + 1))
        rows, columns = spans
        height, width = target.shape
        return slice(rows.start, min(rows.stop, height)), slice(columns.start, min(columns.stop, width))

    def solve(self, target: Array, place: tuple[slice, slice]) -> Array:
        """The linear function of colour that explains `target` [h, w] in each window of `place`: three slopes and an
        offset, averaged over the windows, [h', w', 4].
        """
        target, means, inverse = target[place], self.mean[place], self.inverse[place]
        mean = self._box(target)
        joint = self._box(self.guide[place] * target[..., None]) - means * mean[..., None]
        slopes = np.einsum("hwij,hwj->hwi", inverse.reshape(*target.shape, 3, 3), joint)
        offset = mean - np.einsum("hwi,hwi->hw", slopes, means)
        return self._box(np.concatenate([slopes, offset[..., None]], axis=-1))

    def _box(self, array: Array) -> Array:
        side = 2 * self.radius + 1
        blurred = cv2.blur(array, (side, side), borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred.reshape(array.shape), np.float32)


_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""The six different entries of the colour covariance."""
