"""Files made to harm: they end in a result or one clear line, in little time and memory, and nothing is touched."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import pyvips
from fuzz import seeds

from unsay import verbs
from unsay.bundle import Bundle
from unsay.errors import BadInput, UnsayError
from unsay.photo import Photo, limits
from unsay.photo.containers import PNG_SIGNATURE, jpeg_segments, kept_png_chunks, png_chunks, write_jpeg, write_png
from unsay.photo.metadata import clean_exif, clean_photoshop, clean_xmp, upright_exif
from unsay.photo.pictures import MOST_BYTES, blanked
from unsay.results import Patch
from unsay.segmentation.words import check_words

PATCH = Patch(2, 2, np.zeros((5, 5, 3), np.uint8), np.ones((5, 5), np.float32))
PLAIN = {kind: min(seeds.photos(kind), key=len) for kind in seeds.FORMATS}
WHOLE = {f"{kind} {number}": photo for kind in seeds.FORMATS for number, photo in enumerate(seeds.photos(kind))}


def edited(data: bytes, megapixels: float = 100) -> bytes:
    """What the file becomes once a few of its pixels are changed."""
    return Photo.open(data, max_megapixels=megapixels).with_patches([PATCH]).encode()


def outcome(data: bytes, megapixels: float = 100) -> str:
    """The outcome in words; whatever is not one of our errors is raised."""
    try:
        edited(data, megapixels)
    except UnsayError as error:
        return str(error).replace("\n", "LINE BREAK")
    return "result"


def bomb(megabytes: int) -> bytes:
    """Zeros packed to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = ((megabytes << 20) % 65521) << 16 | 1  # Adler-32 of so many zeros
    return b"\x78\xda" + block * megabytes + b"\x03\0" + struct.pack(">I", checksum)


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    return write_png(PLAIN["png"], chunks)


def slot(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def block(slots: list[bytes], following: int = 0, rest: bytes = b"") -> bytes:
    """An EXIF block with one directory."""
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(slots))
    return head + b"".join(slots) + struct.pack("<I", following) + rest


def with_tags(added: list[bytes], rest: bytes = b"") -> bytes:
    """A TIFF with more entries in its directory."""
    data = PLAIN["tiff"]
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    own = [data[first + 2 + 12 * i : first + 14 + 12 * i] for i in range(count)]
    entries = sorted([*own, *added], key=lambda entry: struct.unpack_from("<H", entry)[0])
    at = len(data) + len(data) % 2
    body = data[:4] + struct.pack("<I", at) + data[8:].ljust(at - 8, b"\0")
    return body + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + rest


# --- bombs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def frugal() -> Any:
    """Fails a test that takes more than 15 seconds (one is usual) or lets the process grow by more than 600 MB."""
    peak = Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5")
    before, started = _resident(), time.perf_counter()
    yield
    assert time.perf_counter() - started < 15
    assert _resident() - before < 600


def _resident() -> float:
    path = Path("/proc/self/status")
    return int(path.read_text().split("VmHWM:")[1].split()[0]) / 1024 if path.exists() else 0


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"a\0\0"),
        (b"zTXt", b"Raw profile type exif\0\0"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"),
        (b"iTXt", b"Comment\0\1\0\0\0"),
        (b"iCCP", b"a\0\0"),
    ],
    ids=["text", "raw profile", "XMP", "international text", "profile"],
)
def test_texts_and_profiles_that_inflate_without_end(chunk: tuple[bytes, bytes]) -> None:
    kind, head = chunk
    packed = bomb(300)
    output = edited(with_chunks((kind, head + packed)))
    assert len(output) < 2 * len(packed)
    np.testing.assert_array_equal(Photo.open(output).native.pixels[8:], Photo.open(PLAIN["png"]).native.pixels[8:])


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize("head", [b"XML:com.adobe.xmp\0\1\0\0\0", b"Raw profile type exif\0\0"])
def test_many_texts_that_inflate_share_one_bound(head: bytes) -> None:
    """Each of them alone is within the bound: fifty would take gigabytes and minutes."""
    kind = b"iTXt" if head.startswith(b"XML") else b"zTXt"
    assert len(edited(with_chunks(*[(kind, head + bomb(30))] * 50))) < 10_000


