"""Pictures inside other data, which may still show what was erased: found by how they begin, and blanked.

Looked for are JPEG, PNG, GIF, WebP, AVIF and HEIC streams, as they are or written in base64 or hexadecimal digits.
What nothing but its own reader knows (bare samples, packed or encrypted data) is not found; `metadata` blanks those
that a directory of tags points to.
"""

from __future__ import annotations

import re

MOST_BYTES = 1 << 24
"""A block beyond this holds pictures or rubbish; it counts as one that cannot be read."""
_MOST_BROKEN = 16
# Some cameras alter the first byte of the preview in their maker note, so it is not looked at before usual markers.
_START = re.compile(
    rb"(?P<jpeg>\xff\xd8\xff[\xc0-\xff]|(?s:.)\xd8\xff[\xc0\xc4\xdb\xe0\xe1\xee\xfe])|(?P<png>\x89PNG\r\n\x1a\n)|"
    rb"(?P<webp>RIFF(?s:....)WEBP)|(?P<gif>GIF8[79]a)|(?P<heif>(?s:....)ftyp(?:avi[fs]|hei[cxms]|mif1|msf1))"
)
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_WRITTEN = re.compile(
    rb"(?:/9j/|iVBORw0KGgo|R0lGOD[dl]h|UklGR|SUkqA|TU0AK|AAAA..Z0eX)[A-Za-z0-9+/]{40,}(?:[A-Za-z0-9+/=\s]|&#x?\w+;)*|"
    rb"(?i:ffd8ff|89504e470d0a1a0a|474946383[79]61|52494646|[0-9a-f]{8}66747970(?:617669|686569|6d6966))(?:[0-9A-Fa-f]{2}\s*){40,}"
)


def blank(block: bytearray) -> list[tuple[int, int]]:
    """Zero, in place, every picture in `block`, written ones too; their ranges.

    Raises ValueError for a block that is too large, or many broken pictures: each may lead through all of it.
    """
    if len(block) > MOST_BYTES:
        raise ValueError(f"a block of more than {MOST_BYTES} bytes")
    blanked, end, broken = [], 0, 0
    while (found := _START.search(block, end)) is not None:
        whole = _end(block, found)
        broken += whole is None
        if broken > _MOST_BROKEN:
            raise ValueError(f"more than {_MOST_BROKEN} broken pictures")
        end = max(whole or _first_end(block, found), found.end())
        block[found.start() : end] = bytes(end - found.start())
        blanked.append((found.start(), end))
    for found in _WRITTEN.finditer(bytes(block)):
        block[found.start() : found.end()] = b" " * len(found[0])
    return blanked


def blanked(block: bytes) -> bytes:
    """The same bytes, every picture in them blanked; all of them where there is no end of pictures."""
    copy = bytearray(block)
    try:
        blank(copy)
    except ValueError:
        return bytes(len(block))
    return bytes(copy)


def without_written(text: bytes) -> bytes:
    """A text without the pictures that are written in it in base64 or hexadecimal digits."""
    return _WRITTEN.sub(b"", text)


def _end(data: bytearray, found: re.Match[bytes]) -> int | None:
    """Where the picture that begins there ends by its own account; None for one that is broken."""
    start = found.start()
    if found.lastgroup == "jpeg":
        return _jpeg_end(data, start)
    if found.lastgroup == "webp":
        return min(start + 8 + int.from_bytes(data[start + 4 : start + 8], "little"), len(data))
    if found.lastgroup == "gif":
        return len(data)
    return _chain_end(data, start + 8 if found.lastgroup == "png" else start, png=found.lastgroup == "png")


def _first_end(data: bytearray, found: re.Match[bytes]) -> int:
    """Of a broken picture: where the first end marker after it ends; else the end of the data."""
    end = data.find(b"\xff\xd9" if found.lastgroup == "jpeg" else b"IEND", found.start())
    return len(data) if end < 0 else end + (2 if found.lastgroup == "jpeg" else 8)


def _jpeg_end(data: bytearray, start: int) -> int | None:
    at = start + 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xD9:
            return at + 2
        if marker == 0xFF:
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == 0xDA:
                found = _SCAN_END.search(data, at)
                at = found.start() if found else len(data)
    return None


def _chain_end(data: bytearray, at: int, *, png: bool) -> int | None:
    """The end of PNG chunks (length, type, data, checksum) or boxes (length with its own eight bytes, type, data)."""
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        if not kind.isalnum() or (not png and size < 8):
            return None if png else at or None
        at += size + 12 if png else size
        if png and kind == b"IEND":
            return min(at, len(data))
    return None if png else min(at, len(data))
