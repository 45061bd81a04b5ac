"""Writing: in one step or not at all, in the format that the name asks for."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from unsay.errors import BadInput, UnsayError
from unsay.photo import Photo, from_samples
from unsay.results import Patch

PIXELS = np.random.default_rng(3).integers(0, 256, (24, 40, 3), np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(40) * 6, np.arange(24) * 10, indexing="xy"), -1)
SMOOTH = np.dstack([SMOOTH, np.full((24, 40), 90)]).astype(np.uint8)
PATCH = Patch(4, 6, np.full((8, 10, 3), (10, 200, 30), np.uint8), np.ones((8, 10), np.float32))
SUFFIXES = [".jpg", ".jpeg", ".JPG", ".png", ".webp", ".tif", ".tiff", ".avif"]


def encoded(pixels: np.ndarray = PIXELS, suffix: str = ".png", **fields: Any) -> bytes:
    made = pyvips.Image.new_from_array(pixels)
    if pixels.shape[2] == 4 and "interpretation" in fields:
        made = made.copy(interpretation=fields.pop("interpretation"))
    for name, value in fields.items():
        kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.gint_type
        made.set_type(kind, name.replace("_", "-"), value)
    return made.write_to_buffer(suffix)


@pytest.fixture
def patched() -> Photo:
    return Photo.open(encoded()).with_patches([PATCH])


def only(folder: Path, *names: str) -> None:
    assert sorted(os.listdir(folder)) == sorted(names)


def test_saving_writes_what_encode_gives(tmp_path: Path, patched: Photo) -> None:
    written = patched.save(tmp_path / "out.png")
    assert written == tmp_path / "out.png"
    assert written.read_bytes() == patched.encode() == patched.encode()
    only(tmp_path, "out.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_an_untouched_photo_is_its_source(tmp_path: Path, suffix: str) -> None:
    data = encoded(suffix=suffix)
    photo = Photo.open(data)
    assert photo.encode() == photo.encode(suffix) == data
    assert photo.save(tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_says_the_format(tmp_path: Path, suffix: str, patched: Photo) -> None:
    photo = Photo.open(patched.save(tmp_path / f"out{suffix}"))
    assert photo.format == {"jpg": "jpeg", "tif": "tiff"}.get(suffix.lower()[1:], suffix.lower()[1:])
    assert (photo.width, photo.height) == (40, 24)
    if photo.lossless:
        np.testing.assert_array_equal(photo.rgb, patched.rgb)


def test_an_unknown_suffix_is_refused(tmp_path: Path, patched: Photo) -> None:
    for name in ("out.gif", "out.txt", "out.jp2"):
        with pytest.raises(BadInput, match=r"cannot write .*give a name that ends in"):
            patched.save(tmp_path / name)
    only(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_another_format_is_written_upright(suffix: str) -> None:
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", 6
    for source in ("JPEG", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(SMOOTH).save(stream, source, exif=exif.tobytes(), quality=95)
        photo = Photo.open(stream.getvalue()).with_patches([PATCH])
        assert (photo.width, photo.height) == (24, 40)
        output = photo.encode(suffix)
        turned = Photo.open(output)
        assert np.abs(turned.rgb.astype(int) - photo.rgb).mean() < 5
        with Image.open(io.BytesIO(output)) as opened:
            assert opened.getexif()[271] == "Maker"
            same = photo.format == turned.format
            assert opened.size == ((40, 24) if same else (24, 40)) or source == "TIFF"
        assert turned.native.orientation == (6 if same else 1)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif"])
def test_cmyk_becomes_srgb_where_there_is_no_cmyk(suffix: str) -> None:
    inks = np.zeros((24, 40, 4), np.uint8)
    inks[..., 1:3] = 90
    photo = Photo.open(encoded(inks, ".tif", interpretation="cmyk")).with_patches([PATCH])
    after = Photo.open(photo.encode(suffix))
    assert after.native.colours == 3
    assert np.abs(after.rgb.astype(int) - photo.rgb).mean() < 6


def test_16_bits_become_8_where_there_are_no_16() -> None:
    wide = PIXELS.astype(np.uint16) * 257
    made = pyvips.Image.new_from_array(wide).copy(interpretation="rgb16")
    photo = Photo.open(made.pngsave_buffer()).with_patches([PATCH])
    for suffix in (".jpg", ".webp"):
        assert Photo.open(photo.encode(suffix)).native.pixels.dtype == np.uint8
    for suffix in (".tif", ".png"):
        np.testing.assert_array_equal(Photo.open(photo.encode(suffix)).native.pixels, photo.samples())
    assert Photo.open(photo.encode(".avif")).native.bits > 8


def test_transparency_is_carried_or_refused_never_dropped(tmp_path: Path) -> None:
    alpha = np.dstack([PIXELS, np.full((24, 40), 255, np.uint8)])
    photo = Photo.open(encoded(alpha)).with_patches([PATCH])
    assert Photo.open(photo.encode(".jpg")).native.pixels.shape[2] == 3
    alpha[3, 3, 3] = 254
    photo = Photo.open(encoded(alpha)).with_patches([PATCH])
    with pytest.raises(BadInput, match="transparency"):
        photo.save(tmp_path / "out.jpg")
    only(tmp_path)
    for suffix in (".png", ".webp", ".tif", ".avif"):
        after = Photo.open(photo.encode(suffix)).native.pixels[..., 3].astype(int)
        assert np.abs(after - alpha[..., 3]).max() <= (3 if suffix == ".avif" else 0)


def test_a_side_that_the_format_cannot_hold_is_refused() -> None:
    photo = from_samples(np.zeros((2, 17000, 3), np.uint8))
    for suffix in (".webp", ".avif"):
        with pytest.raises(BadInput, match="17000"):
            photo.encode(suffix)
    assert Photo.open(photo.encode(".jpg")).width == 17000


@pytest.mark.parametrize("broken", ["write", "fsync", "replace", "chmod"])
def test_a_failure_leaves_the_old_file_whole_and_nothing_else(
    tmp_path: Path, patched: Photo, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"what was there")

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    if broken == "write":
        monkeypatch.setattr("builtins.open", fail)
    else:
        monkeypatch.setattr(os, broken, fail)
    with pytest.raises(UnsayError, match="No space left") as caught:
        patched.save(path)
    assert not isinstance(caught.value, BadInput)
    monkeypatch.undo()
    assert path.read_bytes() == b"what was there"
    only(tmp_path, "out.png")


def test_being_stopped_leaves_no_half_file(tmp_path: Path, patched: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        patched.save(tmp_path / "out.png")
    only(tmp_path)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("missing/out.png", "folder does not exist"),
        ("file/out.png", "folder does not exist"),
        (".", "is a folder"),
        ("x" * 300 + ".png", "cannot be written"),
        ("nul\0.png", "cannot be written"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, patched: Photo, path: str, what: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(BadInput, match=what) as caught:
        patched.save(f"{tmp_path}/{path}")
    assert "\n" not in str(caught.value)
    only(tmp_path, "file")


@pytest.mark.parametrize("number", [13, 1, 30])
def test_a_read_only_folder(tmp_path: Path, patched: Photo, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BadInput, match="read-only"):
        patched.save(tmp_path / "out.png")


def test_a_folder_that_may_be_written_but_not_read(
    tmp_path: Path, patched: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry cannot be flushed, but the file is there: that is no failure."""
    real = os.open

    def guarded(path: Any, flags: int, *rest: Any) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", guarded)
    assert patched.save(tmp_path / "out.png").read_bytes() == patched.encode()


def test_a_write_protected_file_stays(tmp_path: Path, patched: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"keep")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(BadInput, match="write-protected"):
        patched.save(path)
    assert path.read_bytes() == b"keep"


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a POSIX thing")
def test_permissions_and_links_are_kept(tmp_path: Path, patched: Photo) -> None:
    path, link = tmp_path / "photo.png", tmp_path / "link.png"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    patched.save(link)
    assert link.is_symlink()
    assert path.read_bytes() == patched.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        patched.save(tmp_path / "new.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.png").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a POSIX thing")
def test_a_pipe_or_device_is_not_replaced(tmp_path: Path, patched: Photo) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="ordinary file"):
        patched.save(tmp_path / "pipe")
    only(tmp_path, "pipe")


def test_the_same_photo_gives_the_same_bytes() -> None:
    for suffix in (".jpg", ".png", ".webp", ".tif", ".avif"):
        source = encoded(SMOOTH, suffix)
        outputs = {Photo.open(source).with_patches([PATCH]).encode() for _ in range(3)}
        assert len(outputs) == 1
