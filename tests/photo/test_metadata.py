"""What is written beside the pixels survives an edit; the pictures in it, which still show what was erased, do not."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unsay.photo import Photo
from unsay.photo.containers import jpeg_segments, png_chunks, webp_chunks
from unsay.photo.metadata import EXIF_PREFIX, clean_exif, clean_iptc, clean_photoshop, clean_xmp
from unsay.results import Patch

RED = np.random.default_rng(1).integers((220, 0, 0), (256, 60, 60), (48, 64, 3)).astype(np.uint8)
SCENE = np.full((48, 64, 3), (90, 120, 150), np.uint8)
SCENE[8:24, 8:24] = (230, 20, 20)
THUMBNAIL = pyvips.Image.new_from_array(RED).jpegsave_buffer(Q=60)
PREVIEW = pyvips.Image.new_from_array(RED[:24, :40].copy()).jpegsave_buffer(Q=70)
PACKED = base64.b64encode(THUMBNAIL).decode()
DATE = b"2021:05:04 03:02:01\0"
NOTE = b"MakerNote v1 " + bytes(range(1, 90))
GPS = (34853, 4, [(1, 2, b"N\0"), (29, 2, b"2021:05:04\0")])


def directory(tags: list[tuple[int, int, Any]], at: int, order: str, following: int = 0) -> bytes:
    """A tag directory at offset `at`; a list as a value is a directory under it, an int a number, bytes a value."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}
    head, body = struct.pack(order + "H", len(tags)), b""
    end = at + 2 + 12 * len(tags) + 4
    for tag, kind, value in sorted(tags, key=lambda entry: entry[0]):
        here = end + len(body)
        if isinstance(value, list):
            head += struct.pack(order + "HHII", tag, 4, 1, here)
            body += directory(value, here, order)
        elif isinstance(value, int):
            number = struct.pack(order + ("H" if kind == 3 else "I"), value).ljust(4, b"\0")
            head += struct.pack(order + "HHI", tag, kind, 1) + number
        else:
            head += struct.pack(order + "HHI", tag, kind, len(value) // sizes[kind])
            head += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", here)
            body += b"" if len(value) <= 4 else value + b"\0" * (len(value) % 2)
    return head + struct.pack(order + "I", following) + body


def exif(order: str = "<", orientation: int = 6, note: bytes = NOTE, thumbnail: bytes = THUMBNAIL) -> bytes:
    """An EXIF block with a maker note, a place, and a second directory that holds a thumbnail."""
    tags = [
        (271, 2, b"Maker of cameras\0"),
        (274, 3, orientation),
        (34665, 4, [(36867, 2, DATE), (37500, 7, note)]),
        GPS,
    ]
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    second = 8 + len(directory(tags, 8, order))
    first = directory(tags, 8, order, second)
    data_at = second + 2 + 12 * 3 + 4
    fields = [(259, 3, 6), (513, 4, data_at), (514, 4, len(thumbnail))]
    return start + first + directory(fields, second, order) + thumbnail


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    packed = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return jpeg[:2] + packed + jpeg[2:]


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    packed = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return png[:33] + packed + png[33:]


def scene(suffix: str, **options: Any) -> bytes:
    return pyvips.Image.new_from_array(SCENE).write_to_buffer(suffix, **{"keep": "none", **options})


def erased(data: bytes) -> bytes:
    """The file after the red square was erased: no picture that can be found anywhere in it shows the square."""
    photo = Photo.open(data)
    red = (photo.rgb[..., 0] > 180) & (photo.rgb[..., 1] < 90)
    ys, xs = np.nonzero(red)
    x, y = max(int(xs.min()) - 3, 0), max(int(ys.min()) - 3, 0)
    size = int(max(xs.max() - x, ys.max() - y)) + 4
    fill = np.full((size, size, 3), (90, 120, 150), np.uint8)
    output = photo.with_patches([Patch(x, y, fill, np.ones((size, size), np.float32))]).encode()
    assert Photo.open(output).rgb[..., 0].max() < 180
    for piece in (THUMBNAIL, PREVIEW):
        coded = piece.index(b"\xff\xda") + 16  # what is before are tables that the photo may share
        assert not any(piece[start : start + 16] in output for start in range(coded, len(piece) - 16, 16))
    assert output.count(b"\xff\xd8\xff") == (1 if data[:2] == b"\xff\xd8" else 0)
    assert PACKED[900:960].encode() not in output
    assert THUMBNAIL[-30:].hex().encode() not in output
    return output


def pil_exif(data: bytes) -> Image.Exif:
    with Image.open(io.BytesIO(data)) as opened:
        return opened.getexif()


WITH_EXIF = {
    "jpeg": lambda block: with_segments(scene(".jpg"), (0xE1, EXIF_PREFIX + block)),
    "png": lambda block: with_chunks(scene(".png"), (b"eXIf", block)),
    "webp": lambda block: webp(scene(".webp", lossless=True), EXIF=block),
    "lossy webp": lambda block: webp(scene(".webp"), EXIF=EXIF_PREFIX + block),
}


def webp(data: bytes, **chunks: bytes) -> bytes:
    flags = 0x08 * ("EXIF" in chunks) + 0x04 * ("XMP" in chunks)
    canvas = (63).to_bytes(3, "little") + (47).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + canvas + data[12:]
    for kind, value in chunks.items():
        body += kind.encode().ljust(4) + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def exif_block(data: bytes) -> bytes:
    if data[:2] == b"\xff\xd8":
        return next(v for m, v in jpeg_segments(data) if m == 0xE1 and v.startswith(EXIF_PREFIX))[6:]
    if data[:4] == b"RIFF":
        return dict(webp_chunks(data))[b"EXIF"].removeprefix(EXIF_PREFIX)
    return dict(png_chunks(data))[b"eXIf"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", WITH_EXIF)
def test_exif_stays_byte_for_byte_but_for_its_thumbnail(kind: str, orientation: int, order: str) -> None:
    block = exif(order, orientation)
    output = erased(WITH_EXIF[kind](block))
    after = exif_block(output)
    keep = block.index(NOTE) + len(NOTE)
    pointer = 8 + 2 + 12 * 4
    assert after[:pointer] == block[:pointer]
    assert after[pointer : pointer + 4] == bytes(4)
    assert after[pointer + 4 : keep] == block[pointer + 4 : keep]
    assert len(after) <= len(block) - len(THUMBNAIL)
    read = pil_exif(output)
    assert read[271] == "Maker of cameras"
    assert read[274] == orientation
    assert read.get_ifd(34665)[36867].encode() + b"\0" == DATE
    assert read.get_ifd(34665)[37500] == NOTE
    assert read.get_ifd(34853)[1] == "N"


@pytest.mark.parametrize("alter", [None, 0])
def test_a_preview_inside_a_maker_note_is_blanked_in_place(alter: int | None) -> None:
    preview = bytearray(PREVIEW)
    if alter is not None:
        preview[0] = alter  # as some cameras do
    note = NOTE + bytes(preview) + b"the note goes on"
    output = erased(WITH_EXIF["jpeg"](exif(note=note)))
    assert pil_exif(output).get_ifd(34665)[37500] == NOTE + bytes(len(PREVIEW)) + b"the note goes on"


def test_sub_directories_with_previews_are_cut() -> None:
    tags = [(271, 2, b"Maker\0"), (330, 4, [(259, 3, 6), (513, 4, 200), (514, 4, len(PREVIEW))]), (306, 2, DATE)]
    block = b"II*\0\x08\0\0\0" + directory(tags, 8, "<")
    block = block.ljust(200, b"\0") + PREVIEW
    after = exif_block(erased(with_chunks(scene(".png"), (b"eXIf", block))))
    assert len(after) <= 200
    read = Image.Exif()
    read.load(after)
    assert dict(read) == {271: "Maker", 306: DATE[:-1].decode()}


def test_an_uncompressed_thumbnail_is_blanked() -> None:
    strip = RED.tobytes()[:3000]
    tags = [(271, 2, b"Maker\0")]
    second = 8 + len(directory(tags, 8, "<"))
    data_at = second + 2 + 12 * 3 + 4
    block = b"II*\0\x08\0\0\0" + directory(tags, 8, "<", second)
    block += directory([(259, 3, 1), (273, 4, data_at), (279, 4, len(strip))], second, "<") + strip + b"tail"
    after = exif_block(erased(WITH_EXIF["jpeg"](block)))
    assert strip[:12] not in after
    assert after.endswith(b"tail")


@pytest.mark.parametrize("kind", WITH_EXIF)
def test_exif_that_cannot_be_read_is_left_out(kind: str) -> None:
    output = erased(WITH_EXIF[kind](b"II*\0\xff\xff\xff\0" + THUMBNAIL))
    assert THUMBNAIL[:40] not in output


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_cleaning_damaged_exif_never_fails_and_leaves_no_jpeg(data: st.DataObject) -> None:
    block = bytearray(exif(data.draw(st.sampled_from("<>")), note=NOTE + PREVIEW))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(block) - 1) | st.integers(0, 130))
        block[at] = data.draw(st.integers(0, 255))
    cleaned = clean_exif(bytes(block[: data.draw(st.integers(0, len(block)))]))
    assert cleaned is None or not re.search(rb"\xd8\xff[\xc0\xdb\xe0\xe1]", cleaned)


XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
    '<rdf:Description dc:title="Harbour" hdrgm:Version="1.0" GCamera:MotionPhoto="1" xmpNote:HasExtendedXMP="ABC" '
    f'GImage:Data="{PACKED}">'
    f"<xmp:Thumbnails><rdf:Alt><rdf:li><xmpGImg:image>{PACKED}</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails>"
    f"<x:other>{PACKED[:76]}&#xA;{PACKED[76:]}</x:other><dc:creator>A photographer</dc:creator>"
    "<Container:Directory><rdf:Seq/></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"
).encode()


def check_xmp(xmp: bytes) -> None:
    assert b'dc:title="Harbour"' in xmp
    assert b"<dc:creator>A photographer</dc:creator>" in xmp
    for gone in (b"Thumbnails", b"hdrgm", b"MotionPhoto", b"HasExtendedXMP", b"Container:", PACKED[:60].encode()):
        assert gone not in xmp


def test_xmp_loses_its_pictures_only() -> None:
    cleaned = clean_xmp(XMP)
    assert cleaned is not None
    check_xmp(cleaned)
    assert clean_xmp(cleaned) == cleaned
    assert clean_xmp("text".encode("utf-16")) is None
    assert clean_xmp(b"<a><xmp:Thumbnails> without an end") is None


