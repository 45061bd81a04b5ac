"""The blocks around the coded pixels: what a file holds beside them, and the same put around newly coded pixels.

Only blocks that are known to hold no picture are carried over; the others (multi-picture and gain map extensions,
content credentials, editors' private layers) may still show what was erased.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unsay.photo import pictures
from unsay.photo.metadata import (
    EXIF_PREFIX,
    PHOTOSHOP_PREFIX,
    Metadata,
    clean_exif,
    clean_iptc,
    clean_photoshop,
    clean_xmp,
)

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
ICC_PREFIX = b"ICC_PROFILE\0"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PLAIN_JFIF = b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0"
_SEGMENT_BYTES = 65533
_PNG_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"oFFs", b"tIME")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_XMP = b"XML:com.adobe.xmp\0"
_MAX_TEXT = 1 << 26
"""Bytes to which all packed texts of one file may unpack together: more are no words, and are left out."""

Segment = tuple[int, bytes]
Chunk = tuple[bytes, bytes]


# --- JPEG (ITU-T T.81, annex B) ---------------------------------------------------------------------------------


def jpeg_segments(data: bytes) -> Iterator[Segment]:
    """The marker segments before the first scan, each (marker, payload)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xDA:
            return
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + size]
        at += 2 + size


def kept_jpeg_segments(data: bytes, orientation: int) -> list[Segment]:
    """The segments of a JPEG that an edited copy carries: density, EXIF, XMP, ICC, IPTC and comments."""
    kept: list[Segment] = []
    photoshop: list[bytes] = []
    seen: set[bytes] = set()
    for marker, payload in jpeg_segments(data):
        if marker == 0xED and payload.startswith(PHOTOSHOP_PREFIX):
            photoshop.append(payload[len(PHOTOSHOP_PREFIX) :])
            continue
        cleaned = _clean_segment(marker, payload, orientation)
        prefix = payload[:5] if marker in (0xE0, 0xE1) else None
        if cleaned is not None and prefix not in seen:
            kept.append((marker, cleaned))
            seen.update([prefix] if prefix else [])
    return kept + _photoshop_segments(clean_photoshop(b"".join(photoshop)))


def jpeg_metadata_segments(metadata: Metadata) -> list[Segment]:
    """The segments that hold `metadata` in a JPEG made from a photo of another format."""
    segments: list[Segment] = [] if metadata.exif else [(0xE0, _PLAIN_JFIF)]
    if metadata.exif:
        segments.append((0xE1, EXIF_PREFIX + metadata.exif))
    if metadata.xmp:
        segments.append((0xE1, XMP_PREFIX + metadata.xmp))
    if metadata.icc:
        parts = _pieces(metadata.icc, _SEGMENT_BYTES - len(ICC_PREFIX) - 2)
        segments += [(0xE2, ICC_PREFIX + bytes([i + 1, len(parts)]) + part) for i, part in enumerate(parts)]
    segments += _photoshop_segments(metadata.photoshop or b"")
    return [(marker, payload) for marker, payload in segments if len(payload) <= _SEGMENT_BYTES]


def write_jpeg(encoded: bytes, segments: Iterable[Segment]) -> bytes:
    """A JPEG with the coded pixels of `encoded` and the given segments in place of its own blocks."""
    whole, at = memoryview(encoded), 2
    out: list[bytes | memoryview] = [b"\xff\xd8"]
    out += [struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload for marker, payload in segments]
    for marker, payload in jpeg_segments(encoded):
        end = at + len(payload) + 4
        if not (0xE0 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            out.append(whole[at:end])
        at = end
    return b"".join([*out, whole[at:]])


def _clean_segment(marker: int, payload: bytes, orientation: int) -> bytes | None:
    if marker == 0xE0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
        return payload[:12] + b"\0\0"  # the header may hold a thumbnail of its own
    if marker == 0xE1 and payload.startswith(EXIF_PREFIX):
        return clean_exif(payload, orientation)
    if marker == 0xE1 and payload.startswith(XMP_PREFIX):
        cleaned = clean_xmp(payload[len(XMP_PREFIX) :])
        return None if cleaned is None else XMP_PREFIX + cleaned
    if marker == 0xE2 and payload.startswith(ICC_PREFIX):
        return payload
    return pictures.blanked(payload) if marker == 0xFE else None


def _photoshop_segments(resources: bytes) -> list[Segment]:
    parts = _pieces(resources, _SEGMENT_BYTES - len(PHOTOSHOP_PREFIX))
    return [(0xED, PHOTOSHOP_PREFIX + part) for part in parts]


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


# --- PNG (third edition) ----------------------------------------------------------------------------------------


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG, each (type, data), up to and with IEND; it ends early where the file is cut short."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            return
        yield kind, data[at + 8 : at + 8 + size]
        if kind == b"IEND":
            return
        at += 12 + size


def without_texts(data: bytes) -> bytes:
    """The same PNG without its texts, but for the first XMP packet: libpng would inflate each, up to 8 MB, as it reads.

    The very same bytes where there is none.
    """
    kept: list[memoryview] = []
    view, at, start, seen = memoryview(data), len(PNG_SIGNATURE), 0, False
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        first = kind == b"iTXt" and not seen and data.startswith(_PNG_XMP, at + 8)
        seen = seen or first
        if kind in _TEXTS and not first:
            kept.append(view[start:at])
            start = end
        at = end
    return b"".join([*kept, view[start:]]) if kept else data


def kept_png_chunks(data: bytes, orientation: int) -> list[Chunk]:
    """The chunks of a PNG that an edited copy carries: colour, density, time, EXIF and texts.

    Of EXIF and XMP the first alone, as the format says; of packed texts those that fit into a bound together.
    """
    kept: list[Chunk] = []
    room = _Room(_MAX_TEXT)
    for kind, payload in png_chunks(data):
        if kind == b"eXIf":
            exif = None if room.exif else clean_exif(payload, orientation)
            room.exif = True
            kept += [(kind, exif)] if exif else []
        elif kind in _TEXTS:
            text = _clean_text(kind, payload, room)
            kept += [(kind, text)] if text else []
        elif kind in _PNG_KEPT:
            kept.append((kind, payload))
    return kept


def png_metadata_chunks(metadata: Metadata) -> list[Chunk]:
    """The chunks that hold `metadata` in a PNG made from a photo of another format."""
    chunks: list[Chunk] = []
    if metadata.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    return chunks


def write_png(encoded: bytes, chunks: Iterable[Chunk]) -> bytes:
    """A PNG with the coded pixels of `encoded` and the given chunks in place of its own blocks."""
    out = [PNG_SIGNATURE]
    for kind, payload in png_chunks(encoded):
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            out.append(_png_chunk(kind, payload))
        if kind == b"IHDR":
            out += [_png_chunk(*chunk) for chunk in chunks]
    return b"".join(out)


def _png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(payload, zlib.crc32(kind)))


