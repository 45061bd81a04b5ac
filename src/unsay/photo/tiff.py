"""What a TIFF file holds beside its pixels, and the same put beside newly coded pixels (TIFF 6.0)."""

from __future__ import annotations

import struct
from dataclasses import replace

from unsay.photo import ifd, pictures
from unsay.photo.metadata import (
    Metadata,
    clean_iptc,
    clean_photoshop,
    clean_xmp,
)

COMPRESSION = 259
PREDICTOR = 317
EXTRA_SAMPLES = 338
_SUBFILE = 254
_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
_DNG_VERSION = 50706
_TEXTS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096))
_NUMBERS = (ifd.ORIENTATION, 282, 283, 286, 287, 296, 301, 318, 319, EXTRA_SAMPLES)
_PLACES = (33550, 33922, 34264, 34735, 34736, 34737)  # GeoTIFF
_RESOLUTION = (282, 283, 296)
_FORMS = {274: (3, 1), 282: (5, 1), 283: (5, 1), 286: (5, 1), 287: (5, 1), 296: (3, 1), 318: (5, 2), 319: (5, 6)}
"""Type and count of the numbers that readers interpret."""
_ENUMERATED = {274: 8, 296: 3}
_MOST_SAMPLES = 1 << 16
_KEPT = frozenset((*_TEXTS, *_NUMBERS, *_PLACES, _XMP, _IPTC, _PHOTOSHOP, _ICC, ifd.EXIF_IFD, ifd.GPS_IFD))
_IN_EXIF = frozenset((*_TEXTS, ifd.ORIENTATION, 282, 283, 296, 301, 318, 319, ifd.EXIF_IFD, ifd.GPS_IFD))


def tiff_pages(data: bytes) -> int:
    """How many full pictures the file holds: thumbnails, other reduced copies and masks do not count.

    0 means a camera's raw file, whose first picture is a preview. Raises ValueError for a damaged directory.
    """
    layout = ifd.read_layout(data)
    pages = 0
    for number, directory in enumerate(ifd.directories(data, layout)):
        if number == 0 and ifd.find(directory, _DNG_VERSION) is not None:
            return 0
        reduced = bool(_integer(data, directory, _SUBFILE, layout) & 5)
        if reduced and number == 0:
            return 0
        pages += not reduced
    return pages


def tiff_number(data: bytes, tag: int) -> int:
    """A whole number of the file's first directory, such as its compression; 0 if it has none."""
    layout = ifd.read_layout(data)
    return _integer(data, ifd.read_directory(data, layout.first, layout), tag, layout)


def with_plain_alpha(data: bytes) -> bytes:
    """The same file, its alpha called unassociated: libvips would divide the colours of the other kind by it.

    Colours that were multiplied with alpha are then seen, patched and written as they are stored, over black.
    """
    layout = ifd.read_layout(data)
    slot = ifd.find(ifd.read_directory(data, layout.first, layout), EXTRA_SAMPLES)
    if slot is None or slot.kind != 3 or slot.length > _MOST_SAMPLES or 1 not in ifd.integers(data, slot, layout):
        return data
    copy = bytearray(data)
    plain = [2 if value == 1 else value for value in ifd.integers(data, slot, layout)]
    struct.pack_into(f"{layout.order}{slot.length}H", copy, slot.value_at, *plain)
    return bytes(copy)


def kept_tiff_tags(data: bytes) -> list[ifd.Tag]:
    """The tags of a TIFF file that an edited copy carries, without pictures in them.

    Layers and private tags stay behind: they may still show what was erased.
    """
    layout = ifd.read_layout(data)
    tags = [_clean_tag(tag) for tag in ifd.read_tags(data, layout.first, layout, _KEPT) if _is_sound(tag)]
    return [tag for tag in tags if tag.value or tag.children]


def exif_from_tiff(tags: list[ifd.Tag]) -> bytes | None:
    """The EXIF block that holds what these TIFF tags say about the picture; None if they say nothing."""
    kept = [tag for tag in tags if tag.tag in _IN_EXIF]
    return ifd.write_exif(kept) if kept else None


def tiff_metadata_tags(metadata: Metadata) -> list[ifd.Tag]:
    """The tags that hold `metadata` in a TIFF made from a photo of another format."""
    tags: list[ifd.Tag] = []
    if metadata.exif:
        layout = ifd.read_layout(metadata.exif)
        tags += [tag for tag in ifd.read_tags(metadata.exif, layout.first, layout, _IN_EXIF) if _is_sound(tag)]
    blocks = ((_XMP, 1, metadata.xmp), (_PHOTOSHOP, 1, metadata.photoshop), (_ICC, 7, metadata.icc))
    return tags + [ifd.Tag(number, kind, value) for number, kind, value in blocks if value]


def write_tiff(encoded: bytes, tags: list[ifd.Tag]) -> bytes:
    """A TIFF with the coded pixels of `encoded` (little-endian) and the given tags added to its directory."""
    layout = ifd.read_layout(encoded)
    own = [tag for tag in ifd.read_tags(encoded, layout.first, layout) if tag.tag not in _RESOLUTION]
    names = {tag.tag for tag in own}
    added = [tag for tag in tags if tag.tag != EXTRA_SAMPLES or tag.tag in names]
    at = len(encoded) + len(encoded) % 2
    parts: list[bytes | memoryview] = [
        encoded[:4],
        struct.pack("<I", at),
        memoryview(encoded)[8:],
        b"\0" * (at - len(encoded)),
    ]
    return b"".join([*parts, ifd.write_directory([*own, *added], at)])


def _integer(data: bytes, directory: ifd.Directory, tag: int, layout: ifd.Layout) -> int:
    slot = ifd.find(directory, tag)
    values = ifd.integers(data, slot, layout, 1) if slot is not None else ()
    return values[0] if values else 0


def _is_sound(tag: ifd.Tag) -> bool:
    """Whether a tag has the type, count and values without which some readers refuse the file."""
    kind, count = _FORMS.get(tag.tag, (tag.kind, 0))
    if tag.kind != kind or (count and len(tag.value) != count * ifd.SIZES[kind]):
        return False
    if tag.tag in _ENUMERATED:
        return 1 <= int.from_bytes(tag.value, "little") <= _ENUMERATED[tag.tag]
    return kind != 5 or all(int.from_bytes(tag.value[i + 4 : i + 8], "little") for i in range(0, len(tag.value), 8))


def _clean_tag(tag: ifd.Tag) -> ifd.Tag:
    if tag.children:
        return replace(tag, children=tuple(_clean_tag(child) for child in tag.children))
    cleaners = {_XMP: clean_xmp, _PHOTOSHOP: clean_photoshop, _IPTC: clean_iptc}
    if tag.tag not in cleaners:
        return tag if tag.tag == _ICC else replace(tag, value=pictures.blanked(tag.value))
    value = cleaners[tag.tag](tag.value) or b""
    return ifd.Tag(tag.tag, 7 if tag.tag == _IPTC else 1, value)
