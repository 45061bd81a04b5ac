"""Pixels -> the maps of a bundle's networks, at a bounded size."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BundleError
from unsay.results import Pixels
from unsay.segmentation.recipe import Network

Array = npt.NDArray[np.float32]


def working_size(height: int, width: int, network: Network) -> tuple[int, int]:
    """The size at which a photo enters: long side `side`, both sides multiples of `multiple`, at least one of it."""
    scale = network.side / max(height, width)
    sides = (max(1, round(length * scale / network.multiple)) for length in (height, width))
    tall, wide = (side * network.multiple for side in sides)
    return tall, wide


def prepare(rgb: Pixels, network: Network) -> Array:
    """[H, W, 3] uint8 -> [1, 3, h, w] fp32 as the network wants it (area average when it shrinks, else cubic)."""
    height, width = working_size(rgb.shape[0], rgb.shape[1], network)
    shrinks = height * width < rgb.shape[0] * rgb.shape[1]
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    pixels = (small.astype(np.float32) - np.array(network.mean, np.float32)) / np.array(network.deviation, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def run_maps(session: Any, pixels: Array) -> dict[str, Array]:
    """One pass of an ONNX session over prepared pixels -> its outputs by name, each [C, h, w].

    Raises `BundleError` for outputs of another form, and for numbers that are not finite.
    """
    names = [output.name for output in session.get_outputs()]
    maps = dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))
    for name, values in maps.items():
        if values.ndim != 4 or len(values) != 1 or not values.size or not finite(values):
            raise BundleError(
                f"the network gave {name!r} as {values.dtype} {list(values.shape)}; expected finite float32 "
                "[1, C, h, w]: the bundle is not usable"
            )
    return {name: values[0] for name, values in maps.items()}


def finite(values: npt.NDArray[Any]) -> bool:
    """Whether these are float32, and none is infinite or no number."""
    return values.dtype == np.float32 and bool(np.isfinite(values).all())
