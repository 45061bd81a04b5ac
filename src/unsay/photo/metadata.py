"""What travels with the pixels, without the pictures in it: EXIF, XMP, Photoshop and IPTC blocks.

A thumbnail or preview still shows what was erased, so every block that is written goes through here first.
EXIF is edited in place: maker notes hold offsets that a rewritten block would break.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass

from unsay.photo import ifd, pictures
from unsay.photo.pictures import MOST_BYTES

EXIF_PREFIX = b"Exif\0\0"
PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"

_THUMBNAIL_RESOURCES = (1033, 1036)
_RANGES = ((513, 514), (273, 279), (324, 325))  # offsets and lengths of a directory's JPEG, strips and tiles
_MOST_DIRECTORIES = 64
_MOST_STRIPS = 1 << 16
_XMP_ELEMENTS = (rb"(?:\w+:)?Thumbnails", rb"Container:Directory", rb"hdrgm:\w+")
_XMP_ATTRIBUTES = re.compile(
    rb"\s(?:hdrgm:\w+|GCamera:(?:MotionPhoto|MicroVideo)\w*|xmpNote:HasExtendedXMP)\s*=\s*(?:\"[^\"]*\"|'[^']*')"
)


@dataclass(frozen=True)
class Metadata:
    """The blocks of a photo, already without pictures: EXIF without prefix, ICC profile, XMP, Photoshop resources."""

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None


def clean_exif(exif: bytes, orientation: int = 1) -> bytes | None:
    """An EXIF block (with or without the `Exif` prefix, kept as it was) without thumbnails and previews.

    A block that cannot be read is replaced by one that holds `orientation` alone, or by None where that is 1.
    """
    prefix = EXIF_PREFIX if exif.startswith(EXIF_PREFIX) else b""
    block = bytearray(exif[len(prefix) : len(prefix) + MOST_BYTES + 1])
    try:
        _check_size(block)
        layout = ifd.read_layout(block)
        cut = _cut_directories(block, layout)
        pictures.blank(block)
        _trim(block, cut)  # what was blanked within a tag's own value stays as zeros: the tag is still there
        layout = ifd.read_layout(block)
        ifd.read_directory(block, layout.first, layout)
    except ValueError:
        return None if orientation == 1 else prefix + ifd.write_exif([ifd.short(ifd.ORIENTATION, orientation)])
    return prefix + bytes(block)


def upright_exif(exif: bytes) -> bytes:
    """The same EXIF block, its orientation tag (if any) set to 1: for pixels that were turned upright.

    The entry is written anew, whatever type and count it claims: its value may lie anywhere, the header included.
    """
    prefix = EXIF_PREFIX if exif.startswith(EXIF_PREFIX) else b""
    block = bytearray(exif[len(prefix) :])
    layout = ifd.read_layout(block)
    slot = ifd.find(ifd.read_directory(block, layout.first, layout), ifd.ORIENTATION)
    if slot is not None:
        entry = (ifd.ORIENTATION, 3, 1, 1, *([0] * (3 if layout.big else 1)))
        struct.pack_into(layout.order + ("HHQHHHH" if layout.big else "HHIHH"), block, slot.at, *entry)
    return prefix + bytes(block)


def clean_xmp(xmp: bytes) -> bytes | None:
    """An XMP packet without thumbnails, depth pictures and gain map directories; None if it cannot be read."""
    if len(xmp) > MOST_BYTES or b"\0" in xmp.rstrip(b"\0"):
        return None
    cleaned: bytes | None = xmp
    for name in _XMP_ELEMENTS:
        cleaned = None if cleaned is None else _without_element(cleaned, name)
    return None if cleaned is None else pictures.without_written(_XMP_ATTRIBUTES.sub(b"", cleaned))


def clean_photoshop(resources: bytes) -> bytes:
    """A run of Photoshop image resources without thumbnails, and those that hold other blocks cleaned in turn."""
    kept = bytearray()
    for number, name, value in _resources(resources):
        cleaned = clean_resource(number, value)
        if cleaned is not None:
            kept += b"8BIM" + struct.pack(">H", number) + name + struct.pack(">I", len(cleaned))
            kept += cleaned + b"\0" * (len(cleaned) % 2)
    return bytes(kept)


def clean_resource(number: int, value: bytes) -> bytes | None:
    """One Photoshop image resource without pictures in it; None for one that is a picture."""
    if number in _THUMBNAIL_RESOURCES:
        return None
    if number == 1028:
        return clean_iptc(value)
    if number in (1058, 1059):
        return clean_exif(value)
    if number == 1060:
        return clean_xmp(value)
    return value if pictures.blanked(value) == value else None


def clean_iptc(iptc: bytes) -> bytes:
    """A run of IPTC data sets without the preview (2:200 to 2:202), the object (records 7 to 9), other pictures."""
    kept, at = bytearray(), 0
    while at + 5 <= len(iptc) and iptc[at] == 0x1C:
        record, number = iptc[at + 1], iptc[at + 2]
        size, start = int.from_bytes(iptc[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:
            width = size & 0x7FFF
            size, start = int.from_bytes(iptc[start : start + width], "big"), start + width
        if start + size > len(iptc):
            break
        value = iptc[start : start + size]
        if record < 7 and not (record == 2 and 200 <= number <= 202) and pictures.blanked(value) == value:
            kept += iptc[at : start + size]
        at = start + size
    return bytes(kept)


def _check_size(block: bytes | bytearray) -> None:
    if len(block) > MOST_BYTES:
        raise ValueError(f"a block of more than {MOST_BYTES} bytes")


def _cut_directories(block: bytearray, layout: ifd.Layout) -> list[tuple[int, int]]:
    """Blank every directory but the first and its own, with the pictures that any of them points to.

    Raises ValueError for more of them than any camera writes.
    """
    first = ifd.read_directory(block, layout.first, layout)
    blanked: list[tuple[int, int]] = []
    starts = [first.next]
    while (slot := ifd.find(first, ifd.SUB_IFDS)) is not None:
        starts += ifd.integers(block, slot, layout)
        _check_count(starts)
        _remove_slot(block, first, slot, layout)
        first = ifd.read_directory(block, layout.first, layout)
    seen = {layout.first}
    for start in starts:
        for directory in _readable(block, layout, start):
            if directory.at in seen:
                break
            seen.add(directory.at)
            _check_count(seen)
            blanked += _picture_ranges(block, directory, layout)
            blanked.append((directory.at, directory.next_at + (8 if layout.big else 4)))
    blanked += _picture_ranges(block, first, layout)
    if (slot := ifd.find(first, ifd.EXIF_IFD)) is not None:
        for start in ifd.integers(block, slot, layout)[:1]:
            for directory in _readable(block, layout, start):
                blanked += _picture_ranges(block, directory, layout)
    struct.pack_into(layout.order + ("Q" if layout.big else "I"), block, first.next_at, 0)
    for begin, end in blanked:
        block[begin:end] = bytes(end - begin)
    return blanked


def _check_count(directories: Sized) -> None:
    if len(directories) > _MOST_DIRECTORIES:
        raise ValueError(f"more than {_MOST_DIRECTORIES} directories")


def _readable(block: bytearray, layout: ifd.Layout, start: int) -> Iterator[ifd.Directory]:
    try:
        yield from ifd.directories(block, layout, start)
    except ValueError:  # a pointer to nowhere: nothing there to blank, and the pointer itself goes
        return


def _remove_slot(block: bytearray, directory: ifd.Directory, slot: ifd.Slot, layout: ifd.Layout) -> None:
    width, code = (20, "Q") if layout.big else (12, "H")
    count = struct.unpack_from(layout.order + code, block, directory.at)[0]
    struct.pack_into(layout.order + code, block, directory.at, count - 1)
    end = directory.next_at + (8 if layout.big else 4)
    block[slot.at : end] = block[slot.at + width : end] + bytes(width)


def _picture_ranges(block: bytearray, directory: ifd.Directory, layout: ifd.Layout) -> list[tuple[int, int]]:
    ranges = []
    for offset_tag, length_tag in _RANGES:
        offsets, lengths = ifd.find(directory, offset_tag), ifd.find(directory, length_tag)
        if offsets is not None and lengths is not None:
            if offsets.length > _MOST_STRIPS:
                raise ValueError(f"a picture in {offsets.length} pieces")
            pairs = zip(ifd.integers(block, offsets, layout), ifd.integers(block, lengths, layout), strict=False)
            ranges += _joined((at, min(at + size, len(block))) for at, size in pairs if 8 <= at < len(block))
    return ranges


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes as ranges in order that do not overlap."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _trim(block: bytearray, blanked: list[tuple[int, int]]) -> None:
    """Cut what was blanked at the end of the block off."""
    for begin, end in sorted(blanked, reverse=True):
        if end >= len(block):
            del block[begin:]


def _without_element(xmp: bytes, name: bytes) -> bytes | None:
    """The packet without the elements called `name` (a pattern); None where one has no end."""
    opening, closing = re.compile(rb"<" + name + rb"\b[^<>]*>"), re.compile(rb"</" + name + rb"\s*>")
    kept, at = [], 0
    while (found := opening.search(xmp, at)) is not None:
        kept.append(xmp[at : found.start()])
        last = found if found[0].endswith(b"/>") else closing.search(xmp, found.end())
        if last is None:
            return None
        at = last.end()
    return b"".join([*kept, xmp[at:]])


def _resources(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    at = 0
    while at + 12 <= len(data) and data[at : at + 4] == b"8BIM":
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        name_end = at + 6 + (data[at + 6] + 2) // 2 * 2
        size = int.from_bytes(data[name_end : name_end + 4], "big")
        start = name_end + 4
        if start + size > len(data):
            return
        yield number, data[at + 6 : name_end], data[start : start + size]
        at = start + size + size % 2