def test_xmp_survives_in_every_format() -> None:
    prefix = b"http://ns.adobe.com/xap/1.0/\0"
    jpeg = erased(with_segments(scene(".jpg"), (0xE1, prefix + XMP), (0xE1, prefix + b"second")))
    found = [v for m, v in jpeg_segments(jpeg) if m == 0xE1]
    assert len(found) == 1
    check_xmp(found[0])
    for text in (b"\0\0\0\0" + XMP, b"\1\0\0\0" + zlib.compress(XMP)):
        png = erased(with_chunks(scene(".png"), (b"iTXt", b"XML:com.adobe.xmp\0" + text)))
        check_xmp(dict(png_chunks(png))[b"iTXt"])
    check_xmp(dict(webp_chunks(erased(webp(scene(".webp", lossless=True), XMP=XMP))))[b"XMP "])
    made = pyvips.Image.new_from_array(SCENE)
    made.set_type(pyvips.GValue.blob_type, "xmp-data", XMP)
    for options in ({"suffix": ".tif"}, {"suffix": ".avif", "effort": 0, "compression": "av1"}):
        suffix = options.pop("suffix")
        output = erased(made.write_to_buffer(suffix, **options))
        check_xmp(pyvips.Image.new_from_buffer(output, "").get("xmp-data"))