def test_a_thousand_texts_are_not_inflated_by_the_reader() -> None:
    """libpng stops at 8 MB of each, a thousand times over, and twice as a photo is opened."""
    data = with_chunks(*[(b"zTXt", b"a\0\0" + bomb(7))] * 1000)
    started = time.perf_counter()
    assert Photo.open(data).width == 32
    assert time.perf_counter() - started < 2


def test_only_the_first_exif_block_and_xmp_packet_of_a_png_stay() -> None:
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0"
    chunks = [(b"eXIf", seeds.exif()), (b"iTXt", xmp + b"<one/>"), (b"eXIf", b"other"), (b"iTXt", xmp + b"<two/>")]
    kept = kept_png_chunks(with_chunks(*chunks), 1)
    assert [kind for kind, _ in kept] == [b"eXIf", b"iTXt"]
    assert kept[1][1].endswith(b"<one/>")


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize(
    "chunk", [(b"tEXt", b"a\0b"), (b"prVt", b""), (b"IDAT", b"")], ids=["text", "private", "pixels"]
)
def test_a_png_of_a_hundred_thousand_chunks(chunk: tuple[bytes, bytes]) -> None:
    ((kind, payload),) = [chunk]
    one = struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
    header, *others = [c for c in png_chunks(PLAIN["png"]) if c[0] in (b"IHDR", b"IDAT", b"IEND")]
    rest = write_png(PLAIN["png"], [])[8 + 25 :]
    assert header[0] == b"IHDR"
    assert others
    data = write_png(PLAIN["png"], [])[: 8 + 25] + one * 100_000 + rest
    assert data.startswith(PNG_SIGNATURE)
    assert outcome(data) == "result" or "damaged" in outcome(data)


@pytest.mark.usefixtures("frugal")
def test_exif_directories_without_end() -> None:
    many = [slot(330, 4, 1, 8)] * 4000
    several = block([slot(330, 4, 14000, 8 + 2 + 12 * 300 + 4)] * 300, rest=struct.pack("<I", 8) * 14000)
    chain = b"".join(struct.pack("<H", 0) + struct.pack("<I", 8 + 6 * (i + 1)) for i in range(10000))
    for exif in (block(many), several, b"II*\0\x08\0\0\0" + chain, block([], following=8)):
        assert len(clean_exif(exif, orientation=6) or b"") <= len(exif)


@pytest.mark.usefixtures("frugal")
def test_pictures_within_pictures_in_exif() -> None:
    """Each unit begins a JPEG whose markers lead through all those behind it, and to no end."""
    unit = b"\xff\xe1\x00\x0c\x00\xd8\xff\xe0\x00\x06\xff\xd9\0\0"
    assert clean_exif(block([], rest=unit * 40_000)) is None
    assert not any(blanked(unit * 40_000))
    assert blanked(b"ab" + unit + b"cd") != b"ab" + unit + b"cd"


def test_blocks_beyond_reason_count_as_unreadable() -> None:
    large = block([], rest=bytes(MOST_BYTES))
    assert clean_exif(large) is None
    assert clean_exif(large, orientation=6) is not None
    assert clean_xmp(b"<x>" + b" " * MOST_BYTES) is None
    assert not any(blanked(b"a" * (MOST_BYTES + 1)))


@pytest.mark.usefixtures("frugal")
def test_tiff_values_that_overlap_and_counts_beyond_the_file() -> None:
    texts = with_tags([slot(270, 2, 1 << 20, 8)] * 4000, rest=b"a" * (1 << 20))
    others = with_tags(
        [slot(tag, 7, 1 << 20, 8) for tag in (269, 270, 271, 272, 305, 315, 700, 33432, 34377)], bytes(1 << 20)
    )
    for data in (texts, others, with_tags([slot(254, 4, 2 << 20, 8)], rest=bytes(8 << 20))):
        assert outcome(data) == "result"
        assert len(edited(data)) <= 2 * len(data)
    for tag in (256, 273, 279, 322, 330, 338, 34665, 34675):
        for count in (0, 1 << 20, (1 << 31) - 1, (1 << 32) - 1):
            assert outcome(with_tags([slot(tag, 4, count, 8)]))


