"""HEIC through `pillow-heif`, which is not among Unsay's own needs: its encoder is GPL (`pip install 'unsay[heic]'`).

libvips as it is packaged holds no HEVC coder. A HEIC is decoded the way up that it is looked at, its depth maps, gain
maps and thumbnails are left out, and its single photo is coded anew (see `photo_lossy`).
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from unsay.errors import BadInput, UnsayError
from unsay.photo.native import Samples

_MODES = {("uint8", 1): "L", ("uint8", 3): "RGB", ("uint8", 4): "RGBA"}
_MODES |= {("uint16", 1): "L;16", ("uint16", 3): "RGB;16", ("uint16", 4): "RGBA;16"}
_FAILURES = (RuntimeError, ValueError, EOFError, OSError, SyntaxError, LookupError)
"""What pillow-heif raises for a file that it cannot read."""
_PRESET = {"preset": "superfast"}
"""Of x265: in half the time, and here no larger at the same loss."""


@dataclass(frozen=True, eq=False)
class Heic:
    """A HEIC's photo. `subsampling`: 420, 422 or 444; `numbers`: colour primaries and transfer (ITU-T H.273)."""

    pixels: Samples
    bits: int
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    subsampling: int
    numbers: tuple[int, int] | None


def heic_size(name: str, data: bytes) -> tuple[int, int]:
    """Width and height from the header, nothing decoded. Raises `BadInput` for damage, and for several photos."""
    opened = _open(name, data)
    if len(opened) < 1:
        raise _damaged(name, ValueError("it holds no photo"))
    if len(opened) > 1:
        raise BadInput(f"{name} is a HEIC of {len(opened)} photos: Unsay edits single photos, so save one of them")
    return int(opened.size[0]), int(opened.size[1])


def read_heic(name: str, data: bytes) -> Heic:
    """The photo of a HEIC, upright. Raises `BadInput` where it cannot be read or `pillow-heif` is not installed."""
    opened = _open(name, data)
    try:
        pixels = np.asarray(opened)
    except _FAILURES as error:
        raise _damaged(name, error) from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if (pixels.dtype.name, pixels.shape[2]) not in _MODES:
        raise BadInput(f"{name} is a HEIC of {opened.mode} samples: convert it to a JPEG or PNG first")
    info = opened.info
    nclx = info.get("nclx_profile")
    numbers = (nclx["color_primaries"], nclx["transfer_characteristics"]) if nclx else None
    return Heic(
        pixels=pixels,
        bits=int(info.get("bit_depth", 8)),
        icc=info.get("icc_profile") or None,
        exif=info.get("exif") or None,
        xmp=info.get("xmp") or None,
        subsampling=int(info.get("chroma", 420)),
        numbers=numbers,
    )


def write_heic(heic: Heic, quality: int) -> bytes:
    """The photo as a HEIC of that quality (0..100). Raises `UnsayError` where the library fails."""
    library = _library("the output")
    height, width, bands = heic.pixels.shape
    image = library.from_bytes(_MODES[heic.pixels.dtype.name, bands], (width, height), heic.pixels.tobytes())
    if heic.icc:
        image.info["icc_profile"], image.info["icc_profile_type"] = heic.icc, "prof"
    data = _saved(image, quality, heic, heic.exif)
    if heic.exif and library.open_heif(data).size != (width, height):
        return _saved(image, quality, heic, None)  # a damaged block, in which the library finds a way to turn it
    return data


def _saved(image: Any, quality: int, heic: Heic, exif: bytes | None) -> bytes:
    stream = io.BytesIO()
    try:
        image.save(stream, quality=quality, chroma=heic.subsampling, exif=exif, xmp=heic.xmp, enc_params=_PRESET)
    except (RuntimeError, ValueError, OSError) as error:
        raise UnsayError(f"the photo cannot be written as HEIC ({' '.join(str(error).split())}): try PNG") from error
    return stream.getvalue()


def _library(name: str) -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise BadInput(
            f"{name} is a HEIC, which needs one more library: pip install 'unsay[heic]' (or take a JPEG or PNG)"
        ) from error
    return pillow_heif


def _open(name: str, data: bytes) -> Any:
    library = _library(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of depth pictures and the like, which are not read
            return library.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    except _FAILURES as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> BadInput:
    reason = "".join(c for c in " ".join(str(error).split()) if c.isprintable())[:160]
    return BadInput(f"{name} is a damaged or cut HEIC ({reason}): fetch or copy it again")
