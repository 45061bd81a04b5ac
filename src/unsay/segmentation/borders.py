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
    radius: float = 0.025
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
    small = cv2.resize(guide, small_size, interpolation=cv2.INTER_AREA)
    radius = max(1, round(options.radius * max(small_size)))
    fit = _Guide(small, radius, options.eps)
    best = np.full((height, width), -np.inf, np.float32)
    labels = np.zeros((height, width), np.int32)
    for group in range(int(groups.max()) + 1):
        grid = (groups == group).astype(np.float32)
        slope, offset = fit.solve(cv2.resize(grid, small_size, interpolation=cv2.INTER_LINEAR))
        slope = cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
        value = np.einsum("hwc,hwc->hw", slope.reshape(guide.shape), guide)
        value += cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
        wins = value > best
        np.copyto(best, value, where=wins)
        labels[wins] = group
    return labels


class _Guide:
    """What the guided filter needs of the guide, once for all groups: window means and inverse covariances."""

    def __init__(self, guide: Array, radius: int, eps: float) -> None:
        self.window = (2 * radius + 1, 2 * radius + 1)
        self.guide = guide
        self.mean = self._box(guide)
        products = np.einsum("hwa,hwb->hwab", guide, guide).reshape(*guide.shape[:2], 9)
        second = np.stack([self._box(np.ascontiguousarray(products[..., i])) for i in range(9)], axis=-1)
        covariance = second.reshape(*guide.shape[:2], 3, 3) - self.mean[..., :, None] * self.mean[..., None, :]
        self.inverse = np.linalg.inv(covariance + eps * np.eye(3, dtype=np.float32)).astype(np.float32)

    def solve(self, target: Array) -> tuple[Array, Array]:
        """The linear functions of colour that explain `target` [h, w]: slope [h, w, 3], offset [h, w], window means."""
        mean = self._box(target)
        joint = self._box(self.guide * target[..., None]) - self.mean * mean[..., None]
        slope = np.einsum("hwab,hwb->hwa", self.inverse, joint)
        offset = mean - np.einsum("hwc,hwc->hw", slope, self.mean)
        return self._box(slope), self._box(offset)

    def _box(self, array: Array) -> Array:
        blurred = cv2.blur(np.ascontiguousarray(array), self.window, borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred.reshape(array.shape), np.float32)
