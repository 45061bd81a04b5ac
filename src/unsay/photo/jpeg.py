"""A JPEG as its coefficients: what its markers say, checked strictly, and the quantised blocks behind them.

The blocks are read by libjpeg through `jpeglib`, whose wrapper does not survive an error of libjpeg's. So nothing is
handed to it but files that libvips has decoded already, rebuilt from the markers that were checked here one by one.
"""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from unsay.errors import UnsayError
from unsay.photo.containers import Segment

Blocks = npt.NDArray[np.int16]
"""[rows, columns, 64] quantised coefficients of one component, rows of a block one after another (not zigzag)."""

ZIGZAG = np.array(
    (
        *(0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14),
        *(21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53),
        *(60, 61, 54, 47, 55, 62, 63),
    )
)
"""Where the k-th coefficient of a scan lies in a block (T.81 figure A.6)."""
MOST_SCANS = 200
"""Scans in one file: encoders write a dozen, and each makes a reader go through the whole picture once more."""

_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_NO_PAYLOAD = frozenset((0x01, *range(0xD0, 0xD8)))
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_LARGEST = 16383
"""So that no difference of two coefficients leaves int16; 8-bit samples give 2,048 at most."""
_LIBRARY = "turbo210"


class Unpatchable(ValueError):
    """The JPEG is coded in a way whose blocks cannot be replaced; the message says which."""


@dataclass(frozen=True)
class Component:
    """One component: its number in the file, sampling factors (horizontal `h`, vertical `v`), quantisation table."""

    number: int
    h: int
    v: int
    table: int


@dataclass(frozen=True)
class Huffman:
    """A Huffman table as a DHT segment holds it: codes of each length 1..16, the symbols by length."""

    counts: bytes
    symbols: bytes


