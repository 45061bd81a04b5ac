"""What a photo's file claims or demands beyond reason, judged from its bytes before any library takes it up."""

from __future__ import annotations

import re
import struct

from unsay.errors import BadInput
from unsay.photo.containers import jpeg_segments
from unsay.photo.jpeg import MOST_SCANS

LONGEST_SIDE = 10_000_000
"""libvips' own limit, which it reports in lines of its own on standard error."""
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_SCAN_OR_END = re.compile(rb"\xff[\xda\xd9]")
_EXTENT = re.compile(rb"\0\0(?s:..)ispe(?s:.{4}(.{8}))")  # as a box, whatever its version and flags say


def check_claims(name: str, kind: str, data: bytes) -> None:
    """Raise `BadInput` for a JPEG of thousands of scans or hardly any data, and an AVIF whose sides no picture has."""
    if kind == "jpeg" and (blocks := _blocks(data)) > 8 * 4 * len(data):
        raise BadInput(
            f"{name} is a cut JPEG: {len(data)} bytes for {blocks} blocks of 64 pixels, each of which takes a bit at "
            "least: fetch or copy it again"
        )
    if kind == "jpeg" and (scans := _scans(data)) > MOST_SCANS:
        raise BadInput(f"{name} is a JPEG of {scans} scans or more; the limit is {MOST_SCANS}: save it anew")
    if kind == "avif":
        for found in _EXTENT.finditer(data):
            width, height = struct.unpack(">II", found[1])
            if max(width, height) > LONGEST_SIDE:
                raise BadInput(f"{name} is a damaged AVIF (it claims {width} x {height}): fetch or copy it again")


def _blocks(data: bytes) -> int:
    """The blocks that a JPEG's frame claims, of 8 x 8 pixels; 0 where they are not coded by Huffman's tables.

    Each is in the file with one bit or more, for the component that is not subsampled; a quarter of them for one that
    is, which leaves room for unusual samplings. libjpeg would make up the ones that are missing, by the gigabyte.
    """
    for marker, payload in jpeg_segments(data):
        if marker in _HUFFMAN_FRAMES and len(payload) >= 5:
            height, width = int.from_bytes(payload[1:3], "big"), int.from_bytes(payload[3:5], "big")
            return -(-height // 8) * -(-width // 8)
    return 0


def _scans(data: bytes) -> int:
    """The scans of the first picture in a JPEG, counted up to one more than there may be."""
    at, scans = 2 + sum(4 + len(payload) for _, payload in jpeg_segments(data)), 0
    for found in _SCAN_OR_END.finditer(data, at):
        scans += found[0] == b"\xff\xda"
        if found[0] == b"\xff\xd9" or scans > MOST_SCANS:
            break
    return scans
