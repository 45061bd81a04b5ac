"""Directories of tags, as TIFF files and EXIF blocks hold them (TIFF 6.0 section 2, BigTIFF, Exif 2.32 section 4.6)."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

ORIENTATION = 274
SUB_IFDS = 330
EXIF_IFD = 34665
GPS_IFD = 34853
INTEROP_IFD = 40965
POINTERS = (EXIF_IFD, GPS_IFD, INTEROP_IFD)

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SWAP = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MAX_TAGS = 4096
_MAX_PAGES = 1000


class Layout(NamedTuple):
    """How a file writes its numbers: byte order for `struct`, 64-bit offsets or not, where its first directory is."""

    order: str
    big: bool
    first: int


class Slot(NamedTuple):
    """One tag as it lies in the file: `length` values; `at` its entry, `value_at` and `size` its values, in bytes."""

    tag: int
    kind: int
    length: int
    at: int
    value_at: int
    size: int


class Directory(NamedTuple):
    """One directory as it lies in the file: `next_at` holds the offset of the next one, `next` (0: none)."""

    at: int
    slots: list[Slot]
    next_at: int
    next: int


@dataclass(frozen=True)
class Tag:
    """One tag with its value as little-endian bytes; a pointer to a directory has that directory's tags instead."""

    tag: int
    kind: int
    value: bytes
    children: tuple[Tag, ...] = ()