def test_tags_that_readers_insist_on_are_sound_or_left_out() -> None:
    """A unit of resolution that does not exist makes readers, ours too, refuse the whole file."""
    for wrong in (
        slot(296, 3, 1, 255),
        slot(296, 4, 1, 2),
        slot(274, 3, 1, 9),
        slot(282, 3, 1, 72),
        slot(283, 5, 1, 8),
    ):
        exif = block([wrong], rest=bytes(16))
        photo = Photo.open(write_jpeg(PLAIN["jpeg"], [(0xE1, b"Exif\0\0" + exif)])).with_patches([PATCH])
        assert Photo.open(photo.encode(".tif")).width == photo.width


@pytest.mark.parametrize("wrong", [slot(274, 3, 900, 4), slot(274, 3, 3, 4), slot(274, 4, 1, 6), slot(274, 1, 1, 6)])
def test_an_orientation_of_another_form_is_set_in_its_entry(wrong: bytes) -> None:
    """Its value may be said to lie in the header, which must not be written over."""
    exif = block([wrong], rest=bytes(2000))
    assert upright_exif(exif) == block([slot(274, 3, 1, 1)], rest=bytes(2000))


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize("side", [20_000, 65535, 1 << 24, (1 << 31) - 1, (1 << 32) - 1])
def test_sides_that_are_claimed(side: int) -> None:
    png = bytearray(PLAIN["png"])
    struct.pack_into(">II", png, 16, side, side)
    struct.pack_into(">I", png, 29, zlib.crc32(bytes(png[12:29])))
    jpeg = bytearray(PLAIN["jpeg"])
    struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, min(side, 65535), min(side, 65535))
    webp = bytearray(seeds.photos("webp")[3])
    struct.pack_into("<HH", webp, webp.index(b"VP8 ") + 14, min(side, 16383), min(side, 16383))
    avif = bytearray(PLAIN["avif"])
    struct.pack_into(">II", avif, avif.index(b"ispe") + 8, side, side)
    for data in (png, jpeg, webp, avif):
        assert outcome(bytes(data)) != "result"