@dataclass
class _Room:
    """How many bytes packed texts may still unpack to, and whether the one EXIF block and XMP packet were seen."""

    left: int
    exif: bool = False
    xmp: bool = False

    def inflate(self, data: bytes) -> bytes:
        """What `data` decompresses to; nothing if it is damaged or there is no room for it."""
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(data, self.left) if self.left else b""
        except zlib.error:
            return b""
        self.left -= len(text)
        return text if unpacker.eof else b""


def _clean_text(kind: bytes, payload: bytes, room: _Room) -> bytes | None:
    keyword, _, rest = payload.partition(b"\0")
    if keyword == b"XML:com.adobe.xmp" and kind == b"iTXt" and len(rest) >= 2:
        if room.xmp:
            return None
        room.xmp = True
        language, translated, text = [*rest[2:].split(b"\0", 2), b"", b""][:3]
        xmp = clean_xmp(room.inflate(text) if rest[0] else text)
        return None if xmp is None else b"\0".join([keyword, b"\0", language, translated, xmp])
    if keyword.startswith(b"Raw profile type "):
        return None if keyword.endswith(b" icc") else _clean_raw_profile(keyword, kind, rest, room)
    return _clean_plain_text(kind, payload, room)


def _clean_plain_text(kind: bytes, payload: bytes, room: _Room) -> bytes | None:
    """A text of any other keyword; one that holds a picture is left out, as blanks would break what it says."""
    keyword, _, rest = payload.partition(b"\0")
    text = rest
    if kind == b"zTXt":
        text = room.inflate(rest[1:])
    elif kind == b"iTXt" and len(rest) >= 2:
        text = rest[2:].split(b"\0", 2)[-1]
        text = room.inflate(text) if rest[0] else text
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    if packed and not text and len(rest) > 12:
        return None
    return payload if pictures.blanked(keyword + text) == keyword + text else None


def _clean_raw_profile(keyword: bytes, kind: bytes, rest: bytes, room: _Room) -> bytes | None:
    """ImageMagick's way to keep EXIF, IPTC and XMP in a text chunk: name, length and hexadecimal digits."""
    text = room.inflate(rest[1:]) if kind == b"zTXt" else rest
    try:
        name, _, digits = text.strip().split(b"\n", 2)
        block = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return None
    cleaned = _clean_any(block)
    if cleaned is None or kind == b"iTXt":
        return None
    text = b"\n" + name + b"\n%8d\n" % len(cleaned) + cleaned.hex().encode() + b"\n"
    return keyword + b"\0" + (b"\0" + zlib.compress(text) if kind == b"zTXt" else text)


def _clean_any(block: bytes) -> bytes | None:
    if block.startswith(EXIF_PREFIX):
        return clean_exif(block)
    if block.startswith(XMP_PREFIX):
        xmp = clean_xmp(block[len(XMP_PREFIX) :])
        return None if xmp is None else XMP_PREFIX + xmp
    if block.startswith(b"8BIM"):
        return clean_photoshop(block)
    return clean_iptc(block) if block.startswith(b"\x1c") else None


# --- WebP (RFC 9649) --------------------------------------------------------------------------------------------


def webp_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a WebP file, each (type, data)."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def write_webp(encoded: bytes, size: tuple[int, int], alpha: bool, metadata: Metadata) -> bytes:
    """A WebP with the coded pixels of `encoded` (width and height in `size`) and the given metadata."""
    before = [(b"ICCP", metadata.icc)] if metadata.icc else []
    after = [(b"EXIF", metadata.exif)] if metadata.exif else []
    after += [(b"XMP ", metadata.xmp)] if metadata.xmp else []
    if not before and not after:
        return encoded
    flags = 0x20 * bool(metadata.icc) + 0x10 * alpha + 0x08 * bool(metadata.exif) + 0x04 * bool(metadata.xmp)
    canvas = (size[0] - 1).to_bytes(3, "little") + (size[1] - 1).to_bytes(3, "little")
    pixels = [chunk for chunk in webp_chunks(encoded) if chunk[0] in (b"ALPH", b"VP8 ", b"VP8L")]
    body = b"WEBP"
    for kind, payload in [(b"VP8X", bytes([flags, 0, 0, 0]) + canvas), *before, *pixels, *after]:
        body += kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body
