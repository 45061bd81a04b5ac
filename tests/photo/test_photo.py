"""A photo's samples, seen as sRGB the way up it is looked at, and patches laid over them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unsay.errors import BadInput
from unsay.photo import Photo, from_samples
from unsay.photo.colour import ColourSpace
from unsay.photo.native import Native
from unsay.results import Patch

HEIGHT, WIDTH = 22, 31
BOX = (5, 9, 11, 6)  # x, y, width, height in displayed pixels


def picture(bands: int, dtype: type, seed: int = 0) -> np.ndarray:
    """Noise with a bright corner, so that no turn or flip of it is the same picture."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, bands)).astype(dtype)
    pixels[:4, :6] = np.iinfo(dtype).max
    return pixels


def profile(name: str) -> bytes:
    return pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_transform(name).get("icc-profile-data")


def image(pixels: np.ndarray, orientation: int | None = None, icc: bytes | None = None) -> Any:
    wide = pixels.dtype == np.uint16
    kind = {1: "grey16" if wide else "b-w", 2: "grey16" if wide else "b-w"}.get(
        pixels.shape[2], "rgb16" if wide else "srgb"
    )
    made = pyvips.Image.new_from_array(pixels).copy(interpretation=kind)
    if orientation is not None:
        made.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    if icc is not None:
        made.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    return made


def stored(data: bytes) -> np.ndarray:
    """The samples of a file as libvips reads them, in stored orientation."""
    pixels = pyvips.Image.new_from_buffer(data, "").numpy()
    return pixels if pixels.ndim == 3 else pixels[..., None]


def looked_at(data: bytes) -> np.ndarray:
    """The samples of a file turned upright by libvips, not by us."""
    pixels = pyvips.Image.new_from_buffer(data, "").autorot().numpy()
    return pixels if pixels.ndim == 3 else pixels[..., None]


def box_patch(weight: float = 1.0, colour: tuple[int, int, int] = (250, 10, 120)) -> Patch:
    x, y, w, h = BOX
    return Patch(x, y, np.full((h, w, 3), colour, np.uint8), np.full((h, w), weight, np.float32))


def outside(shape: tuple[int, ...]) -> np.ndarray:
    x, y, w, h = BOX
    mask = np.ones(shape[:2], bool)
    mask[y : y + h, x : x + w] = False
    return mask


SAVERS = {
    "png": lambda made: made.pngsave_buffer(),
    "tiff": lambda made: made.tiffsave_buffer(compression="lzw"),
    "webp": lambda made: made.webpsave_buffer(lossless=True, exact=True),
}
EXACT = [
    *[
        (suffix, 3, dtype, turn)
        for suffix in ("png", "tiff")
        for dtype in (np.uint8, np.uint16)
        for turn in range(1, 9)
    ],
    *[("webp", 3, np.uint8, turn) for turn in range(1, 9)],
    *[(s, bands, d, 6) for s in ("png", "tiff") for bands in (1, 2, 4) for d in (np.uint8, np.uint16)],
    ("webp", 4, np.uint8, 1),
]


@pytest.mark.parametrize(("suffix", "bands", "dtype", "orientation"), EXACT)
def test_samples_outside_the_patch_are_the_source_s_own(suffix: str, bands: int, dtype: type, orientation: int) -> None:
    source = SAVERS[suffix](image(picture(bands, dtype), orientation))
    output = Photo.open(source).with_patches([box_patch()]).encode()
    before, after = looked_at(source), looked_at(output)
    assert after.dtype == before.dtype == dtype
    assert after.shape == before.shape
    keep = outside(before.shape)
    np.testing.assert_array_equal(after[keep], before[keep])
    assert pyvips.Image.new_from_buffer(output, "").get("orientation") == orientation
    if bands in (2, 4):
        np.testing.assert_array_equal(after[..., -1], before[..., -1])
    if bands >= 3:
        fill = np.array([250, 10, 120]) * (257 if dtype == np.uint16 else 1)
        assert (after[~keep][:, :3] == fill).all()
    else:
        assert len(np.unique(after[~keep][:, 0])) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rgb_is_what_a_viewer_shows(orientation: int) -> None:
    source = image(picture(3, np.uint8), orientation).pngsave_buffer()
    photo = Photo.open(source)
    np.testing.assert_array_equal(photo.rgb, looked_at(source))
    assert (photo.height, photo.width) == photo.rgb.shape[:2]
    assert photo.rgb.flags.c_contiguous
    assert not photo.rgb.flags.writeable


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_patch_coordinates_are_those_of_rgb(suffix: str, orientation: int) -> None:
    flat = np.full((40, 64, 3), 90, np.uint8)
    source = image(flat, orientation).write_to_buffer(suffix)
    photo = Photo.open(source)
    patch = Patch(8, 16, np.full((16, 8, 3), (200, 90, 90), np.uint8), np.ones((16, 8), np.float32))
    rgb = Photo.open(photo.with_patches([patch]).encode()).rgb.astype(int)
    red = rgb[..., 0] > 150
    assert red[18:30, 10:14].all()
    red[12:36, 4:20] = False
    assert not red.any()


