"""What is no photo, or not a whole one, ends in one clear line; sizes are judged before anything is decoded."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from unsay.errors import BadInput
from unsay.photo import Photo

SOFT = (
    pyvips.Image.gaussnoise(96, 80, mean=128, sigma=40, seed=1)
    .gaussblur(1.5)
    .bandjoin([pyvips.Image.gaussnoise(96, 80, mean=100, sigma=30, seed=s) for s in (2, 3)])
)
PIXELS = SOFT.cast("uchar").copy(interpretation="srgb").numpy()
MADE = pyvips.Image.new_from_array(PIXELS)
WIDE = pyvips.Image.new_from_array(PIXELS.astype(np.uint16) * 257).copy(interpretation="rgb16")


def by_pil(format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, format, **options)
    return stream.getvalue()


FILES = {
    "jpeg": MADE.jpegsave_buffer(),
    "progressive jpeg": MADE.jpegsave_buffer(interlace=True),
    "png": MADE.pngsave_buffer(),
    "16 bit png": WIDE.pngsave_buffer(),
    "interlaced png": MADE.pngsave_buffer(interlace=True),
    "lossy webp": MADE.webpsave_buffer(),
    "lossless webp": MADE.webpsave_buffer(lossless=True),
    "tiff": MADE.tiffsave_buffer(),
    "lzw tiff": MADE.tiffsave_buffer(compression="lzw"),
    "jpeg tiff": MADE.tiffsave_buffer(compression="jpeg"),
    "tiled tiff": MADE.tiffsave_buffer(tile=True, tile_width=32, tile_height=32),
    "tiff that begins with its directory": by_pil("TIFF"),
    "packed tiff that begins with its directory": by_pil("TIFF", compression="tiff_adobe_deflate"),
    "webp with exif at its end": by_pil("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(300)),
    "avif": MADE.heifsave_buffer(compression="av1", effort=0),
}


def refusal(source: Any, **options: Any) -> str:
    """The message of the one line that `source` is refused with."""
    with pytest.raises(BadInput) as caught:
        Photo.open(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.999, 0.95, 0.75, 0.5, 0.3, 0.1])
def test_a_cut_photo_is_refused(name: str, share: float) -> None:
    data = FILES[name]
    Photo.open(data)
    assert "again" in refusal(data[: min(int(len(data) * share), len(data) - 1)])


@pytest.mark.parametrize("name", FILES)
def test_a_photo_cut_in_its_last_or_first_bytes_is_refused(name: str) -> None:
    data = FILES[name]
    for size in (len(data) - 1, len(data) - 2, len(data) - 5, len(data) - 13, 200, 70, 33, 20, 12, 3, 1):
        assert refusal(data[:size])


@pytest.mark.parametrize("name", FILES)
def test_bytes_changed_at_random_give_a_photo_or_a_refusal(name: str) -> None:
    rng = np.random.default_rng(len(name))
    for _ in range(12):
        data = bytearray(FILES[name])
        for at in rng.integers(4, len(data), 3):
            data[at] = rng.integers(256)
        try:
            Photo.open(bytes(data), max_megapixels=1)
        except BadInput:
            assert refusal(bytes(data), max_megapixels=1)


def test_not_a_photo(tmp_path: Path) -> None:
    assert "not a photo" in refusal(b"hello, world")
    assert "empty (0 bytes)" in refusal(b"")
    assert "empty (0 bytes)" in refusal(io.BytesIO())
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert "empty.jpg is empty" in refusal(empty)
    assert "is a folder" in refusal(tmp_path)
    assert "missing.jpg does not exist" in refusal(tmp_path / "missing.jpg")
    assert "cannot be read" in refusal("nul\0byte.jpg")
    assert "cannot be read" in refusal("a" * 5000)
    assert "not int" in refusal(3)
    assert "binary mode" in refusal(io.StringIO("text"))


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert "photo.jpg" in refusal(tmp_path / "file" / "photo.jpg")


def test_an_odd_name_stays_on_one_line() -> None:
    assert r"'a\nb.jpg' does not exist" in refusal("a\nb.jpg")
    assert "'' is a folder" in refusal("")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(FILES["png"])

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    assert "secret.png may not be read" in refusal(path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GIF89a" + bytes(40), "GIF"),
        (b"%PDF-1.7" + bytes(40), "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (b"8BPS\0\x01" + bytes(40), "Photoshop"),
    ],
)
def test_other_formats_are_named(data: bytes, what: str) -> None:
    assert what in refusal(data)


def test_libvips_can_be_locked_to_the_five_formats() -> None:
    code = (
        "import pyvips\n"
        "from unsay.photo.read import block_other_loaders\n"
        "made = pyvips.Image.black(8, 8, bands=3)\n"
        "suffixes = {'.jpg': {}, '.png': {}, '.webp': {}, '.tif': {}, '.avif': {'effort': 0}}\n"
        "files = [made.write_to_buffer(s, **o) for s, o in suffixes.items()]\n"
        "gif = made.write_to_buffer('.gif')\n"
        "pyvips.Image.new_from_buffer(gif, '')\n"
        "block_other_loaders()\n"
        "assert all(pyvips.Image.new_from_buffer(f, '').avg() < 1 for f in files)\n"
        "try:\n    pyvips.Image.new_from_buffer(gif, '')\n"
        "except pyvips.Error:\n    print('locked')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "locked\n"


def frames(format: str) -> bytes:
    one, two = Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1].copy())
    stream = io.BytesIO()
    one.save(stream, format, save_all=True, append_images=[two])
    return stream.getvalue()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF", "TIFF"])
def test_animations_and_pages_are_refused(format: str) -> None:
    assert "single photos" in refusal(frames(format))


def test_an_avif_of_two_pictures_that_is_no_sequence_is_refused() -> None:
    both = pyvips.Image.new_from_array(np.concatenate([PIXELS, PIXELS[::-1]]))
    data = both.heifsave_buffer(compression="av1", page_height=len(PIXELS), effort=0)
    assert "2 pictures" in refusal(data)


def test_a_webp_is_lossless_if_its_picture_is() -> None:
    lossy = pyvips.Image.new_from_array(PIXELS).webpsave_buffer(Q=80, keep="none")
    trailing = lossy + b"VP8L\x04\0\0\0abcd"
    data = trailing[:4] + struct.pack("<I", len(trailing) - 8) + trailing[8:]
    assert not Photo.open(data).lossless


def test_a_tiff_whose_second_page_is_a_thumbnail_is_one_photo() -> None:
    data = bytearray(frames("TIFF"))
    second = struct.unpack_from("<I", data, 4)[0]
    second = struct.unpack_from("<I", data, second + 2 + 12 * struct.unpack_from("<H", data, second)[0])[0]
    count = struct.unpack_from("<H", data, second)[0]
    slots = [second + 2 + 12 * i for i in range(count)]
    planes = next(at for at in slots if struct.unpack_from("<H", data, at)[0] == 284)
    struct.pack_into("<HHIHH", data, planes, 254, 3, 1, 1, 0)  # "reduced copy", in place of a tag that is not needed
    photo = Photo.open(bytes(data))
    np.testing.assert_array_equal(photo.rgb, PIXELS)


def test_a_raw_file_is_refused() -> None:
    data = bytearray(FILES["tiff"])
    first = struct.unpack_from("<I", data, 4)[0]
    slots = [first + 2 + 12 * i for i in range(struct.unpack_from("<H", data, first)[0])]
    resolution = next(at for at in slots if struct.unpack_from("<H", data, at)[0] == 296)
    struct.pack_into("<HHIBBBB", data, resolution, 50706, 1, 4, 1, 4, 0, 0)
    assert "raw" in refusal(bytes(data))


def test_other_samples_are_refused() -> None:
    for kind in ("float", "int", "short"):
        assert "8 and 16 bit" in refusal(MADE.cast(kind).tiffsave_buffer())
    assert "8 and 16 bit" in refusal(MADE.colourspace("lab").tiffsave_buffer())


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels, small as a file: one packed run of rows, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    rows = 20 if side % 20 == 0 else 1
    block = packer.compress(bytes(rows * (1 + 3 * side))) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = (side * (1 + 3 * side) % 65521) << 16 | 1  # Adler-32 of so many zeros
    data = b"\x78\xda" + block * (side // rows) + b"\x03\0" + struct.pack(">I", checksum)

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_huge_png_is_refused_from_its_header() -> None:
    assert not Photo.open(bomb(60)).rgb.any()
    data = bytearray(bomb(8))
    struct.pack_into(">II", data, 16, 20000, 20000)
    struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
    started = time.perf_counter()
    message = refusal(bytes(data))
    assert time.perf_counter() - started < 0.5
    assert "20000 x 20000 = 400 megapixels" in message
    assert "100" in message


def test_a_png_of_a_megabyte_that_unpacks_to_a_gigabyte_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(20000))
    assert path.stat().st_size < 2_000_000
    code = (
        "import re, sys\n"
        "from unsay.photo import Photo\n"
        "from unsay.errors import BadInput\n"
        "try:\n    Photo.open(sys.argv[1])\n"
        "except BadInput as error:\n    print(error)\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    message, megabytes = ran.stdout.strip().splitlines()
    assert "400 megapixels" in message
    assert int(megabytes) < 250
    assert ran.stderr == ""


@pytest.mark.parametrize("name", FILES)
def test_the_limit_counts_for_every_format(name: str) -> None:
    assert "96 x 80" in refusal(FILES[name], max_megapixels=0.007)
    assert Photo.open(FILES[name], max_megapixels=0.008).width == 96


def test_the_limit_must_be_a_number_above_zero() -> None:
    for limit in (0, -1, float("nan")):
        assert "above 0" in refusal(FILES["png"], max_megapixels=limit)
    Photo.open(FILES["png"], max_megapixels=float("inf"))


def test_a_stream_without_end_is_not_read_to_its_end() -> None:
    class Endless(io.RawIOBase):
        def __init__(self, start: bytes) -> None:
            self.left = start

        def read(self, size: int = -1) -> bytes:
            assert 0 <= size < 10**9
            given, self.left = self.left[:size], b""
            return given or bytes(size)

    assert "not a photo" in refusal(Endless(b"rubbish"))
    assert "MB" in refusal(Endless(FILES["jpeg"][:64]), max_megapixels=0.5)


def test_damage_is_told_without_noise(capfd: pytest.CaptureFixture[str]) -> None:
    for data in FILES.values():
        refusal(data[: len(data) * 2 // 3])
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a POSIX thing")
def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'wb').write({FILES['png']!r})"])
    assert Photo.open(pipe).width == 96
    assert writer.wait(10) == 0
