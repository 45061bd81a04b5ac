"""A photo's samples as its file holds them, and the one place where libvips is set up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyvips
import pyvips.error

Samples = npt.NDArray[Any]
"""[H, W, bands] uint8 or uint16: colours first, then alpha and other channels; stored orientation."""
T = TypeVar("T", bound=np.generic)

_MAX_THREADS = 4
_INTERPRETATIONS = {1: ("b-w", "grey16"), 3: ("srgb", "rgb16"), 4: ("cmyk", "cmyk")}

# Results are never asked for twice, and a cached operation would keep its whole photo in memory.
pyvips.cache_set_max(0)
if "VIPS_CONCURRENCY" not in os.environ:
    pyvips.vips_lib.vips_concurrency_set(min(_MAX_THREADS, os.cpu_count() or 1))


def _readable(text: Any) -> str:
    return "NULL" if text == pyvips.ffi.NULL else pyvips.ffi.string(text).decode(errors="replace")


# libvips quotes from damaged files in its messages. pyvips takes those for UTF-8: it would raise UnicodeDecodeError
# in place of its own error, leave the message for whatever fails next, and print a traceback from its log.
pyvips._to_string = pyvips.error._to_string = _readable


@dataclass(frozen=True, eq=False)
class Native:
    """The samples of a photo. `colours`: 1 grey, 3 RGB, 4 CMYK; `bits` per sample in the file; `icc` its profile.

    `orientation` 1..8 as in EXIF: how the stored samples must be turned to be looked at. 16-bit samples use the
    whole range of uint16, also where the file has 10 or 12 bits.
    """

    pixels: Samples
    colours: int
    orientation: int = 1
    icc: bytes | None = None
    bits: int = 8

    @property
    def alpha(self) -> bool:
        """Whether there are channels beyond the colours."""
        return int(self.pixels.shape[2]) > self.colours


@contextmanager
def fixed_threads() -> Iterator[None]:
    """As many threads on every machine, for coders that cut a picture up by their number: AV1's bytes depend on it."""
    own = pyvips.vips_lib.vips_concurrency_get()
    pyvips.vips_lib.vips_concurrency_set(_MAX_THREADS)
    try:
        yield
    finally:
        pyvips.vips_lib.vips_concurrency_set(own)


def displayed(stored: npt.NDArray[T], orientation: int) -> npt.NDArray[T]:
    """A view of the stored [H, W, ...] array as it is looked at: what is written to the view is written to it."""
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return stored[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def stored(view: npt.NDArray[T], orientation: int) -> npt.NDArray[T]:
    """The reverse of `displayed`: the array [H, W, ...] that is looked at as `view`."""
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    turned = view[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return turned.swapaxes(0, 1) if orientation >= 5 else turned


def differing(one: Samples, other: Samples) -> npt.NDArray[np.bool_]:
    """[H, W] bool: where two pictures of one shape differ in any band."""
    differs = one[..., 0] != other[..., 0]
    for band in range(1, one.shape[2]):  # in a tenth of the time of any(axis=2)
        differs |= one[..., band] != other[..., band]
    return np.asarray(differs)


def as_vips(pixels: Samples, colours: int, icc: bytes | None = None) -> Any:
    """A libvips image over the samples, which are not copied and must not change while it is in use."""
    height, width, bands = pixels.shape
    data = np.ascontiguousarray(pixels)
    wide = data.dtype == np.uint16
    image = pyvips.Image.new_from_memory(data, width, height, bands, "ushort" if wide else "uchar")
    image = image.copy(interpretation=_INTERPRETATIONS[colours][wide])
    if icc is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    return image


def from_vips(image: Any) -> Samples:
    """The samples [H, W, bands] of a libvips image, computed now; read-only. Raises `pyvips.Error`."""
    dtype = {"uchar": np.uint8, "ushort": np.uint16}[image.format]
    data = image.write_to_memory()
    pixels: Samples = np.frombuffer(data, dtype).reshape(image.height, image.width, image.bands)
    pixels.flags.writeable = False
    return pixels


def narrow(pixels: Samples) -> Samples:
    """The samples as uint8: of wider ones the upper half, so that widening by 257 and narrowing gives them back."""
    if pixels.dtype == np.uint8:
        return pixels
    upper = np.empty(pixels.shape, np.uint8)
    return np.right_shift(pixels, 8, out=upper, casting="unsafe")