@pytest.mark.parametrize("bands", [1, 3])
def test_16_bit_and_grey_are_narrowed_and_expanded(bands: int) -> None:
    pixels = picture(bands, np.uint16)
    rgb = Photo.open(image(pixels).pngsave_buffer()).rgb
    np.testing.assert_array_equal(rgb, np.broadcast_to(pixels >> 8, rgb.shape))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_wide_gamut_profile_is_followed_both_ways(suffix: str, dtype: type) -> None:
    icc = profile("p3")
    source = SAVERS[suffix](image(picture(3, dtype), icc=icc))
    photo = Photo.open(source)
    shown = pyvips.Image.new_from_buffer(source, "").icc_transform("srgb", embedded=True, intent="relative", depth=8)
    assert np.abs(photo.rgb.astype(int) - shown.numpy()).max() <= 1
    patched = photo.with_patches([box_patch(colour=(180, 90, 60))])
    after = Photo.open(patched.encode())
    assert after.native.icc == icc
    keep = outside(after.rgb.shape)
    assert np.abs(after.rgb[~keep].astype(int) - (180, 90, 60)).max() <= 2
    np.testing.assert_array_equal(after.native.pixels[keep], photo.native.pixels[keep])
    assert not (after.native.pixels[~keep] == np.array([180, 90, 60]) * (257 if dtype == np.uint16 else 1)).all()


@pytest.mark.parametrize("icc", [profile("srgb"), b"not a profile at all" * 20, profile("p3")[:200], profile("cmyk")])
def test_a_profile_that_says_nothing_leaves_the_colours_as_they_are(icc: bytes) -> None:
    photo = Photo.open(image(picture(3, np.uint8), icc=icc).pngsave_buffer())
    np.testing.assert_array_equal(photo.rgb, photo.native.pixels)


def test_cmyk_jpeg_keeps_its_inks_and_profile() -> None:
    icc = profile("cmyk")
    inks = np.full((64, 64, 4), (20, 120, 200, 10), np.uint8)
    cmyk = pyvips.Image.new_from_array(inks).copy(interpretation="cmyk")
    cmyk.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    photo = Photo.open(cmyk.jpegsave_buffer(Q=95))
    assert np.ptp(photo.rgb.reshape(-1, 3), axis=0).max() <= 2
    patch = Patch(16, 16, np.full((16, 16, 3), (60, 90, 160), np.uint8), np.ones((16, 16), np.float32))
    after = Photo.open(photo.with_patches([patch]).encode())
    assert after.native.colours == 4
    assert after.native.icc == icc
    assert np.abs(after.rgb[20:28, 20:28].astype(int) - (60, 90, 160)).max() <= 6
    assert np.abs(after.native.pixels[40:].astype(int) - inks[40:]).max() <= 2


def test_cmyk_without_profile_uses_the_built_in_one() -> None:
    inks = np.full((32, 32, 4), (0, 200, 200, 0), np.uint8)
    photo = Photo.open(pyvips.Image.new_from_array(inks).copy(interpretation="cmyk").tiffsave_buffer())
    red = photo.rgb[0, 0].astype(int)
    assert red[0] > 180
    assert red[1] < 130
    after = Photo.open(photo.with_patches([box_patch(colour=(90, 110, 130))]).encode())
    assert np.abs(after.rgb[10, 8].astype(int) - (90, 110, 130)).max() <= 3
    np.testing.assert_array_equal(after.native.pixels[20:], inks[20:])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colours", [1, 3])