@dataclass
class Jpeg:
    """What a JPEG's markers say. `tables`: quantisation, zigzag order; `huffman`: by (AC or not, number).

    `opening`: the Huffman tables that the first scan begins with; `huffman_of`: those of each component's last scan.
    `frame`: marker and payload of its start-of-frame; `scans`: those, with the tables and restart intervals between
    them, as they stand in the file; `coded`: the component numbers that they name. `colour`: "grey", "ycc", "rgb",
    "cmyk" or "ycck", as said by `jfif`, whether it has that marker, and `adobe`, the payload of its last Adobe marker.
    `restart`: MCUs between restart markers in the first scan, 0 for none; `only_scan`: whether there is but one.
    """

    frame: Segment = (0, b"")
    width: int = 0
    height: int = 0
    components: tuple[Component, ...] = ()
    tables: dict[int, npt.NDArray[np.uint16]] = field(default_factory=dict)
    huffman: dict[tuple[bool, int], Huffman] = field(default_factory=dict)
    huffman_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    opening: dict[tuple[bool, int], Huffman] = field(default_factory=dict)
    restart: int = 0
    colour: str = ""
    jfif: bool = False
    adobe: bytes | None = None
    only_scan: bool = False
    coded: list[int] = field(default_factory=list)
    scans: list[memoryview] = field(default_factory=list)

    @property
    def progressive(self) -> bool:
        """Whether the coefficients are coded in several passes."""
        return self.frame[0] == _PROGRESSIVE

    @property
    def most(self) -> tuple[int, int]:
        """The largest sampling factors, horizontal and vertical."""
        return max(c.h for c in self.components), max(c.v for c in self.components)

    def grid(self, component: Component) -> tuple[int, int]:
        """Rows and columns of blocks that hold the component (T.81 A.1.1, A.2.2)."""
        h, v = self.most
        return -(-self.height * component.v // (8 * v)), -(-self.width * component.h // (8 * h))


def read_jpeg(data: bytes) -> Jpeg:
    """What the markers of a JPEG say. Raises `Unpatchable` for whatever does not agree with T.81, and rarer codings."""
    jpeg = Jpeg()
    at, scans, first = 2, 0, 0
    while True:
        marker, payload, following = _segment(data, at)
        if marker == 0xD9:
            break
        if marker == 0xDA:
            if not first:
                first, jpeg.opening = at, dict(jpeg.huffman)
            scans += 1
            following = _check_scan(data, jpeg, payload, following)
            _count(jpeg, scans)
            jpeg.scans.append(memoryview(data)[at:following])
        else:
            _take(jpeg, marker, payload, started=bool(first))
            if first and marker in (0xC4, 0xDD):
                jpeg.scans.append(memoryview(data)[at:following])
        at = following
    if not first:
        raise Unpatchable("it has no scan")
    if not jpeg.progressive and sorted(jpeg.coded) != sorted(c.number for c in jpeg.components):
        raise Unpatchable("a component has no scan, or two")
    jpeg.only_scan = scans == 1
    jpeg.colour = _colour(jpeg)
    return jpeg


def read_blocks(jpeg: Jpeg) -> list[Blocks]:
    """The quantised blocks of every component. Raises `Unpatchable` where they cannot be read."""
    import jpeglib
    from jpeglib._bind import CJpegLib  # its public reader decodes the photo twice, and prints

    jpeglib.version.set(_LIBRARY)
    blocks = [np.zeros((*jpeg.grid(component), 64), np.int16) for component in jpeg.components]
    places = [np.ctypeslib.as_ctypes(plane) for plane in blocks] + [None] * (4 - len(blocks))
    tables, numbers = ((ctypes.c_ushort * 64) * 4)(), (ctypes.c_short * 4)()
    with _as_file(_bare(jpeg)) as path, _without_stderr():
        done = CJpegLib.get().read_jpeg_dct(CJpegLib.cstr(path), *places, tables, numbers)
    if not done:
        raise Unpatchable("libjpeg does not read its blocks")
    if any(max(-int(plane.min()), int(plane.max())) > _LARGEST for plane in blocks):
        raise Unpatchable("its coefficients are larger than any photo's")
    return blocks


def quantisation_segments(jpeg: Jpeg) -> list[Segment]:
    """The DQT segments of the file's own tables."""
    wide = {number: bool(table.max() > 255) for number, table in jpeg.tables.items()}
    return [
        (0xDB, bytes([number | 16 * wide[number]]) + table.astype(">u2" if wide[number] else np.uint8).tobytes())
        for number, table in jpeg.tables.items()
    ]


def huffman_segment(ac: bool, number: int, table: Huffman) -> Segment:
    """The DHT segment of one table."""
    return 0xC4, bytes([number | 16 * ac]) + table.counts + table.symbols


def segment_bytes(segment: Segment) -> bytes:
    """A marker segment as it stands in a file."""
    marker, payload = segment
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


# --- markers ------------------------------------------------------------------------------------------------------


def _segment(data: bytes, at: int) -> tuple[int, bytes, int]:
    """The marker at or after fill bytes at `at`, its payload, and where the next begins."""
    while data[at : at + 2] == b"\xff\xff":
        at += 1
    if len(data) < at + 2 or data[at] != 0xFF:
        raise Unpatchable("its markers do not follow each other")
    marker = data[at + 1]
    if marker == 0xD9:
        return marker, b"", at + 2
    if marker in _NO_PAYLOAD or marker in (0x00, 0xD8):
        raise Unpatchable(f"the marker {marker:#x} is out of place")
    size = int.from_bytes(data[at + 2 : at + 4], "big")
    if size < 2 or at + 2 + size > len(data):
        raise Unpatchable("a marker's segment is cut short")
    return marker, data[at + 4 : at + 2 + size], at + 2 + size


def _take(jpeg: Jpeg, marker: int, payload: bytes, *, started: bool) -> None:
    if marker == 0xDB:
        if started:
            raise Unpatchable("its quantisation tables change between scans")
        jpeg.tables.update(_quantisation(payload))
    elif marker == 0xC4:
        jpeg.huffman.update(_huffman(payload))
    elif marker == 0xDD:
        if len(payload) != 2:
            raise Unpatchable("its restart interval is malformed")
        if not started:
            jpeg.restart = int.from_bytes(payload, "big")
    elif marker == 0xE0 and payload.startswith(b"JFIF\0") and len(payload) >= 14 and not started:
        jpeg.jfif = True
    elif marker == 0xEE and payload.startswith(b"Adobe") and len(payload) >= 12 and not started:
        jpeg.adobe = payload
    elif marker in (*_SEQUENTIAL, _PROGRESSIVE):
        if jpeg.components:
            raise Unpatchable("it has two frames")
        _take_frame(jpeg, marker, payload)
    elif 0xC0 <= marker <= 0xDF:
        raise Unpatchable("it is arithmetic-coded, lossless or hierarchical")


def _take_frame(jpeg: Jpeg, marker: int, payload: bytes) -> None:
    if len(payload) < 6 or len(payload) != 6 + 3 * payload[5] or payload[0] != 8:
        raise Unpatchable("its samples do not have 8 bits")
    jpeg.frame = (marker, payload)
    jpeg.height, jpeg.width = (int.from_bytes(payload[i : i + 2], "big") for i in (1, 3))
    parts = [payload[i : i + 3] for i in range(6, len(payload), 3)]
    jpeg.components = tuple(Component(number, size >> 4, size & 15, table) for number, size, table in parts)
    if not jpeg.width or not jpeg.height or len(parts) not in (1, 3, 4):
        raise Unpatchable(f"it has {len(parts)} components of {jpeg.width} x {jpeg.height}")
    if len({c.number for c in jpeg.components}) < len(parts) or max(c.table for c in jpeg.components) > 3:
        raise Unpatchable("its components are ambiguous")
    h, v = jpeg.most
    if not all(1 <= c.h <= 4 and 1 <= c.v <= 4 and h % c.h == 0 and v % c.v == 0 for c in jpeg.components):
        raise Unpatchable("a component's resolution is no whole fraction of another's")
    if len(parts) > 1 and sum(c.h * c.v for c in jpeg.components) > 10:
        raise Unpatchable("its components do not fit one scan")


def _check_scan(data: bytes, jpeg: Jpeg, payload: bytes, start: int) -> int:
    """Check a scan's header; where its coded bits end."""
    count = payload[0] if payload else 0
    if not jpeg.components or not 1 <= count <= len(jpeg.components) or len(payload) != 4 + 2 * count:
        raise Unpatchable("a scan's header is malformed")
    chosen = {payload[1 + 2 * i]: payload[2 + 2 * i] for i in range(count)}
    known = {c.number: c for c in jpeg.components}
    if len(chosen) < count or not set(chosen) <= set(known):
        raise Unpatchable("a scan names components that are not there")
    first, last, steps = payload[-3:]
    if jpeg.progressive:
        in_order = (last == 0) if first == 0 else (first <= last <= 63 and count == 1)
        if not in_order or (steps & 15) > 13 or (steps >> 4 and steps >> 4 != (steps & 15) + 1):
            raise Unpatchable("a progressive scan is out of order")
    elif (first, last, steps) != (0, 63, 0):
        raise Unpatchable("a sequential scan holds a part of the coefficients")
    for number, tables in chosen.items():
        if known[number].table not in jpeg.tables:
            raise Unpatchable("a quantisation table is missing")
        refining = jpeg.progressive and first == 0 and steps >> 4
        needed = [(False, tables >> 4)] if first == 0 and not refining else []
        needed += [(True, tables & 15)] if last > 0 else []
        if any(key not in jpeg.huffman for key in needed):
            raise Unpatchable("a Huffman table is missing")
        jpeg.huffman_of[number] = (tables >> 4, tables & 15)
        jpeg.coded.append(number)
    end = _SCAN_END.search(data, start)
    if end is None:
        raise Unpatchable("its last scan has no end")
    return end.start()


def _count(jpeg: Jpeg, scans: int) -> None:
    if scans > MOST_SCANS:
        raise Unpatchable(f"it has more than {MOST_SCANS} scans")
    if not jpeg.progressive and scans > len(jpeg.components):
        raise Unpatchable("it has more scans than components")


def _quantisation(payload: bytes) -> dict[int, npt.NDArray[np.uint16]]:
    tables, at = {}, 0
    while at < len(payload):
        wide, number = payload[at] >> 4, payload[at] & 15
        size = 64 * (1 + wide)
        values = payload[at + 1 : at + 1 + size]
        if wide > 1 or number > 3 or len(values) != size:
            raise Unpatchable("a quantisation table is malformed")
        tables[number] = np.frombuffer(values, ">u2" if wide else np.uint8).astype(np.uint16)
        if not tables[number].all():
            raise Unpatchable("a quantisation table holds a zero")
        at += 1 + size
    return tables


def _huffman(payload: bytes) -> dict[tuple[bool, int], Huffman]:
    tables, at = {}, 0
    while at < len(payload):
        kind, number, counts = payload[at] >> 4, payload[at] & 15, payload[at + 1 : at + 17]
        symbols = payload[at + 17 : at + 17 + sum(counts)]
        if kind > 1 or number > 3 or len(counts) != 16 or len(symbols) != sum(counts) or len(symbols) > 256:
            raise Unpatchable("a Huffman table is malformed")
        room = 1
        for count in counts:
            room = 2 * room - count
            if room < (count > 0):  # the code of ones alone is never given (T.81 C.2)
                raise Unpatchable("a Huffman table has more codes than bits")
        if kind == 0 and any(symbol > 15 for symbol in symbols):
            raise Unpatchable("a Huffman table holds impossible sizes")
        tables[(bool(kind), number)] = Huffman(counts, symbols)
        at += 17 + len(symbols)
    return tables


def _colour(jpeg: Jpeg) -> str:
    """What the components are, by the rules that libjpeg goes by (its jdapimin.c)."""
    transform = None if jpeg.adobe is None else jpeg.adobe[11]
    numbers = bytes(c.number for c in jpeg.components)
    if len(numbers) == 1:
        return "grey"
    if len(numbers) == 4:
        return "ycck" if transform else "cmyk"
    if jpeg.jfif:
        return "ycc"
    if transform is not None:
        return "ycc" if transform else "rgb"
    return "rgb" if numbers == b"RGB" else "ycc"


# --- blocks -------------------------------------------------------------------------------------------------------


def _bare(jpeg: Jpeg) -> list[bytes | memoryview]:
    """The file with nothing in it but what its blocks need, so that no other parser of libjpeg's is reached."""
    segments = [*quantisation_segments(jpeg), jpeg.frame]
    segments += [huffman_segment(*key, table) for key, table in jpeg.opening.items()]
    segments += [(0xDD, jpeg.restart.to_bytes(2, "big"))] if jpeg.restart else []
    return [b"\xff\xd8", *map(segment_bytes, segments), *jpeg.scans, b"\xff\xd9"]


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Standard error leads nowhere meanwhile: libjpeg prints there of every odd byte."""
    try:
        own = os.dup(2)
    except OSError:  # closed: nothing can be printed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(nowhere)


@contextmanager
def _as_file(parts: list[bytes | memoryview]) -> Iterator[str]:
    """A name under which the joined parts can be opened; in memory where it can: nothing stays when killed."""
    try:
        if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
            descriptor, path = os.memfd_create("unsay"), ""
        else:
            descriptor, path = tempfile.mkstemp(suffix=".jpg")
    except OSError as error:
        raise UnsayError(f"no temporary space ({error.strerror or error}): free some, or set TMPDIR") from error
    try:
        try:
            with open(descriptor, "wb", closefd=path != "") as stream:
                stream.writelines(parts)
        except OSError as error:
            raise UnsayError(f"no temporary space ({error.strerror or error}): free some, or set TMPDIR") from error
        yield path or f"/proc/self/fd/{descriptor}"
    finally:
        if path:
            os.unlink(path)
        else:
            os.close(descriptor)
