"""What a photo's file claims or demands beyond reason, judged from its bytes before any library takes it up."""

from __future__ import annotations

import re
import struct

from unsay.errors import BadInput
from unsay.photo_containers import jpeg_segments
from unsay.photo_jpeg import MOST_SCANS

LONGEST_SIDE = 10_000_000
"""libvips' own limit, which it reports in lines of its own on standard error."""
_SCAN_OR_END = re.compile(rb"\xff[\xda\xd9]")
_EXTENT = re.compile(rb"\0\0(?s:..)ispe(?s:.{4}(.{8}))")  # as a box, whatever its version and flags say


def check_claims(name: str, kind: str, data: bytes) -> None:
    """Raise `BadInput` for a JPEG of thousands of scans, and an AVIF whose sides no picture has."""
    if kind == "jpeg" and (scans := _scans(data)) > MOST_SCANS:
        raise BadInput(f"{name} is a JPEG of {scans} scans or more; the limit is {MOST_SCANS}: save it anew")
    if kind == "avif":
        for found in _EXTENT.finditer(data):
            width, height = struct.unpack(">II", found[1])
            if max(width, height) > LONGEST_SIDE:
                raise BadInput(f"{name} is a damaged AVIF (it claims {width} x {height}): fetch or copy it again")


def _scans(data: bytes) -> int:
    """The scans of the first picture in a JPEG, counted up to one more than there may be."""
    at, scans = 2 + sum(4 + len(payload) for _, payload in jpeg_segments(data)), 0
    for found in _SCAN_OR_END.finditer(data, at):
        scans += found[0] == b"\xff\xda"
        if found[0] == b"\xff\xd9" or scans > MOST_SCANS:
            break
    return scans
