"""Small whole photos of every format and coding that Unsay reads: what the mutations start from."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
import pyvips
from PIL import Image

from unsay.photo.containers import jpeg_metadata_segments, png_metadata_chunks, write_jpeg, write_png, write_webp
from unsay.photo.metadata import EXIF_PREFIX, Metadata

FORMATS = ("jpeg", "png", "webp", "tiff", "avif", "heic")
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif", "avif": ".avif", "heic": ".heic"}
HEIGHT, WIDTH = 24, 32
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description hdrgm:Version="1.0" xmpNote:HasExtendedXMP="AB">'
    b"<xmp:Thumbnails><rdf:Alt>/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQ</rdf:Alt>"
    b"</xmp:Thumbnails></rdf:Description></rdf:RDF></x:xmpmeta>"
)
PHOTOSHOP = (
    b"8BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x05\0\x03abc\x1c\x07\x0a\0\0"
    b"8BIM\x04\x0c\0\0\0\0\0\x20" + b"\0\0\0\1" + b"\xff\xd8\xff\xe0" + bytes(22) + b"\xff\xd9"
)


def pixels() -> np.ndarray[Any, Any]:
    """[24, 32, 3] uint8: a grey ramp with a red square and a blue bar in it, as the tests' words name them."""
    ramp = np.linspace(60, 180, WIDTH)[None, :, None] + np.linspace(0, 40, HEIGHT)[:, None, None]
    rgb = np.broadcast_to(ramp, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    rgb[4:14, 6:16] = (230, 10, 10)
    rgb[18:22, 18:30] = (10, 10, 240)
    return rgb


@cache
def photos(kind: str) -> tuple[bytes, ...]:
    """Photos of the format `kind` (one of `FORMATS`), each coded in another way."""
    makers = {"jpeg": _jpegs, "png": _pngs, "webp": _webps, "tiff": _tiffs, "avif": _avifs, "heic": _heics}
    return tuple(makers[kind]())


@cache
def masks() -> tuple[bytes, ...]:
    """Masks of the photos' size, one in each lossless format and a JPEG."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[6:12, 8:20] = 255
    grey, turned = pyvips.Image.new_from_array(mask), Image.fromarray(mask).convert("1")
    return (
        grey.pngsave_buffer(),
        grey.tiffsave_buffer(),
        grey.jpegsave_buffer(),
        grey.webpsave_buffer(lossless=True),
        _pil(turned, "PNG"),
        _pil(turned, "TIFF", compression="group4"),
    )


@cache
def exif(order: str = "<") -> bytes:
    """An EXIF block without its prefix: camera, orientation 6, a maker note, sub-directories, a thumbnail."""
    thumbnail = _pil(Image.fromarray(pixels()[:8, :8]), "JPEG", quality=30)

    def slot(tag: int, kind: int, count: int, value: int) -> bytes:
        packed = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        return struct.pack(order + "HHI", tag, kind, count) + packed

    first = [slot(271, 2, 8, 200), slot(274, 3, 1, 6), slot(330, 4, 1, 300), slot(34665, 4, 1, 220)]
    block = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8))
    block += struct.pack(order + "H", len(first)) + b"".join(first) + struct.pack(order + "I", 340)
    block += bytes(200 - len(block)) + b"camera\0\0" + bytes(12)
    block += struct.pack(order + "H", 2) + slot(36864, 7, 4, 0x30323330) + slot(37500, 7, 40, 252) + bytes(4)
    block += bytes(252 - len(block)) + b"Maker\0\xff\xd8\xff\xdb" + bytes(28) + b"\xff\xd9"
    block += bytes(300 - len(block)) + struct.pack(order + "H", 1) + slot(254, 4, 1, 1) + bytes(4)
    block += bytes(340 - len(block)) + struct.pack(order + "H", 2) + slot(513, 4, 1, 400)
    block += slot(514, 4, 1, len(thumbnail)) + bytes(4)
    return bytes(block + bytes(400 - len(block)) + thumbnail)


@cache
def icc() -> bytes:
    """A small working RGB profile that is not sRGB."""
    profile: bytes = pyvips.Image.new_from_array(pixels()).icc_transform("p3").get("icc-profile-data")
    return profile


def metadata(order: str = "<") -> Metadata:
    """Every kind of block at once."""
    return Metadata(exif(order), icc(), XMP, PHOTOSHOP)


def _pil(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _made(array: np.ndarray[Any, Any], interpretation: str = "srgb") -> Any:
    return pyvips.Image.new_from_array(array).copy(interpretation=interpretation)


def _alpha() -> np.ndarray[Any, Any]:
    return np.dstack([pixels(), np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)])


def _inks() -> np.ndarray[Any, Any]:
    return np.dstack([255 - pixels(), np.zeros((HEIGHT, WIDTH), np.uint8)])


def _jpegs() -> list[bytes]:
    rgb, image = _made(pixels()), Image.fromarray(pixels())
    return [
        write_jpeg(rgb.jpegsave_buffer(Q=90), jpeg_metadata_segments(metadata())),
        write_jpeg(rgb.jpegsave_buffer(interlace=True), jpeg_metadata_segments(metadata(">"))),
        _pil(image, "JPEG", quality=95, subsampling=0, exif=EXIF_PREFIX + exif()),
        _pil(image, "JPEG", quality=80, restart_marker_blocks=2, comment=b"words"),
        _pil(image.convert("L"), "JPEG", quality=90),
        _pil(image.convert("CMYK"), "JPEG", quality=90),
    ]


def _pngs() -> list[bytes]:
    image = Image.fromarray(pixels())
    chunks = [*png_metadata_chunks(metadata()), (b"tEXt", b"Comment\0some words"), (b"gAMA", struct.pack(">I", 45455))]
    profile = b"\nexif\n%8d\n" % len(exif()) + (EXIF_PREFIX + exif()).hex().encode()
    chunks.append((b"tEXt", b"Raw profile type exif\0" + profile))
    return [
        write_png(_made(pixels()).pngsave_buffer(), chunks),
        _made(_alpha().astype(np.uint16) * 257, "rgb16").pngsave_buffer(),
        _made(pixels()).pngsave_buffer(interlace=True),
        _pil(image.convert("L"), "PNG"),
        _pil(image.quantize(16), "PNG", transparency=3),
        _pil(image.convert("1"), "PNG"),
    ]


def _webps() -> list[bytes]:
    plain = _made(pixels()).webpsave_buffer(Q=90)
    return [
        write_webp(plain, (WIDTH, HEIGHT), False, metadata()),
        _made(_alpha()).webpsave_buffer(lossless=True),
        _made(_alpha()).webpsave_buffer(Q=80),
        plain,
    ]


def _tiffs() -> list[bytes]:
    rgb = _made(pixels())
    full = rgb.copy()
    full.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc())
    full.set_type(pyvips.GValue.blob_type, "xmp-data", XMP)
    return [
        full.tiffsave_buffer(),
        rgb.tiffsave_buffer(compression="lzw", predictor="horizontal"),
        rgb.tiffsave_buffer(tile=True, tile_width=16, tile_height=16, compression="deflate"),
        rgb.tiffsave_buffer(bigtiff=True),
        _made(_alpha().astype(np.uint16) * 257, "rgb16").tiffsave_buffer(),
        _made(_inks(), "cmyk").tiffsave_buffer(compression="packbits"),
        rgb.tiffsave_buffer(compression="jpeg"),
        _pil(Image.fromarray(pixels()), "TIFF", compression="tiff_adobe_deflate"),
    ]


def _avifs() -> list[bytes]:
    image = Image.fromarray(pixels())
    return [
        _pil(image, "AVIF", quality=90, exif=EXIF_PREFIX + exif(), xmp=XMP, icc_profile=icc()),
        _pil(Image.fromarray(_alpha()), "AVIF", quality=95, subsampling="4:4:4"),
        _made(pixels().astype(np.uint16) * 257, "rgb16").heifsave_buffer(compression="av1", bitdepth=10, effort=0),
    ]


def _heics() -> list[bytes]:
    return [
        _heic(pixels(), "RGB", exif=EXIF_PREFIX + exif(), xmp=XMP),
        _heic(_alpha(), "RGBA", chroma=444),
        _heic(pixels().astype(np.uint16) * 257, "RGB;16"),
    ]


def _heic(array: np.ndarray[Any, Any], mode: str, **options: Any) -> bytes:
    image = pillow_heif.from_bytes(mode, (WIDTH, HEIGHT), array.tobytes())
    image.info["icc_profile"], image.info["icc_profile_type"] = icc(), "prof"
    stream = io.BytesIO()
    image.save(stream, quality=90, enc_params={"preset": "ultrafast"}, **options)
    return stream.getvalue()
