"""Pictures inside other data are found whatever format they have, however they are written, wherever they lie."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import pyvips
from PIL import Image

from unsay.photo import Photo
from unsay.photo.containers import png_chunks
from unsay.photo.metadata import EXIF_PREFIX
from unsay.photo.pictures import blanked, without_written
from unsay.results import Patch

SECRET = np.random.default_rng(4).integers(0, 256, (24, 32, 3)).astype(np.uint8)
PLAIN = np.full((40, 48, 3), (90, 120, 150), np.uint8)


def jpeg(first: bytes) -> bytes:
    """A JPEG whose first segment is this, as cameras and editors begin theirs."""
    whole = pyvips.Image.new_from_array(SECRET).jpegsave_buffer(keep="none")
    return b"\xff\xd8" + first + whole[whole.index(b"\xff\xdb") :]


def by_pillow(format: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(SECRET).save(stream, format)
    return stream.getvalue()


PICTURES = {
    "jpeg": jpeg(b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"),
    "jpeg, profile first": jpeg(b"\xff\xe2\0\x12ICC_PROFILE\0\1\1ab"),
    "jpeg, editor's block first": jpeg(b"\xff\xed\0\x10Photoshop 3.0\0"),
    "jpeg, fill byte first": jpeg(b"\xff"),
    "jpeg, restart interval first": jpeg(b"\xff\xdd\0\4\0\0"),
    "png": by_pillow("PNG"),
    "gif": by_pillow("GIF"),
    "webp": by_pillow("WEBP"),
    "avif": by_pillow("AVIF"),
}


def survives(picture: bytes, data: bytes) -> bool:
    """Whether any sixteen bytes of the picture's coded part are still there; tables are shared with the photo."""
    start = max(picture.find(b"\xff\xda") + 16, len(picture) // 3)
    pieces = [picture[at : at + 16] for at in range(start, len(picture) - 16, 16)]
    return any(piece in data for piece in pieces if len(set(piece)) > 4)


def exif(*tags: tuple[int, int, bytes]) -> bytes:
    """An EXIF block of these tags (number, type, value), values behind them; `orientation` 6 first."""
    every = [(274, 3, struct.pack("<H", 6)), *tags]
    at = 8 + 2 + 12 * len(every) + 4
    head, body = struct.pack("<H", len(every)), b""
    for tag, kind, value in every:
        count = len(value) // {3: 2, 4: 4, 7: 1, 2: 1}[kind]
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", at + len(body))
        head += struct.pack("<HHI", tag, kind, count) + place
        body += value + b"\0" * (len(value) % 2) if len(value) > 4 else b""
    return b"II*\0\x08\0\0\0" + head + bytes(4) + body


def pointed_to(offset_tag: int, length_tag: int) -> Callable[[bytes], bytes]:
    def make(picture: bytes) -> bytes:
        block = exif((offset_tag, 4, struct.pack("<I", 200)), (length_tag, 4, struct.pack("<I", len(picture))))
        return block.ljust(200, b"\0") + picture

    return make


EXIF_PLACES: dict[str, Callable[[bytes], bytes]] = {
    "a user's comment": lambda picture: exif((37510, 7, b"ASCII\0\0\0" + picture)),
    "a maker note": lambda picture: exif((37500, 7, b"Maker\0" + picture)),
    "a tag that nobody knows": lambda picture: exif((50341, 7, picture)),
    "base64 in a description": lambda picture: exif((270, 2, base64.b64encode(picture) + b"\0")),
    "a thumbnail of the first directory": pointed_to(513, 514),
    "strips of the first directory": pointed_to(273, 279),
}


def erased(data: bytes) -> bytes:
    fill = np.full((9, 9, 3), 20, np.uint8)
    return Photo.open(data).with_patches([Patch(3, 3, fill, np.ones((9, 9), np.float32))]).encode()


def with_segment(marker: int, payload: bytes) -> bytes:
    data = pyvips.Image.new_from_array(PLAIN).jpegsave_buffer(keep="none")
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload + data[2:]


@pytest.mark.parametrize("place", EXIF_PLACES)
@pytest.mark.parametrize("kind", PICTURES)
def test_no_picture_stays_in_exif(kind: str, place: str) -> None:
    picture = PICTURES[kind]
    block = EXIF_PLACES[place](picture)
    written = base64.b64encode(picture) if "base64" in place else picture
    source = with_segment(0xE1, EXIF_PREFIX + block)
    assert survives(written, source)
    output = erased(source)
    assert not survives(written, output)
    assert Image.open(io.BytesIO(output)).getexif()[274] == 6


def test_samples_that_a_directory_points_to_are_no_picture_afterwards() -> None:
    raw = SECRET.tobytes()
    for offset_tag, length_tag in ((273, 279), (513, 514), (324, 325)):
        source = with_segment(0xE1, EXIF_PREFIX + pointed_to(offset_tag, length_tag)(raw))
        assert survives(raw, source)
        assert not survives(raw, erased(source))


WAYS = {
    "as it is": lambda picture: picture,
    "base64": base64.b64encode,
    "a data URL": lambda picture: b'{"image": "data:image/any;base64,' + base64.b64encode(picture) + b'"}',
    "base64 in lines": base64.encodebytes,
    "digits": lambda picture: picture.hex().encode(),
    "capital digits": lambda picture: picture.hex().upper().encode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", PICTURES)
def test_no_picture_stays_in_a_comment_or_text(kind: str, way: str) -> None:
    written = WAYS[way](PICTURES[kind])
    source = with_segment(0xFE, b"a comment " + written)
    output = erased(source)
    assert not survives(written, output)
    assert b"a comment" in output
    if b"\0" in written:
        return
    png = pyvips.Image.new_from_array(PLAIN).pngsave_buffer(keep="none")
    for chunk, payload in (
        (b"tEXt", b"preview\0" + written),
        (b"zTXt", b"preview\0\0" + zlib.compress(written)),
        (b"iTXt", b"preview\0\0\0en\0\0" + written),
        (b"iTXt", b"preview\0\1\0en\0\0" + zlib.compress(written)),
    ):
        packed = struct.pack(">I", len(payload)) + chunk + payload + struct.pack(">I", zlib.crc32(chunk + payload))
        kept = {name for name, _ in png_chunks(erased(png[:33] + packed + png[33:]))}
        assert chunk not in kept


def test_what_is_no_picture_stays() -> None:
    text = b"Taken at f/9j of a JPEG, 89504 of them, RIFF and GIF8 too; /9j/ is how base64 begins. \xff\xd8 \xff"
    assert blanked(text) == text
    assert without_written(text) == text
    png = pyvips.Image.new_from_array(PLAIN).pngsave_buffer(keep="none")
    for chunk, payload in ((b"tEXt", b"Comment\0" + text), (b"zTXt", b"Comment\0\0" + zlib.compress(text))):
        packed = struct.pack(">I", len(payload)) + chunk + payload + struct.pack(">I", zlib.crc32(chunk + payload))
        assert (chunk, payload) in list(png_chunks(erased(png[:33] + packed + png[33:])))


def test_what_lies_behind_a_picture_stays_where_its_end_is_known() -> None:
    for kind in ("jpeg", "png", "webp"):
        picture = PICTURES[kind]
        assert blanked(b"before" + picture + b"behind" * 9) == b"before" + bytes(len(picture)) + b"behind" * 9
