"""Pascal VOC's colours, in which its masks are stored and ours are drawn, and the classes of mIoU-7."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput

ANIMALS7 = ("background", "cat", "cow", "dog", "horse", "sheep", "person")
"""The classes of mIoU-7: those that are common in photos of animals."""
ANIMALS7_INDICES = (0, 8, 10, 12, 13, 17, 15)
"""Their indices among the 21."""
CLASSES = 21


def read_indices(path: Path) -> npt.NDArray[np.uint8]:
    """A class mask as stored indices [H, W] uint8: a grey PNG holds them, a palette PNG through VOC's colour map.

    Raises `BadInput` for a file that is no picture, of 16 bits, or with a colour that is none of VOC's.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BadInput(f"{path} is not a mask that can be read: expected a PNG of class indices")
    if image.dtype != np.uint8:
        raise BadInput(f"{path} holds {image.dtype} values; a class mask holds uint8: is it a mask of instances?")
    if image.ndim == 2:
        return np.asarray(image, np.uint8)
    rgb = image[..., 2::-1].astype(np.int64)
    keys = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
    table = {int(r) << 16 | int(g) << 8 | int(b): i for i, (r, g, b) in enumerate(colour_map().tolist())}
    values, inverse = np.unique(keys, return_inverse=True)
    unknown = [v for v in values.tolist() if v not in table]
    if unknown:
        raise BadInput(f"{path} has the colour #{unknown[0]:06x}, which is none of Pascal VOC's: store class indices")
    return np.asarray(np.array([table[v] for v in values.tolist()], np.uint8)[inverse.reshape(keys.shape)])


def colour_map() -> npt.NDArray[np.uint8]:
    """Pascal VOC's 256 colours [256, 3]: the bits of the index, dealt out to red, green and blue."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)