def test_every_grey_survives_the_way_to_srgb_and_back(colours: int, dtype: type) -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    space = ColourSpace(colours)
    samples = space.from_srgb(greys, dtype)
    np.testing.assert_array_equal(samples[0, :, 0], np.arange(256) * (257 if dtype == np.uint16 else 1))
    np.testing.assert_array_equal(space.to_srgb(samples), greys)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from([1, 3]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_blending_is_the_weighted_mean_where_there_is_weight(
    orientation: int, dtype: type, colours: int, w: int, h: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, np.iinfo(dtype).max + 1, (10, 12, colours + 1)).astype(dtype)
    photo = Photo(Native(before.copy(), colours, orientation))
    x, y = int(rng.integers(0, photo.width - w + 1)), int(rng.integers(0, photo.height - h + 1))
    weight = (rng.random((h, w)) * rng.integers(0, 2, (h, w))).astype(np.float32)
    rgb = rng.integers(0, 256, (h, w, 3), np.uint8)
    after = photo.with_patches([Patch(x, y, rgb, weight)]).samples()
    np.testing.assert_array_equal(photo.native.pixels, before)
    fill = ColourSpace(colours).from_srgb(rgb, dtype)

    def upright(pixels: np.ndarray) -> np.ndarray:
        return image(pixels, orientation).autorot().numpy()

    old, new = upright(before)[y : y + h, x : x + w], upright(after)[y : y + h, x : x + w]
    share = weight[..., None].astype(np.float64)
    np.testing.assert_array_equal(new[..., :colours], np.rint(old[..., :colours] * (1 - share) + fill * share))
    np.testing.assert_array_equal(new[weight == 0], old[weight == 0])
    np.testing.assert_array_equal(new[..., colours:], old[..., colours:])
    assert (upright(before) != upright(after)).sum() == (old != new).sum()


def test_patches_are_laid_in_order_and_strips_meet() -> None:
    photo = from_samples(np.zeros((700, 900, 3), np.uint8))
    fill = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)
    patched = photo.with_patches([Patch(0, 0, fill, np.ones((700, 900), np.float32))]).with_patches([box_patch()])
    x, y, w, h = BOX
    fill[y : y + h, x : x + w] = (250, 10, 120)
    np.testing.assert_array_equal(patched.rgb, fill)
    assert len(patched.patches) == 2
    assert not photo.rgb.any()


def test_a_patch_without_weight_is_no_patch() -> None:
    source = image(picture(3, np.uint8)).jpegsave_buffer()
    photo = Photo.open(source).with_patches([box_patch(weight=0)])
    assert photo.patches == ()
    assert photo.encode() == source


@pytest.mark.parametrize(
    "patch",
    [
        Patch(30, 0, np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32)),
        Patch(-1, 0, np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32)),
        Patch(0, 0, np.zeros((2, 2, 3), np.uint8), np.ones((2, 3), np.float32)),
        Patch(0, 0, np.zeros((2, 2, 4), np.uint8), np.ones((2, 2), np.float32)),
        Patch(0, 0, np.zeros((2, 2, 3), np.float32), np.ones((2, 2), np.float32)),
        Patch(0, 0, np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 1.5, np.float32)),
        Patch(0, 0, np.zeros((2, 2, 3), np.uint8), np.full((2, 2), np.nan, np.float32)),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(patch: Patch) -> None:
    with pytest.raises(BadInput, match="patch"):
        from_samples(picture(3, np.uint8)).with_patches([patch])


def test_format_and_lossless_are_told() -> None:
    made = image(picture(3, np.uint8))
    told = {
        "jpeg": (made.jpegsave_buffer(), False),
        "png": (made.pngsave_buffer(), True),
        "tiff": (made.tiffsave_buffer(), True),
        "avif": (made.heifsave_buffer(compression="av1", effort=0), False),
    }
    for name, (data, lossless) in told.items():
        photo = Photo.open(data)
        assert (photo.format, photo.lossless) == (name, lossless)
    assert Photo.open(made.webpsave_buffer(lossless=True)).lossless
    assert not Photo.open(made.webpsave_buffer()).lossless


def test_sources_path_bytes_and_stream_are_read_alike_and_left_alone(tmp_path: Any) -> None:
    data = image(picture(3, np.uint8)).pngsave_buffer()
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    photos = [Photo.open(s) for s in (path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data))]
    for photo in photos:
        photo.with_patches([box_patch()]).encode()
        np.testing.assert_array_equal(photo.rgb, photos[0].rgb)
    assert path.read_bytes() == data


def test_10_bit_avif_and_display_p3_by_numbers() -> None:
    made = image(np.full((64, 64, 3), 40000, np.uint16))
    data = made.heifsave_buffer(compression="av1", bitdepth=10, effort=0, Q=95)
    photo = Photo.open(data)
    assert (photo.native.bits, photo.native.pixels.dtype) == (10, np.uint16)
    after = Photo.open(photo.with_patches([box_patch()]).encode())
    assert after.native.bits == 10
    assert np.abs(after.native.pixels[40:].astype(int) - photo.native.pixels[40:]).max() < 300


@pytest.mark.parametrize("suffix", ["PNG", "TIFF"])
def test_palettes_and_bilevel_pictures_become_plain_samples(suffix: str) -> None:
    source = Image.fromarray(picture(3, np.uint8))
    for mode in ("P", "1", "L"):
        stream = io.BytesIO()
        source.convert(mode).save(stream, suffix)
        photo = Photo.open(stream.getvalue())
        np.testing.assert_array_equal(photo.rgb, np.array(source.convert(mode).convert("RGB")))
        after = Photo.open(photo.with_patches([box_patch()]).encode())
        keep = outside(photo.rgb.shape)
        np.testing.assert_array_equal(after.rgb[keep], photo.rgb[keep])