def resource(number: int, value: bytes, name: bytes = b"") -> bytes:
    packed = bytes([len(name)]) + name
    packed += b"\0" * (len(packed) % 2)
    return (
        b"8BIM" + struct.pack(">H", number) + packed + struct.pack(">I", len(value)) + value + b"\0" * (len(value) % 2)
    )


def dataset(record: int, number: int, value: bytes) -> bytes:
    return bytes([0x1C, record, number]) + struct.pack(">H", len(value)) + value


IPTC = dataset(2, 5, b"Harbour") + dataset(2, 25, b"boats")
RESOURCES = (
    resource(1005, b"resolution", b"odd")
    + resource(1036, bytes(28) + THUMBNAIL)
    + resource(1033, bytes(28) + RED.tobytes()[:600])
    + resource(1028, IPTC + dataset(2, 202, THUMBNAIL) + dataset(8, 10, THUMBNAIL))
    + resource(1058, exif())
    + resource(1060, XMP)
    + resource(4000, b"plug-in " + PREVIEW)
)


def test_photoshop_resources_lose_their_pictures_only() -> None:
    cleaned = clean_photoshop(RESOURCES)
    assert resource(1005, b"resolution", b"odd") in cleaned
    assert resource(1028, IPTC) in cleaned
    assert b"Maker of cameras" in cleaned
    assert b"A photographer" in cleaned
    assert b"plug-in" not in cleaned
    assert RED.tobytes()[:12] not in cleaned
    assert b"\xff\xd8\xff" not in cleaned
    assert clean_photoshop(cleaned) == cleaned
    assert clean_photoshop(RESOURCES[:-40]) == cleaned
    long = b"\x1c\x02\x78\x80\x04" + struct.pack(">I", 5) + b"12345"
    assert clean_iptc(long + IPTC + b"rubbish") == long + IPTC