def test_an_avif_that_claims_a_side_beyond_int_is_refused_without_noise(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(PLAIN["avif"])
    at = data.index(b"ispe")
    struct.pack_into(">I", data, at + 8, (1 << 30) + 24)
    for flags in (0, 0x00404000):
        struct.pack_into(">I", data, at + 4, flags)
        assert "it claims 1073741848 x" in outcome(bytes(data))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", range(len(seeds.photos("jpeg"))))
def test_a_jpeg_of_a_kilobyte_that_claims_a_hundred_megapixels_is_cut(number: int) -> None:
    """libjpeg makes up what is missing, and only warns."""
    data = bytearray(seeds.photos("jpeg")[number])
    at = max(data.rfind(b"\xff\xc0"), data.rfind(b"\xff\xc2"))
    struct.pack_into(">HH", data, at + 5, 9999, 9999)
    assert "cut JPEG" in outcome(bytes(data))


@pytest.mark.parametrize("interlace", [False, True])
def test_the_emptiest_jpeg_is_whole(interlace: bool) -> None:
    """One colour, the shortest codes: still more than a bit a block."""
    image = pyvips.Image.black(2000, 1600)
    for made in (image, image.bandjoin([image, image]).copy(interpretation="srgb")):
        data = made.jpegsave_buffer(interlace=interlace, optimize_coding=True, Q=1, keep="none")
        assert Photo.open(data).width == 2000


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    image = pyvips.Image.black(64, 48, bands=3).copy(interpretation="srgb")
    data = image.jpegsave_buffer(interlace=True, keep="none")
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    assert outcome(data) == "result"
    message = outcome(data[:end] + data[last:end] * limits.MOST_SCANS + data[end:])
    assert f"the limit is {limits.MOST_SCANS}" in message
    assert outcome(data + data[last:end] * 5000) == "result", "what lies behind the picture is no scan of it"


@pytest.mark.slow
def test_the_most_scans_of_a_hundred_megapixels_are_read_in_time() -> None:
    side = 10_000
    data = pyvips.Image.black(side, side).jpegsave_buffer(interlace=True, keep="none")
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    scans = limits.MOST_SCANS - data.count(b"\xff\xda")
    started = time.perf_counter()
    assert outcome(data[:end] + data[last:end] * scans + data[end:])
    assert time.perf_counter() - started < 60


def animation(kind: str, frames: int) -> bytes:
    from PIL import Image

    pictures = [Image.fromarray(np.roll(seeds.pixels(), i, axis=1)) for i in range(frames)]
    stream = io.BytesIO()
    pictures[0].save(stream, kind, save_all=True, append_images=pictures[1:])
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
def test_animations_of_many_frames_are_refused_whatever_they_are_called(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(animation(kind, 60))
    with pytest.raises(BadInput, match=r"single photos|GIF"):
        Photo.open(path)


# --- cut and bent -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_cut_at_every_byte(name: str) -> None:
    """A whole result is possible only where nothing but what no reader needs is cut off."""
    data = WHOLE[name]
    wrong = [size for size in range(len(data)) if outcome(data[:size], 1) == "result"]
    assert all(size > len(data) * 0.4 for size in wrong)
    if not name.startswith("tiff"):  # whose pixels may lie before blocks that libtiff can do without
        assert len(wrong) <= 2


@pytest.mark.parametrize("name", WHOLE)
def test_cut_at_bytes_at_random_and_the_last_ones(name: str) -> None:
    data, random = WHOLE[name], Random(name)
    for size in [*random.sample(range(len(data)), 8), *range(3)]:
        assert outcome(data[:size], 1)


@pytest.mark.parametrize("name", WHOLE)
def test_bits_turned_round(name: str) -> None:
    data, random = WHOLE[name], Random(name)
    for _ in range(8):
        bent = bytearray(data)
        bent[random.randrange(len(data))] ^= 1 << random.randrange(8)
        assert outcome(bytes(bent), 1)


@pytest.mark.parametrize("kind", seeds.FORMATS)
def test_the_name_does_not_matter_but_the_bytes_do(kind: str, tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".webp", ".tif", ".avif", ".txt", ""):
        path = tmp_path / f"photo{suffix}"
        path.write_bytes(PLAIN[kind])
        assert Photo.open(path).format == kind


def test_two_formats_in_one_file() -> None:
    """A JPEG with an archive behind it, a PNG that is a page too, a PDF with a JPEG in it."""
    archive, page = b"PK\x03\x04" + bytes(300) + b"PK\x05\x06" + bytes(18), b"<html><script>1</script></html>"
    for kind, data in (("jpeg", PLAIN["jpeg"] + archive), ("png", PLAIN["png"] + page)):
        output = edited(data)
        assert Photo.open(output).format == kind
        assert b"PK\x03\x04" not in output
        assert page not in output
    assert "PDF" in outcome(b"%PDF-1.7\n" + PLAIN["jpeg"])
    assert "not a photo" in outcome(page + PLAIN["png"])


def profiles() -> dict[str, bytes]:
    icc = seeds.icc()
    random = Random(0)
    tags = bytearray(icc)
    struct.pack_into(">I", tags, 128, 1 << 31)
    places = bytearray(icc)
    struct.pack_into(">II", places, 136, (1 << 32) - 8, 64)
    loops = bytearray(icc)
    for i in range(struct.unpack_from(">I", icc, 128)[0]):
        struct.pack_into(">II", loops, 136 + 12 * i, 128, len(icc))
    return {
        "random": icc[:128] + random.randbytes(400),
        "cut": icc[:200],
        "empty": b"",
        "header alone": icc[:128],
        "another class": icc[:12] + b"abst" + icc[16:],
        "a device link": icc[:12] + b"link" + icc[16:],
        "CMYK": icc[:16] + b"CMYK" + icc[20:],
        "2^31 tags": bytes(tags),
        "a tag beyond the end": bytes(places),
        "tags in one another": bytes(loops),
        "a wrong size": struct.pack(">I", 1 << 31) + icc[4:],
    }


@pytest.mark.parametrize("name", profiles())
def test_profiles_that_are_none(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    icc = profiles()[name]
    made = with_chunks((b"iCCP", b"a\0\0" + zlib.compress(icc)))
    jpeg = write_jpeg(PLAIN["jpeg"], [(0xE2, b"ICC_PROFILE\0\1\1" + icc)])
    for data in (made, jpeg):
        photo = Photo.open(data)
        assert photo.rgb.shape == (24, 32, 3)
        assert Photo.open(photo.with_patches([PATCH]).encode()).width == 32
        photo.with_patches([PATCH]).encode(".webp")
    assert capfd.readouterr() == ("", "")


def test_a_tag_beyond_any_file_is_no_crash() -> None:
    data = bytearray(seeds.photos("tiff")[3])
    struct.pack_into("<Q", data, 8, (1 << 64) - 1)
    assert "damaged or cut TIFF" in outcome(bytes(data))


def test_photoshop_blocks_of_many_segments_are_put_together_in_one_go() -> None:
    part = b"Photoshop 3.0\0" + bytes(65000)
    data = write_jpeg(PLAIN["jpeg"], [(0xED, part)] * 800)
    started = time.perf_counter()
    assert outcome(data) == "result"
    assert time.perf_counter() - started < 3
    assert clean_photoshop(b"8BIM" * 10) == b""
    assert sum(marker == 0xED for marker, _ in jpeg_segments(data)) == 800


# --- words ------------------------------------------------------------------------------------------------------------

ODD = [
    "dog\nred",
    "re\0d",
    "\x1b[31mred\x1b[0m",
    "\U0001f415",
    "\u202eder",
    "-red",
    "../../etc/passwd",
    "%s%n",
    "${HOME}",
    "红",
]


@pytest.mark.parametrize("word", ODD)
@pytest.mark.usefixtures("colour_words")
def test_odd_words_are_looked_for_or_refused(word: str, tiny_bundle: Bundle) -> None:
    with pytest.raises(UnsayError) as caught:
        verbs.erase(PLAIN["png"], word, bundle=tiny_bundle)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status in (2, 3)


@pytest.mark.parametrize("word", ["", " \n\t", "x" * 100_000, "\ud800", "!?", 7, b"dog", None])
def test_what_is_no_word_is_refused(word: Any) -> None:
    with pytest.raises(BadInput):
        check_words([word])


def test_a_process_on_a_bomb_stays_small(tmp_path: Path, tiny_bundle: Bundle, make_rgb: Callable[..., Any]) -> None:
    """From the command line, measured from outside: all bombs of this page in one photo."""
    path = tmp_path / "bomb.png"
    texts = [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb(60))] * 20 + [
        (b"eXIf", block([slot(330, 4, 1, 8)] * 4000))
    ]
    path.write_bytes(with_chunks(*texts))
    mask = tmp_path / "mask.png"
    mask.write_bytes(seeds.masks()[0])
    code = (
        "import re, sys\nfrom unsay.cli import main\nstatus = main(sys.argv[1:])\n"
        # what getrusage tells would count the peak of the process that started this one
        "print(status, int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) // 1024)\n"
    )
    given = ["inpaint", str(path), str(mask), "--bundle", str(tiny_bundle.path), "-o", str(tmp_path / "out.png")]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=True)
    status, megabytes = done.stdout.split()[-2:]
    assert status == "0", done.stderr
    assert int(megabytes) < 700
    assert time.perf_counter() - started < 20
