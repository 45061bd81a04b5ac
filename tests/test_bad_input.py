"""Whatever is handed over: one clear line, the right exit status, nothing written."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay import cli
from unsay.bundle import Bundle
from unsay.results import Pixels


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int) -> bytes:
    """A black PNG of side x side pixels, RGB, a thousandth of its pixels in bytes; made of one repeated block."""
    total, block = side * (3 * side + 1), 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    repeated = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = rest.compress(bytes(total % block)) + rest.flush()
    checksum = (total % 65521) << 16 | 1  # Adler-32 of `total` zeros
    data = b"\x78\xda" + repeated * (total // block) + end + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_the_huge_png_is_a_png() -> None:
    picture = cv2.imdecode(np.frombuffer(huge_png(700), np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (700, 700, 3)
    assert 1e6 < len(huge_png(20_000)) < 2e6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_spotted: Callable[..., Pixels]) -> Path:
    """One of everything that goes wrong, beside a good photo."""
    where = tmp_path_factory.mktemp("bad")
    rgb = make_spotted()
    jpeg = cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()
    files = {
        "good.jpg": jpeg,
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": cv2.imencode(".png", rgb)[1].tobytes()[:-400],
        "text.jpg": b"this is not a photo, whatever its name says\n",
        "empty.png": b"",
        "huge.png": huge_png(20_000),
        "mask-small.png": cv2.imencode(".png", np.ones((45, 60), np.uint8))[1].tobytes(),
        "mask-turned.png": cv2.imencode(".png", np.ones((120, 90), np.uint8))[1].tobytes(),
        "mask-all.png": cv2.imencode(".png", np.full((90, 120), 255, np.uint8))[1].tobytes(),
        "mask.txt": b"white",
        "all-red.png": cv2.imencode(".png", np.full((40, 40, 3), (0, 0, 250), np.uint8))[1].tobytes(),
    }
    for name, data in files.items():
        (where / name).write_bytes(data)
    (where / "folder.jpg").mkdir()
    return where


TABLE = [
    ("not a photo", "erase text.jpg red", 2, "text.jpg"),
    ("truncated JPEG", "erase truncated.jpg red", 2, "truncated.jpg"),
    ("truncated PNG", "erase truncated.png red", 2, "truncated.png"),
    ("empty file", "erase empty.png red", 2, "empty.png is empty (0 bytes)"),
    ("a folder", "erase folder.jpg red", 2, "folder.jpg is a folder"),
    ("no such photo", "erase nonesuch.jpg red", 2, "nonesuch.jpg does not exist"),
    ("400 megapixels in 1 MB", "erase huge.png red", 2, "20000 x 20000"),
    ("no such mask", "inpaint good.jpg nonesuch.png", 2, "nonesuch.png does not exist"),
    ("mask is no picture", "inpaint good.jpg mask.txt", 2, "mask.txt"),
    ("mask is a folder", "inpaint good.jpg folder.jpg", 2, "folder.jpg is a folder"),
    ("mask of another size", "inpaint good.jpg mask-small.png", 2, "the mask is 60 x 45, the photo 120 x 90"),
    ("mask turned", "inpaint good.jpg mask-turned.png", 2, "the mask is 90 x 120, the photo 120 x 90"),
    ("mask that is huge", "inpaint good.jpg huge.png", 2, "20000 x 20000"),
    ("hole that covers all", "inpaint good.jpg mask-all.png", 2, "the hole covers the whole photo (120x90)"),
    ("thing that covers all", "erase all-red.png red", 2, "covers the whole photo (40x40)"),
    ("hole grown over all", "erase good.jpg red --grow 120", 2, "grown by 120 pixels covers the whole photo"),
    ("empty word", ["erase", "good.jpg", ""], 2, "the word '' is empty"),
    ("blank word", ["erase", "good.jpg", "red", "  "], 2, "is empty: name a thing"),
    ("no word", "erase good.jpg", 2, "no word was given"),
    ("no photo", "erase", 2, "Missing argument 'PHOTO'"),
    (
        "10,000 words",
        ["erase", "good.jpg", *(f"word{i}" for i in range(10_000))],
        2,
        "10000 words were given; at most 1000",
    ),
    ("a very long word", ["erase", "good.jpg", "x" * 5000], 2, "5000 characters; at most 200"),
    ("a word with a null", ["erase", "good.jpg", "re\0d"], 3, "not found: "),
    ("not found", "erase good.jpg green", 3, "not found: green (0.10)"),
    ("segment: not found", "segment good.jpg green", 3, "not found: green (0.10)"),
    ("segment: no such format", "segment good.jpg red --format svg", 2, "no format 'svg'"),
    ("segment: wrong suffix", "segment good.jpg red --format coco -o a.png", 2, "coco cannot be written as '.png'"),
    ("negative growth", "erase good.jpg red --grow -1", 2, "grow is -1 pixels"),
    ("growth beyond the photo", "erase good.jpg red --grow 121", 2, "between 0 and 120"),
    ("onto itself", "erase good.jpg red -o good.jpg", 2, "good.jpg would replace good.jpg"),
    ("a format nobody writes", "erase good.jpg red -o out.xyz", 2, ".xyz"),
    ("into a folder that is not there", "erase good.jpg red -o no/such/out.jpg", 2, "its folder does not exist"),
    ("onto a folder", "erase good.jpg red -o folder.jpg", 2, "folder.jpg is a folder"),
    ("no such bundle", "erase good.jpg red --bundle nonesuch", 2, "no bundle 'nonesuch'"),
    ("no pixels allowed", "erase good.jpg red --max-megapixels 0", 2, "max_megapixels is 0"),
    ("too many pixels", "erase good.jpg red --max-megapixels 0.01", 2, "0.01"),
]


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def arguments_of(given: str | list[str], bundle: Bundle) -> list[str]:
    listed = given.split() if isinstance(given, str) else given
    return listed if "--bundle" in listed else [*listed, "--bundle", str(bundle.path)]


@pytest.mark.parametrize(("given", "status", "message"), [pytest.param(*row, id=name) for name, *row in TABLE])
@pytest.mark.usefixtures("colour_words")
def test_one_line_and_nothing_written(
    given: str | list[str],
    status: int,
    message: str,
    folder: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = state_of(folder)
    assert cli.main(arguments_of(given, tiny_bundle)) == status
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("unsay: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 400
    assert message in captured.err
    assert state_of(folder) == before


@pytest.mark.parametrize(
    "name", ["not a photo", "truncated JPEG", "400 megapixels in 1 MB", "empty word", "10,000 words"]
)
def test_as_a_process(name: str, folder: Path, tiny_bundle: Bundle) -> None:
    given, status, message = next(row[1:] for row in TABLE if row[0] == name)
    before = state_of(folder)
    command = [sys.executable, "-m", "unsay.cli", *arguments_of(given, tiny_bundle)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert state_of(folder) == before
