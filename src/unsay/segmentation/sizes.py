"""Groups and labels between the patch grid, the size at which borders are drawn, and the photo."""

from __future__ import annotations

import cv2
import numpy as np

from unsay.results import Pixels
from unsay.segmentation.borders import draw_borders
from unsay.segmentation.grouping import Labels

DRAWN = 640
"""Long side at which borders are drawn; larger photos get their masks from there, smoothly enlarged."""


def at_size(groups: Labels, rgb: Pixels) -> Labels:
    """Groups with drawn borders at the size at which borders are drawn: long side at most `DRAWN`."""
    height, width = rgb.shape[:2]
    scale = min(1.0, DRAWN / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    return draw_borders(groups, np.asarray(small, np.uint8))


def enlarge(labels: Labels, shape: tuple[int, ...], smooth: bool = True) -> Labels:
    """Labels -> the photo's size `shape` (H, W) int32. Smooth: outlines are interpolated and have no steps."""
    size = (shape[1], shape[0])
    if labels.shape == shape[:2]:
        return np.asarray(labels, np.int32)
    values = np.unique(labels)
    if not smooth or len(values) == 1:
        return np.asarray(cv2.resize(labels.astype(np.int16), size, interpolation=cv2.INTER_NEAREST), np.int32)
    best = np.zeros(size[::-1], np.uint8)
    out = np.full(size[::-1], values[0], np.int32)
    for value in values:
        soft = cv2.resize((labels == value).astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR)
        wins = soft > best
        out[wins] = value
        np.copyto(best, soft, where=wins)
    return out
