"""Reading a photo file: what it is, whether it is whole and not too large, and only then its pixels."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyvips

from unsay.errors import BadInput, TooLarge
from unsay.photo.containers import png_chunks, webp_chunks, without_texts
from unsay.photo.heic import Heic, heic_size, read_heic
from unsay.photo.limits import check_claims
from unsay.photo.native import Native, from_vips
from unsay.photo.tiff import tiff_pages, with_plain_alpha

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]

READS = "JPEG, PNG, WebP, TIFF, AVIF or HEIC"
LOADERS = {
    "jpeg": "jpegload_buffer",
    "png": "pngload_buffer",
    "webp": "webpload_buffer",
    "tiff": "tiffload_buffer",
    "avif": "heifload_buffer",
}
_LOADER_CLASSES = {
    "jpeg": "VipsForeignLoadJpeg",
    "png": "VipsForeignLoadPng",
    "webp": "VipsForeignLoadWebp",
    "tiff": "VipsForeignLoadTiff",
    "avif": "VipsForeignLoadHeif",
}
_HEAD = 64
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHERS = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"),
    (b"8BPS", "Photoshop"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"FUJIFILM", "camera raw"),
)
_COLOURS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "rgb": 3, "cmyk": 4}
_SLACK_BYTES = 1 << 26


@dataclass(frozen=True, eq=False)
class PhotoFile:
    """A photo file that was read whole: its name for messages, bytes, format, samples.

    `lossless`: whether writing it again in its own format keeps every sample. `heic`: what a HEIC holds beside them.
    """

    name: str
    data: bytes
    format: str
    native: Native
    lossless: bool
    heic: Heic | None = None


def read_photo(source: Source, max_megapixels: float, what: str = "photo") -> PhotoFile:
    """Read a photo (`what` it is called in messages); its size is checked before any pixel is decoded.

    Raises `BadInput`.
    """
    if not max_megapixels > 0:
        raise BadInput(f"max_megapixels is {max_megapixels}: give a number above 0")
    name, data = _read_bytes(source, max_megapixels, what)
    kind = _identify(name, data[:_HEAD])
    if kind == "heic":
        return _read_heic(name, data, max_megapixels)
    check_claims(name, kind, data)
    _refuse_several(name, kind, data)
    decodable = with_plain_alpha(data) if kind == "tiff" else data
    header = _load(name, kind, decodable)
    _check_header(name, header, max_megapixels)
    icc = header.get("icc-profile-data") if header.get_typeof("icc-profile-data") else _nclx_profile(name, kind, data)
    native = Native(
        pixels=_decode(name, kind, decodable),
        colours=_COLOURS[header.interpretation],
        orientation=_orientation(kind, header),
        icc=icc,
        bits=int(header.get("bits-per-sample")) if header.get_typeof("bits-per-sample") else 8,
    )
    lossless = kind in ("png", "tiff") or (kind == "webp" and _coded_as(data) == b"VP8L")
    return PhotoFile(name, data, kind, native, lossless)


def _read_heic(name: str, data: bytes, max_megapixels: float) -> PhotoFile:
    _check_megapixels(name, *heic_size(name, data), max_megapixels)
    heic = read_heic(name, data)
    icc = heic.icc or (_numbered_profile(name, "HEIC", *heic.numbers) if heic.numbers else None)
    bands = heic.pixels.shape[2]
    return PhotoFile(name, data, "heic", Native(heic.pixels, 1 if bands < 3 else 3, 1, icc, heic.bits), False, heic)


def load_header(data: bytes, kind: str) -> Any:
    """The libvips image of a photo file, nothing decoded yet. Raises `pyvips.Error`."""
    readable = without_texts(data) if kind == "png" else data
    return getattr(pyvips.Image, LOADERS[kind])(readable, access="sequential", fail_on="error")


def block_other_loaders() -> None:
    """Forbid libvips every loader but those of the five formats, for the whole process.

    Unsay itself names the loader that it calls and never lets libvips guess; a program that serves strangers may
    want this second lock. It stays off by default because it would also bind the host program's own use of libvips.
    """
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in _LOADER_CLASSES.values():
        pyvips.operation_block_set(loader, False)


def shown(path: str | os.PathLike[str]) -> str:
    """A path as messages show it: on one line whatever characters it holds, and not longer than a line or two."""
    text = os.fspath(path)
    if len(text) > 200:
        text = f"{text[:80]}...{text[-80:]}"
    return text if text.isprintable() and text.strip() else repr(text)


def most_bytes(max_megapixels: float) -> float:
    """The bytes from which on a file is not even read: no photo of so many megapixels has them."""
    return math.inf if math.isinf(max_megapixels) else int(max_megapixels * 8e6) + _SLACK_BYTES


def _read_bytes(source: Source, max_megapixels: float, what: str) -> tuple[str, bytes]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"the {what} given as bytes", bytes(source)
    limit = most_bytes(max_megapixels)
    if isinstance(source, (str, os.PathLike)):
        return shown(source), _read_path(Path(source), shown(source), limit)
    if not hasattr(source, "read"):
        raise BadInput(f"a {what} is a path, bytes or a binary stream, not {type(source).__name__}")
    name = f"the {what} given as a stream"
    return name, _read_stream(source, name, limit)


def _read_path(path: Path, name: str, limit: float) -> bytes:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise BadInput(f"{name} is a folder, not a photo: name a file in it")
        if status.st_size > limit:
            raise _too_many_bytes(name, status.st_size, limit)
        with open(path, "rb") as stream:
            return _read_stream(stream, name, limit)
    except FileNotFoundError as error:
        raise BadInput(f"{name} does not exist: check the path") from error
    except PermissionError as error:
        raise BadInput(f"{name} may not be read: check its permissions") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{name} cannot be read ({reason}): check the path") from error


def _read_stream(stream: IO[bytes], name: str, limit: float) -> bytes:
    head = stream.read(_HEAD)
    if not isinstance(head, bytes):
        raise BadInput(f"{name} gives text: open it in binary mode")
    _identify(name, head)
    rest = stream.read() if math.isinf(limit) else stream.read(int(limit))
    if len(head) + len(rest) > limit:
        raise _too_many_bytes(name, len(head) + len(rest), limit)
    return head + rest


def _too_many_bytes(name: str, size: int, limit: float) -> BadInput:
    return BadInput(f"{name} has {size / 1e6:.0f} MB or more; the limit is {limit / 1e6:.0f}: raise --max-megapixels")


def _identify(name: str, head: bytes) -> str:
    if not head:
        raise BadInput(f"{name} is empty (0 bytes): give {READS}")
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith(_TIFF_STARTS):
        return "tiff"
    if head[4:8] == b"ftyp":
        return _identify_heif(name, head)
    other = next((label for start, label in _OTHERS if head.startswith(start)), None)
    what = f"a {other} file, not a photo that Unsay reads" if other else "not a photo"
    raise BadInput(f"{name} is {what}: give {READS}")


def _identify_heif(name: str, head: bytes) -> str:
    box = head[8 : max(16, int.from_bytes(head[:4], "big"))]
    brands = [box[i : i + 4] for i in range(0, len(box) - 3, 4) if i != 4]
    if brands[:1] == [b"avis"]:
        raise BadInput(f"{name} is an AVIF sequence: Unsay edits single photos, so save one picture of it")
    if b"avif" in brands:
        return "avif"
    if any(brand in (b"heic", b"heix", b"heim", b"heis", b"mif1") for brand in brands):
        return "heic"
    raise BadInput(f"{name} is a video or a sequence, not a photo that Unsay reads: give one of {READS}")


def _refuse_several(name: str, kind: str, data: bytes) -> None:
    """Refuse animations, several pages and raw files; a PNG without its end is refused here too."""
    several = "Unsay edits single photos, so save one picture of it"
    if kind == "png":
        chunks = {chunk for chunk, _ in png_chunks(data)}
        if b"IEND" not in chunks:
            raise BadInput(f"{name} is cut short (a PNG without its end): fetch or copy it again")
        if b"acTL" in chunks:
            raise BadInput(f"{name} is an animated PNG: {several}")
    if kind == "webp" and any(chunk in (b"ANIM", b"ANMF") for chunk, _ in webp_chunks(data)):
        raise BadInput(f"{name} is an animated WebP: {several}")
    if kind == "avif" and (found := _avif_pictures(name, data)) > 1:
        raise BadInput(f"{name} is an AVIF of {found} pictures: {several}")
    if kind == "tiff":
        try:
            pages = tiff_pages(data)
        except ValueError as error:
            raise BadInput(f"{name} is a damaged or cut TIFF ({error}): fetch or copy it again") from error
        if pages == 0:
            raise BadInput(f"{name} is a camera's raw file: develop it to a TIFF or JPEG first")
        if pages > 1:
            raise BadInput(f"{name} is a TIFF of {pages} pages: {several}")


def _coded_as(webp: bytes) -> bytes:
    """The kind of the chunk that holds the picture: the first one counts, as in every decoder."""
    return next((chunk for chunk, _ in webp_chunks(webp) if chunk in (b"VP8 ", b"VP8L")), b"")


def _avif_pictures(name: str, data: bytes) -> int:
    header = _load(name, "avif", data)
    return int(header.get("n-pages")) if header.get_typeof("n-pages") else 1


def _load(name: str, kind: str, data: bytes) -> Any:
    try:
        return load_header(data, kind)
    except pyvips.Error as error:
        raise _damaged(name, kind, error) from error


def _decode(name: str, kind: str, data: bytes) -> Any:
    try:
        return from_vips(load_header(data, kind))
    except pyvips.Error as error:
        raise _damaged(name, kind, error) from error


def _damaged(name: str, kind: str, error: pyvips.Error) -> BadInput:
    lines = [line.strip() for line in str(error.detail or error.message).splitlines() if line.strip()]
    reason = "".join(c for c in (lines[0] if lines else "") if c.isprintable())[:160]
    return BadInput(f"{name} is a damaged or cut {kind.upper()} ({reason}): fetch or copy it again")


def _check_header(name: str, header: Any, max_megapixels: float) -> None:
    _check_megapixels(name, header.width, header.height, max_megapixels)
    colours = _COLOURS.get(header.interpretation)
    if header.format not in ("uchar", "ushort") or colours is None or header.bands < colours:
        what = f"{header.bands} channels of {header.format} samples, {header.interpretation}"
        raise BadInput(f"{name} has {what}; Unsay reads 8 and 16 bit grey, RGB and CMYK: convert it to one of these")


def _check_megapixels(name: str, width: int, height: int, limit: float) -> None:
    if width * height > limit * 1e6:
        megapixels = width * height / 1e6
        raise TooLarge(
            f"{name} is {width} x {height} = {megapixels:.3g} megapixels; "
            f"the limit is {limit:g}: raise --max-megapixels or use a smaller copy",
            megapixels,
        )


def _orientation(kind: str, header: Any) -> int:
    if kind == "avif" or not header.get_typeof("orientation"):  # an AVIF is decoded the way it is looked at
        return 1
    value = int(header.get("orientation"))
    return value if 1 <= value <= 8 else 1


def _nclx_profile(name: str, kind: str, data: bytes) -> bytes | None:
    """The ICC profile for an AVIF that names its colours by numbers (ITU-T H.273) instead of carrying a profile."""
    at = data.find(b"colrnclx") if kind == "avif" else -1
    if at < 0:
        return None
    if len(data) < at + 12:
        raise BadInput(f"{name} is a cut AVIF (in its colours): fetch or copy it again")
    return _numbered_profile(name, "AVIF", data[at + 9], data[at + 11])


def _numbered_profile(name: str, label: str, primaries: int, transfer: int) -> bytes | None:
    if primaries == 9 or transfer in (16, 18):
        raise BadInput(f"{name} is a {label} with high dynamic range colours: convert it to sRGB or Display P3 first")
    if primaries != 12:
        return None
    black = np.zeros((1, 1, 3), np.uint8)
    profile: bytes = pyvips.Image.new_from_array(black).icc_transform("p3").get("icc-profile-data")
    return profile