def read_layout(data: bytes | bytearray) -> Layout:
    """Byte order, width and first directory of a TIFF file or EXIF block. Raises ValueError if it is neither."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    try:
        if order is not None and (version := _number(data, 2, order, "H")) in (42, 43):
            big = version == 43
            first = _number(data, 8, order, "Q") if big else _number(data, 4, order, "I")
            if first >= 8:  # behind the header
                return Layout(order, big, first)
    except struct.error as error:
        raise ValueError("the tag directory is cut short") from error
    raise ValueError("no tag directory")


def read_directory(data: bytes | bytearray, at: int, layout: Layout) -> Directory:
    """The directory at byte `at`; tags of unknown type or with values outside the data are left out.

    Raises ValueError if the directory itself lies outside the data.
    """
    width = 20 if layout.big else 12
    try:
        count = _number(data, at, layout.order, "Q" if layout.big else "H")
        start = at + (8 if layout.big else 2)
        if count > _MAX_TAGS:
            raise ValueError(f"a tag directory of {count} tags")
        next_at = start + count * width
        following = _number(data, next_at, layout.order, "Q" if layout.big else "I")
        slots = [_slot(data, start + i * width, layout) for i in range(count)]
    except (struct.error, OverflowError) as error:  # the latter for places that no file reaches
        raise ValueError("the tag directory is cut short") from error
    return Directory(at, [slot for slot in slots if slot is not None], next_at, following)


def directories(data: bytes | bytearray, layout: Layout, at: int | None = None) -> Iterator[Directory]:
    """The chain of directories from `at` (None: the first one); a chain that runs in a circle ends."""
    seen: set[int] = set()
    following = layout.first if at is None else at
    while following and following not in seen and len(seen) < _MAX_PAGES:
        seen.add(following)
        directory = read_directory(data, following, layout)
        yield directory
        following = directory.next


def integers(data: bytes | bytearray, slot: Slot, layout: Layout, most: int | None = None) -> tuple[int, ...]:
    """The values of a tag of whole numbers, `most` at most; nothing for a tag of another type."""
    code = _INTEGERS.get(slot.kind)
    if code is None:
        return ()
    count = slot.length if most is None else min(slot.length, most)
    return struct.unpack_from(f"{layout.order}{count}{code}", data, slot.value_at)


def find(directory: Directory, tag: int) -> Slot | None:
    """The first slot of `tag`, if the directory has one."""
    return next((slot for slot in directory.slots if slot.tag == tag), None)


def read_tags(
    data: bytes | bytearray, at: int, layout: Layout, wanted: Container[int] | None = None, depth: int = 0
) -> list[Tag]:
    """The tags of the directory at `at`, with those of the EXIF, GPS and interoperability directories under it.

    `wanted`: the tags of the directory itself that are read; None: all. Of a tag given twice the first counts, as for
    libtiff. Values that overlap, as no writer makes them, are read only as long as all of them fit into the data.
    Raises ValueError if the directory lies outside the data; a broken directory under it is left out.
    """
    tags: dict[int, Tag] = {}
    room = len(data)
    for slot in read_directory(data, at, layout).slots:
        if slot.tag in tags or (wanted is not None and slot.tag not in wanted):
            continue
        if slot.tag in POINTERS:
            children = _children(data, slot, layout, depth)
            if children:
                tags[slot.tag] = Tag(slot.tag, 4, b"", children)
        elif slot.kind not in (16, 17, 18) and slot.tag != SUB_IFDS and slot.size <= room:
            room -= slot.size
            tags[slot.tag] = Tag(slot.tag, slot.kind, _little_endian(data, slot, layout))
    return list(tags.values())


def write_directory(tags: Iterable[Tag], at: int) -> bytes:
    """A little-endian directory, to lie at the even offset `at`, followed by its values and those under it."""
    ordered = sorted({tag.tag: tag for tag in tags}.values(), key=lambda tag: tag.tag)
    end = at + 2 + 12 * len(ordered) + 4
    entries, body = bytearray(struct.pack("<H", len(ordered))), bytearray()
    for tag in ordered:
        here = end + len(body)
        if tag.children:
            entries += struct.pack("<HHII", tag.tag, 4, 1, here)
            body += write_directory(tag.children, here)
            continue
        entries += struct.pack("<HHI", tag.tag, tag.kind, len(tag.value) // SIZES[tag.kind])
        if len(tag.value) <= 4:
            entries += tag.value.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", here)
            body += tag.value + b"\0" * (len(tag.value) % 2)
    return bytes(entries + b"\0\0\0\0" + body)


def write_exif(tags: Iterable[Tag]) -> bytes:
    """An EXIF block (without the `Exif` prefix) that holds `tags`."""
    return b"II*\0\x08\0\0\0" + write_directory(tags, 8)


def short(tag: int, value: int) -> Tag:
    """A tag with one 16-bit number."""
    return Tag(tag, 3, struct.pack("<H", value))


def _number(data: bytes | bytearray, at: int, order: str, code: str) -> int:
    value: int = struct.unpack_from(order + code, data, at)[0]
    return value


def _slot(data: bytes | bytearray, at: int, layout: Layout) -> Slot | None:
    tag, kind, count = struct.unpack_from(layout.order + ("HHQ" if layout.big else "HHI"), data, at)
    inline = at + (12 if layout.big else 8)
    size = SIZES.get(kind, 0) * count
    offset = _number(data, inline, layout.order, "Q" if layout.big else "I")
    value_at = inline if size <= (8 if layout.big else 4) else offset
    if size == 0 or value_at + size > len(data):
        return None
    return Slot(tag, kind, count, at, value_at, size)


def _children(data: bytes | bytearray, slot: Slot, layout: Layout, depth: int) -> tuple[Tag, ...]:
    offsets = integers(data, slot, layout, 2)
    if depth >= 2 or len(offsets) != 1:
        return ()
    try:
        return tuple(read_tags(data, offsets[0], layout, depth=depth + 1))
    except ValueError:  # a broken directory of shooting data is no reason to refuse the photo
        return ()


def _little_endian(data: bytes | bytearray, slot: Slot, layout: Layout) -> bytes:
    value = bytes(data[slot.value_at : slot.value_at + slot.size])
    unit = _SWAP.get(slot.kind, 1)
    if layout.order == "<" or unit == 1:
        return value
    return np.frombuffer(value, f"u{unit}").byteswap().tobytes()
