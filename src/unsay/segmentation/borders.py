"""Groups on the patch grid -> groups at photo size, their borders drawn to the photo's edges.

Fast guided filter with a colour guide (He and Sun 2015): each group's map is, in every small window, a linear function
of the colour; the functions are found at a reduced size and applied to the larger photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unsay.results import Pixels
from unsay.segmentation.grouping import Labels
from unsay.segmentation.trunk import Array


@dataclass(frozen=True)
class BorderOptions:
    """`side`: long side at which borders are drawn; `radius`: of the window, as a share of that side; `eps`: how much
    colour variance counts as flat (colours in 0..1); `reduce`: by how much smaller the linear functions are found.
    """

    side: int = 640
    radius: float = 0.04
    eps: float = 1e-3
    reduce: int = 2


def draw_borders(groups: Labels, rgb: Pixels, options: BorderOptions | None = None) -> Labels:
    """Groups [h, w] of the patch grid, rgb [H, W, 3] the photo at the size wanted -> groups [H, W] int32.

    A group that loses all its pixels to its neighbours simply does not occur in the result.
    """
    options = options or BorderOptions()
    height, width = rgb.shape[:2]
    guide = rgb.astype(np.float32) / 255
    small_size = (max(1, width // options.reduce), max(1, height // options.reduce))
    small = np.asarray(cv2.resize(guide, small_size, interpolation=cv2.INTER_AREA), np.float32)
    radius = max(1, round(options.radius * max(small_size)))
    fit = _Guide(small, radius, options.eps)
    planes = [np.ascontiguousarray(guide[..., c]) for c in range(3)]
    best = np.full((height, width), -np.inf, np.float32)
    labels = np.zeros((height, width), np.int32)
    for group in range(int(groups.max()) + 1):
        grid = (groups == group).astype(np.float32)
        coarse = cv2.resize(grid, small_size, interpolation=cv2.INTER_LINEAR).reshape(small_size[::-1])
        linear = fit.solve(np.asarray(coarse, np.float32))
        fitted = cv2.resize(linear, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 4)
        value = fitted[..., 3] + sum(fitted[..., c] * planes[c] for c in range(3))
        wins = value > best
        np.copyto(best, value, where=wins)
        labels[wins] = group
    return labels


class _Guide:
    """What the guided filter needs of the guide, once for all groups: window means and inverse covariances."""

    def __init__(self, guide: Array, radius: int, eps: float) -> None:
        self.window = (2 * radius + 1, 2 * radius + 1)
        self.guide = [np.ascontiguousarray(guide[..., c]) for c in range(3)]
        self.mean = [self._box(plane) for plane in self.guide]
        a, b, c = (self._covariance(i, i) + np.float32(eps) for i in range(3))
        d, e, f = (self._covariance(i, j) for i, j in ((0, 1), (0, 2), (1, 2)))
        adjugate = [b * c - f * f, e * f - d * c, d * f - b * e, a * c - e * e, d * e - a * f, a * b - d * d]
        scale = 1 / np.maximum(a * adjugate[0] + d * adjugate[1] + e * adjugate[2], 1e-12)
        xx, xy, xz, yy, yz, zz = (part * scale for part in adjugate)
        self.inverse = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))

    def solve(self, target: Array) -> Array:
        """The linear function of colour that explains `target` [h, w] in each window: three slopes and an offset,
        averaged over the windows, [h, w, 4].
        """
        mean = self._box(target)
        joint = [self._box(g * target) - m * mean for g, m in zip(self.guide, self.mean, strict=True)]
        slopes = [row[0] * joint[0] + row[1] * joint[1] + row[2] * joint[2] for row in self.inverse]
        offset = mean - sum(s * m for s, m in zip(slopes, self.mean, strict=True))
        return self._box(np.stack([*slopes, offset], axis=-1))

    def _covariance(self, i: int, j: int) -> Array:
        return self._box(self.guide[i] * self.guide[j]) - self.mean[i] * self.mean[j]

    def _box(self, array: Array) -> Array:
        blurred = cv2.blur(array, self.window, borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred.reshape(array.shape), np.float32)
