"""What is handed in comes back as the same kind of thing; masks of every kind become [H, W] bool."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageOps

from unsay.adapt import default_output, open_photo, read_mask
from unsay.errors import BadInput
from unsay.photo import Photo
from unsay.results import Patch

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (20, 30, 3), np.uint8)
HOLE = np.zeros((20, 30), bool)
HOLE[4:10, 7:12] = True
GREEN = (10, 200, 30)


def patch(x: int = 7, y: int = 4, w: int = 5, h: int = 6) -> Patch:
    return Patch(x, y, np.full((h, w, 3), GREEN, np.uint8), np.ones((h, w), np.float32))


def edited(source: Any) -> Any:
    photo, give = open_photo(source)
    return give(photo.with_patches([patch()]))


def png(pixels: np.ndarray = PIXELS) -> bytes:
    return pyvips.Image.new_from_array(pixels).pngsave_buffer()


def test_a_path_gives_the_path_of_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png())
    for source in (path, str(path)):
        written = edited(source)
        assert written == tmp_path / "photo.unsaid.png"
        assert (Photo.open(written).rgb[HOLE] == GREEN).all()
        assert path.read_bytes() == png()


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("a/photo.jpg", "a/photo.unsaid.jpg"),
        ("photo.JPEG", "photo.unsaid.JPEG"),
        ("my.photo.v2.tif", "my.photo.v2.unsaid.tif"),
        ("photo", "photo.unsaid"),
        (".hidden", ".hidden.unsaid"),
    ],
)
def test_the_default_output_lies_beside_the_photo(path: str, output: str) -> None:
    assert default_output(path) == Path(output)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_bytes_and_streams_give_bytes_of_the_same_format(suffix: str) -> None:
    data = pyvips.Image.new_from_array(PIXELS).write_to_buffer(suffix)
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        output = edited(source)
        assert isinstance(output, bytes)
        assert Photo.open(output).format == Photo.open(data).format


def test_an_array_gives_a_new_array() -> None:
    source = PIXELS.copy()
    output = edited(source)
    assert output.dtype == np.uint8
    assert output.flags.writeable
    np.testing.assert_array_equal(source, PIXELS)
    np.testing.assert_array_equal(output[~HOLE], PIXELS[~HOLE])
    assert (output[HOLE] == GREEN).all()
    np.testing.assert_array_equal(edited(PIXELS[:, ::-1])[~HOLE], PIXELS[:, ::-1][~HOLE])
    photo, give = open_photo(source)
    same = give(photo)
    assert not np.shares_memory(same, source)
    np.testing.assert_array_equal(same, source)


@pytest.mark.parametrize(
    "array",
    [
        PIXELS[..., 0],
        np.dstack([PIXELS, PIXELS[..., :1]]),
        PIXELS.astype(np.float32),
        PIXELS.astype(np.uint16),
        PIXELS[None],
        PIXELS[:0],
        PIXELS[:, :0],
        np.zeros((0,), np.uint8),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(BadInput, match=r"\[H, W, 3\] uint8|pixels in it"):
        open_photo(array)


@pytest.mark.parametrize("source", [None, 3, 3.5, [1, 2], object(), {"photo": 1}])
def test_other_things_are_refused(source: Any) -> None:
    with pytest.raises(BadInput, match="a photo is a path, bytes"):
        open_photo(source)
    with pytest.raises(BadInput, match="a mask is a path, bytes"):
        read_mask(source, (30, 20))


def test_the_limit_counts_for_arrays_and_pil() -> None:
    for source in (PIXELS, Image.fromarray(PIXELS), png()):
        with pytest.raises(BadInput, match="30 x 20"):
            open_photo(source, max_megapixels=0.0005)


def pil(mode: str) -> Image.Image:
    if mode.startswith("I"):
        wide = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
        return Image.fromarray(wide.astype(np.int32)) if mode == "I" else Image.fromarray(wide).convert(mode)
    if mode in ("LA", "PA", "RGBA"):
        alpha = np.dstack([PIXELS, RNG.integers(0, 256, (20, 30), np.uint8)])
        return Image.fromarray(alpha).convert(mode)
    return Image.fromarray(PIXELS).convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "I", "I;16", "I;16B"])
def test_a_pil_image_gives_a_pil_image_of_its_mode(mode: str) -> None:
    source = pil(mode)
    before = np.array(source)
    output = edited(source)
    assert isinstance(output, Image.Image)
    assert (output.mode, output.size) == (mode, (30, 20))
    after = np.array(output)
    np.testing.assert_array_equal(np.array(source), before)
    np.testing.assert_array_equal(after[~HOLE], before[~HOLE])
    assert (after[HOLE] != before[HOLE]).any()
    assert len(np.unique(after[HOLE].reshape(30, -1)[:, 0])) == 1
    if mode in ("LA", "PA", "RGBA"):
        np.testing.assert_array_equal(after[..., -1], before[..., -1])
    if mode in ("RGB", "RGBA"):
        assert (after[HOLE][:, :3] == GREEN).all()
    unpatched, give = open_photo(source)
    assert give(unpatched).tobytes() == source.tobytes()


def test_a_palette_is_kept_and_its_nearest_visible_entry_taken() -> None:
    source = Image.new("P", (30, 20), 3)
    source.putpalette([10, 200, 31, 12, 198, 30, 200, 0, 0, 90, 90, 90])
    source.info["transparency"] = 0
    output = edited(source)
    assert output.getpalette() == source.getpalette()
    assert output.info["transparency"] == 0
    assert (np.array(output)[HOLE] == 1).all()
    assert (np.array(output)[~HOLE] == 3).all()


@pytest.mark.parametrize("mode", ["F", "HSV", "LAB", "YCbCr"])
def test_other_pil_modes_are_refused(mode: str) -> None:
    source = Image.new(mode, (30, 20))
    with pytest.raises(BadInput, match="convert it to RGB first"):
        open_photo(source)


def test_32_bit_pil_images_beyond_16_bits_are_refused() -> None:
    with pytest.raises(BadInput, match=r"0\.\.65535"):
        open_photo(Image.fromarray(np.full((4, 4), 70000, np.int32)))


def test_a_damaged_pil_image_is_refused() -> None:
    opened = Image.open(io.BytesIO(png()[:400]))
    with pytest.raises(BadInput, match="cannot be read"):
        open_photo(opened)


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_pil_image_s_orientation_counts(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG", exif=exif.tobytes())
    source = Image.open(stream)
    upright = np.array(ImageOps.exif_transpose(source))
    photo, give = open_photo(source)
    np.testing.assert_array_equal(photo.rgb, upright)
    output = give(photo.with_patches([patch()]))
    assert output.size == source.size
    turned = np.array(ImageOps.exif_transpose(output))
    assert (turned[4:10, 7:12] == GREEN).all()
    assert (turned != upright).any(axis=2).sum() <= 30
    assert output.getexif()[274] == orientation


def test_a_pil_image_keeps_its_profile_and_loses_its_thumbnail() -> None:
    thumbnail = pyvips.Image.new_from_array(PIXELS).jpegsave_buffer(keep="none")
    icc = pyvips.Image.new_from_array(PIXELS).icc_transform("p3").get("icc-profile-data")
    source = Image.fromarray(PIXELS)
    directory = b"\x01\0\x0f\x01\x02\0\x04\0\0\0Cam\0" + (26).to_bytes(4, "little")
    second = b"\x02\0\x01\x02\x04\0\x01\0\0\0\x38\0\0\0\x02\x02\x04\0\x01\0\0\0" + len(thumbnail).to_bytes(4, "little")
    source.info = {
        "icc_profile": icc,
        "exif": b"Exif\0\0II*\0\x08\0\0\0" + directory + second + bytes(4) + thumbnail,
        "photoshop": {1036: thumbnail, 1005: b"resolution"},
        "xmp": b"<xmp:Thumbnails>x</xmp:Thumbnails><dc:title/>",
        "mp": "multi-picture index",
        "dpi": (72, 72),
    }
    output = edited(source)
    assert output.info["icc_profile"] == icc
    assert output.info["photoshop"] == {1005: b"resolution"}
    assert output.info["xmp"] == b"<dc:title/>"
    assert output.info["dpi"] == (72, 72)
    assert "mp" not in output.info
    assert b"Cam\0" in output.info["exif"]
    assert thumbnail[:30] not in output.info["exif"]
    assert thumbnail in source.info["exif"]
    assert (np.array(output)[HOLE] != GREEN).any()  # the colours are those of its profile


def test_pil_is_not_imported_unless_it_is_used() -> None:
    code = (
        "import sys, numpy as np\n"
        "from unsay.adapt import open_photo, read_mask\n"
        "photo, give = open_photo(np.zeros((4, 5, 3), np.uint8))\n"
        "give(photo); read_mask(np.zeros((4, 5), bool), (5, 4))\n"
        "assert not {'PIL', 'torch', 'skimage', 'cv2', 'scipy'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def mask_pixels(bands: int, dtype: type = np.uint8) -> np.ndarray:
    pixels = np.zeros((20, 30, bands), dtype)
    pixels[HOLE, 0] = 1
    return pixels


def test_masks_from_arrays() -> None:
    for mask in (HOLE, HOLE.astype(np.uint8), HOLE * np.uint8(255), mask_pixels(1), mask_pixels(3), HOLE[..., None]):
        read = read_mask(mask, (30, 20))
        assert read.dtype == np.bool_
        np.testing.assert_array_equal(read, HOLE)


@pytest.mark.parametrize("mask", [HOLE.astype(np.float32), HOLE.astype(int), mask_pixels(4), HOLE[None], HOLE[0]])
def test_other_mask_arrays_are_refused(mask: np.ndarray) -> None:
    with pytest.raises(BadInput, match="mask array"):
        read_mask(mask, (30, 20))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_from_files_count_any_colour_and_no_alpha(tmp_path: Path, suffix: str, bands: int, dtype: type) -> None:
    pixels = mask_pixels(bands, dtype)
    if bands in (2, 4):
        pixels[..., -1] = 77
    made = pyvips.Image.new_from_array(pixels)
    kinds = {1: "b-w", 2: "b-w", 3: "srgb", 4: "srgb"} if dtype == np.uint8 else {1: "grey16", 2: "grey16"}
    made = made.copy(interpretation=kinds.get(bands, "rgb16"))
    data = made.write_to_buffer(suffix)
    (tmp_path / "mask").write_bytes(data)
    for source in (data, tmp_path / "mask", str(tmp_path / "mask"), io.BytesIO(data)):
        np.testing.assert_array_equal(read_mask(source, (30, 20)), HOLE)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_a_lossy_mask_s_noise_does_not_count(suffix: str) -> None:
    large = np.roll(np.kron(HOLE, np.ones((16, 16), bool)), 5, (0, 1))  # off the coder's blocks, which makes it ring
    data = pyvips.Image.new_from_array((large * 255).astype(np.uint8)).write_to_buffer(suffix, Q=40)
    read = read_mask(data, (480, 320))
    assert (read != large).mean() < 0.002
    assert Photo.open(data).rgb[~large].any()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"])
def test_masks_from_pil(mode: str) -> None:
    grey = Image.fromarray((HOLE * 255).astype(np.uint8))
    mask = Image.fromarray(HOLE.astype(np.uint16)) if mode == "I;16" else grey.convert(mode)
    if mode in ("LA", "RGBA"):
        mask.putalpha(50)
    np.testing.assert_array_equal(read_mask(mask, (30, 20)), HOLE)
    with pytest.raises(BadInput, match="mode 'F'"):
        read_mask(grey.convert("F"), (30, 20))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_read_the_way_up_it_is_looked_at(orientation: int) -> None:
    made = pyvips.Image.new_from_array(mask_pixels(1))
    made.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    wanted = made.autorot().numpy().reshape(30 if orientation >= 5 else 20, -1) > 0
    np.testing.assert_array_equal(read_mask(made.pngsave_buffer(), wanted.shape[::-1]), wanted)


def test_a_mask_of_another_size_names_both() -> None:
    for mask in (HOLE.T, png(), Image.fromarray(PIXELS), HOLE[:0]):
        with pytest.raises(BadInput, match=r"the mask is \d+ x \d+, the photo 40 x 20"):
            read_mask(mask, (40, 20))


def test_a_missing_or_broken_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        read_mask(tmp_path / "mask.png", (30, 20))
    with pytest.raises(BadInput, match=r"the mask given as bytes .* again"):
        read_mask(png()[:-30], (30, 20))