def test_jpeg_loses_every_extension_that_holds_a_picture() -> None:
    jfif = b"JFIF\0\x01\x02\x01\0\x48\0\x48" + bytes([4, 4]) + RED.tobytes()[:48]
    half = len(RESOURCES) // 2
    data = with_segments(
        scene(".jpg"),
        (0xE0, jfif),
        (0xE0, b"JFXX\0\x10" + THUMBNAIL),
        (0xE1, EXIF_PREFIX + exif(orientation=1)),
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + PACKED.encode()),
        (0xE2, b"MPF\0MM\0*" + bytes(60)),
        (0xE2, b"FPXR\0" + THUMBNAIL),
        (0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(20)),
        (0xEB, b"JP\0\x01" + THUMBNAIL),
        (0xED, b"Photoshop 3.0\0" + RESOURCES[:half]),
        (0xED, b"Photoshop 3.0\0" + RESOURCES[half:]),
        (0xFE, b"a comment"),
    )
    output = erased(data + THUMBNAIL + b"a film of it")
    kept = list(jpeg_segments(output))
    assert kept[0] == (0xE0, jfif[:12] + b"\0\0")
    assert (0xFE, b"a comment") in kept
    assert [v for m, v in kept if m == 0xED] == [b"Photoshop 3.0\0" + clean_photoshop(RESOURCES)]
    assert {m for m, _ in kept if m >= 0xE0} == {0xE0, 0xE1, 0xED, 0xFE}
    assert output.endswith(b"\xff\xd9")
    assert b"a film" not in output


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
def test_png_texts_and_private_chunks(kind: bytes) -> None:
    def text(keyword: bytes, value: bytes) -> tuple[bytes, bytes]:
        return kind, keyword + (b"\0\0" + zlib.compress(value) if kind == b"zTXt" else b"\0" + value)

    def raw(name: bytes, block: bytes) -> tuple[bytes, bytes]:
        lines = b"\n".join(block.hex().encode()[i : i + 72] for i in range(0, 2 * len(block), 72))
        return text(b"Raw profile type " + name, b"\n" + name + b"\n%8d\n" % len(block) + lines + b"\n")

    data = with_chunks(
        scene(".png"),
        (b"gAMA", struct.pack(">I", 45455)),
        (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        (b"tIME", bytes([7, 229, 5, 4, 3, 2, 1])),
        text(b"Author", b"A photographer"),
        raw(b"exif", EXIF_PREFIX + exif()),
        raw(b"8bim", RESOURCES),
        raw(b"iptc", IPTC + dataset(2, 202, THUMBNAIL)),
        raw(b"unknown", THUMBNAIL),
        (b"prVW", THUMBNAIL),
        (b"caBX", THUMBNAIL),
    )
    kept = list(png_chunks(erased(data)))
    assert {b"gAMA", b"pHYs", b"tIME"} <= {k for k, _ in kept}
    assert not {b"prVW", b"caBX"} & {k for k, _ in kept}
    texts = {v.partition(b"\0")[0]: v.partition(b"\0")[2] for k, v in kept if k == kind}
    assert set(texts) == {b"Author", *(b"Raw profile type " + n for n in (b"exif", b"8bim", b"iptc"))}
    plain = texts[b"Raw profile type exif"]
    plain = zlib.decompress(plain[1:]) if kind == b"zTXt" else plain
    assert bytes.fromhex(plain.split(b"\n", 3)[3].decode()) == clean_exif(EXIF_PREFIX + exif())


def tiff(order: str, extra: list[tuple[int, int, Any]]) -> bytes:
    """An uncompressed TIFF of the scene in either byte order, its directory before its strip."""
    height, width = SCENE.shape[:2]

    def build(strip_at: int) -> bytes:
        tags = [
            (256, 4, width),
            (257, 4, height),
            (258, 3, struct.pack(order + "3H", 8, 8, 8)),
            (259, 3, 1),
            (262, 3, 2),
            (273, 4, strip_at),
            (277, 3, 3),
            (278, 4, height),
            (279, 4, SCENE.size),
            *extra,
        ]
        start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
        return start + directory(tags, 8, order)

    return build(len(build(0))) + SCENE.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_keeps_what_it_says_and_loses_layers_and_thumbnails(order: str) -> None:
    data = tiff(
        order,
        [
            (271, 2, b"Maker of cameras\0"),
            (274, 3, 3),
            (700, 1, XMP),
            (33723, 7, IPTC),
            (34377, 1, RESOURCES),
            (34665, 4, [(36867, 2, DATE), (37500, 7, NOTE + PREVIEW)]),
            GPS,
            (37724, 7, b"Adobe Photoshop Document Data Block\0" + THUMBNAIL),
            (50000, 7, THUMBNAIL),
        ],
    )
    output = erased(data)
    with Image.open(io.BytesIO(output)) as opened:
        tags = opened.tag_v2
        assert tags[271] == "Maker of cameras"
        assert tags[274] == 3
        assert tags[33723] == IPTC
        check_xmp(tags[700])
        assert tags[34377] == clean_photoshop(RESOURCES)
        assert not {37724, 50000} & set(tags)
        read = opened.getexif()
        assert read.get_ifd(34665)[36867].encode() + b"\0" == DATE
        assert read.get_ifd(34665)[37500] == NOTE + bytes(len(PREVIEW))
        assert read.get_ifd(34853)[29] == "2021:05:04"
    assert pyvips.Image.new_from_buffer(output, "").get("orientation") == 3
