"""Pixels -> the frozen trunk's maps, at a bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unsay.results import Pixels

Array = npt.NDArray[np.float32]
STRIDE = 32
MEAN, SCALE = 127.0, 128.0


@dataclass(frozen=True, eq=False)
class Maps:
    """The trunk's maps of one photo: `fine` [112, 2h, 2w], `last` [320, h, w], `wide` [1280, h, w], all fp32."""

    fine: Array
    last: Array
    wide: Array


def working_size(height: int, width: int, side: int) -> tuple[int, int]:
    """The size at which a photo enters the trunk: long side `side`, both sides multiples of 32, at least 32."""
    scale = side / max(height, width)
    return _multiple(height * scale), _multiple(width * scale)


def prepare(rgb: Pixels, size: tuple[int, int]) -> Array:
    """[H, W, 3] uint8 -> [1, 3, height, width] fp32, (x - 127) / 128, resized (area average when it shrinks)."""
    height, width = size
    shrinks = height * width < rgb.shape[0] * rgb.shape[1]
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    pixels = (small.astype(np.float32) - MEAN) / SCALE
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def run_trunk(session: Any, pixels: Array) -> Maps:
    """One pass of the trunk's ONNX session over prepared pixels."""
    fine, last, wide = session.run(["fine", "last", "wide"], {"pixels": pixels})
    return Maps(fine[0], last[0], wide[0])


def _multiple(length: float) -> int:
    return max(STRIDE, round(length / STRIDE) * STRIDE)
