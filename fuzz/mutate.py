"""Damage done to a file: at random bytes, and in the parts of its format, with lengths and checksums put right."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random

from unsay.photo.containers import PNG_SIGNATURE, jpeg_segments, png_chunks, webp_chunks, write_jpeg

Chunk = tuple[bytes, bytes]
INTERESTING = (0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 4095, 4096, 32767, 65535, 1 << 16, (1 << 31) - 1, 1 << 31)
INTERESTING += ((1 << 32) - 1, (1 << 32) - 8, (1 << 63), (1 << 64) - 1)
_JPEG_MARKERS = (0xC0, 0xC2, 0xC4, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE)
_TIFF_TAGS = (254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339, 347)
_TIFF_TAGS += (274, 513, 514, 530, 532, 700, 33723, 34377, 34665, 34675, 34853, 40965, 37500, 50706)
_CONTAINERS = (b"meta", b"iprp", b"ipco", b"iinf", b"iref", b"moov")


def mutated(data: bytes, kind: str, random: Random) -> bytes:
    """`data`, a file of format `kind` or anything else, damaged once or a few times."""
    for _ in range(random.choice((1, 1, 1, 1, 1, 2, 3, 6))):
        structured = STRUCTURED.get(kind)
        if structured is not None and random.random() < 0.6:
            data = structured(data, random)
        else:
            data = random.choice(BYTES)(data, random)
    return data


# --- any file -----------------------------------------------------------------------------------------------------


def flip(data: bytes, random: Random) -> bytes:
    """A bit or a few turned round."""
    copy = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        if copy:
            copy[random.randrange(len(copy))] ^= 1 << random.randrange(8)
    return bytes(copy)


def overwrite(data: bytes, random: Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes set to one that often goes wrong."""
    size = random.choice((1, 2, 4, 8))
    at = random.randrange(max(1, len(data) - size))
    return data[:at] + _number(size, random) + data[at + size :]


def cut(data: bytes, random: Random) -> bytes:
    """The end missing."""
    return data[: random.randrange(len(data) + 1)]


def take_out(data: bytes, random: Random) -> bytes:
    """A piece from the middle missing."""
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.choice((1, 2, 3, 4, 8, 30, 200)) :]


def repeat(data: bytes, random: Random) -> bytes:
    """A piece there several times."""
    at = random.randrange(len(data) + 1)
    piece = data[at : at + random.choice((1, 4, 12, 64, 500))]
    return data[:at] + piece * random.choice((2, 3, 50)) + data[at:]


def insert(data: bytes, random: Random) -> bytes:
    """A few random bytes put in."""
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 16, 100))) + data[at:]


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (flip, flip, overwrite, overwrite, cut, take_out, repeat, insert)


def _number(size: int, random: Random) -> bytes:
    value = random.choice(INTERESTING) & ((1 << 8 * size) - 1)
    return value.to_bytes(size, random.choice(("big", "little")))


# --- chunks, each a type and a payload ----------------------------------------------------------------------------


def _one_changed(chunks: list[Chunk], random: Random, kinds: tuple[bytes, ...] = ()) -> list[Chunk]:
    """The chunks with one of them dropped, doubled, moved, renamed, resized or damaged inside."""
    if not chunks:
        return chunks
    copy, at = list(chunks), random.randrange(len(chunks))
    kind, payload = copy[at]
    how = random.randrange(8)
    if how == 0:
        del copy[at]
    elif how == 1:
        copy.insert(random.randrange(len(copy)), copy[at])
    elif how == 2:
        copy[at : at + 1] = [(kind, payload)] * random.choice((2, 40, 300))
    elif how == 3 and kinds:
        copy[at] = (random.choice(kinds), payload)
    elif how == 4:
        copy[at] = (kind, payload * random.choice((0, 2, 17)) + random.randbytes(random.choice((0, 1, 70))))
    else:
        copy[at] = (kind, _inside(payload, random))
    return copy


def _inside(payload: bytes, random: Random) -> bytes:
    """A payload damaged; one that holds a directory of tags, as EXIF does, mostly in that."""
    start = next((at for at in (0, 6) if payload[at : at + 4] in (b"II*\0", b"MM\0*")), None)
    if start is not None and random.random() < 0.7:
        return payload[:start] + tags_changed(payload[start:], random)
    return random.choice(BYTES)(payload, random)


def png(data: bytes, random: Random) -> bytes:
    """A PNG with one chunk changed; the checksums fit."""
    kinds = (b"IHDR", b"PLTE", b"IDAT", b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"tEXt", b"tRNS", b"acTL", b"sBIT", b"cICP")
    out = [PNG_SIGNATURE]
    for kind, payload in _one_changed(list(png_chunks(data)), random, kinds):
        whole = kind + payload
        out.append(struct.pack(">I", len(payload)) + whole + struct.pack(">I", zlib.crc32(whole)))
    return b"".join(out)


def webp(data: bytes, random: Random) -> bytes:
    """A WebP with one chunk changed; the lengths fit."""
    kinds = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")
    body = b"WEBP"
    for kind, payload in _one_changed(list(webp_chunks(data)), random, kinds):
        body += kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(data: bytes, random: Random) -> bytes:
    """A JPEG with one segment before its scan changed, or with its scans damaged."""
    segments = list(jpeg_segments(data))
    head = 2 + sum(len(payload) + 4 for _, payload in segments)
    if random.random() < 0.25:
        return data[:head] + random.choice(BYTES)(data[head:], random)
    chunks = [(bytes([marker]), payload) for marker, payload in segments]
    changed = _one_changed(chunks, random, tuple(bytes([marker]) for marker in _JPEG_MARKERS))
    kept = [(kind[0], payload[:65533]) for kind, payload in changed]
    return write_jpeg(b"\xff\xd8" + data[head:], kept)


# --- boxes within boxes (ISO base media files) ----------------------------------------------------------------------


def boxes(data: bytes, random: Random, depth: int = 0) -> bytes:
    """An AVIF with one box changed, at any depth; the lengths of those around it fit, the places in `iloc` may not."""
    chunks = _split_boxes(data)
    inner = [at for at, (kind, _) in enumerate(chunks) if kind in _CONTAINERS]
    if inner and depth < 4 and random.random() < 0.75:
        at = random.choice(inner)
        kind, payload = chunks[at]
        head = {b"meta": 4, b"iinf": 6, b"iref": 4}.get(kind, 0)
        chunks[at] = (kind, payload[:head] + boxes(payload[head:], random, depth + 1))
    elif chunks and random.random() < 0.6:  # of the same length, so that everything else stays in its place
        at = random.randrange(len(chunks))
        kind, payload = chunks[at]
        chunks[at] = (kind, random.choice((flip, overwrite))(payload, random)[: len(payload)])
    else:
        chunks = _one_changed(chunks, random, (b"free", b"ispe", b"pixi", b"irot", b"imir", b"clap", b"grid", b"mdat"))
    return b"".join(struct.pack(">I", len(payload) + 8) + kind + payload for kind, payload in chunks)


def _split_boxes(data: bytes) -> list[Chunk]:
    at, found = 0, []
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + size if 8 <= size <= len(data) - at else len(data)
        found.append((data[at + 4 : at + 8], data[at + 8 : end]))
        at = end
    return found


# --- directories of tags (TIFF and EXIF) ----------------------------------------------------------------------------


def tags_changed(data: bytes, random: Random) -> bytes:
    """A TIFF file or EXIF block with one entry of one directory changed: its tag, type, count or value."""
    if len(data) < 16 or data[:2] not in (b"II", b"MM"):
        return random.choice(BYTES)(data, random)
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    entries = _entries(data, order, big)
    if not entries:
        return random.choice(BYTES)(data, random)
    copy, at = bytearray(data), random.choice(entries)
    wide = "Q" if big else "I"
    how = random.randrange(6)
    if how == 0:
        struct.pack_into(order + "H", copy, at, random.choice(_TIFF_TAGS))
    elif how == 1:
        struct.pack_into(order + "H", copy, at + 2, random.choice((0, *range(1, 19), 255, 65535)))
    elif how == 2:
        struct.pack_into(order + wide, copy, at + 4, _fitting(big, random))
    elif how == 3:
        struct.pack_into(order + wide, copy, at + (12 if big else 8), _fitting(big, random))
    elif how == 4:
        struct.pack_into(order + wide, copy, at + (12 if big else 8), random.randrange(len(data) + 9))
    else:
        struct.pack_into(order + "HH", copy, at + (12 if big else 8), random.choice((0, 1, 3, 9, 65535)), 0)
    return bytes(copy)


def _fitting(big: bool, random: Random) -> int:
    return random.choice(INTERESTING) & ((1 << (64 if big else 32)) - 1)


def _entries(data: bytes, order: str, big: bool) -> list[int]:
    """Where the entries of the first directories lie, as far as they lie inside the data."""
    width, count_code, head = (20, "Q", 8) if big else (12, "H", 2)
    places: list[int] = []
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    for _ in range(4):
        if not 0 < at <= len(data) - head:
            break
        count = struct.unpack_from(order + count_code, data, at)[0]
        slots = [at + head + width * i for i in range(min(count, 64))]
        places += [slot for slot in slots if slot + width <= len(data)]
        following = at + head + width * count
        if following + 8 > len(data):
            break
        at = struct.unpack_from(order + ("Q" if big else "I"), data, following)[0]
    return places


STRUCTURED: dict[str, Callable[[bytes, Random], bytes]] = {
    "jpeg": jpeg,
    "png": png,
    "webp": webp,
    "tiff": tags_changed,
    "avif": boxes,
    "heic": boxes,
}
