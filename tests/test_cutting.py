from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

import unsay
from unsay.bundle import Bundle
from unsay.cutting import SUFFIXES, cut_out
from unsay.errors import BadInput, NotFound
from unsay.options import EraseOptions, InpaintOptions
from unsay.photo import Photo
from unsay.photo.native import displayed, stored
from unsay.results import Mask, Pixels
from unsay.verbs import run_cutout

Make = Callable[..., Pixels]


def square(height: int = 90, width: int = 120) -> Mask:
    mask = np.zeros((height, width), bool)
    mask[20:50, 30:80] = True
    return mask


INSIDE = (slice(22, 48), slice(32, 78))


def read(data: bytes) -> np.ndarray:
    return np.asarray(pyvips.Image.new_from_buffer(data, "").numpy())


def vips(rgb: np.ndarray, interpretation: str = "srgb") -> Any:
    return pyvips.Image.new_from_array(np.ascontiguousarray(rgb)).copy(interpretation=interpretation)


def wide(rgb: Pixels) -> np.ndarray:
    return rgb.astype(np.uint16) * 257 - (rgb[..., :1] // 3)


SOURCES: dict[str, Callable[[Pixels], bytes]] = {
    "png": lambda rgb: vips(rgb).pngsave_buffer(),
    "png16": lambda rgb: vips(wide(rgb), "rgb16").pngsave_buffer(bitdepth=16),
    "grey": lambda rgb: vips(rgb[..., 1], "b-w").pngsave_buffer(),
    "tiff16": lambda rgb: vips(wide(rgb), "rgb16").tiffsave_buffer(compression="lzw"),
    "webp": lambda rgb: vips(rgb).webpsave_buffer(lossless=True),
    "jpeg": lambda rgb: vips(rgb).jpegsave_buffer(),
}


def tiff_with_alpha(rgba: np.ndarray, kind: int) -> bytes:
    """A TIFF whose fourth channel is said to be of `kind`: 0 of no meaning, 1 alpha that is in the colours."""
    data = bytearray(vips(rgba).tiffsave_buffer())
    struct.pack_into("<H", data, data.index(struct.pack("<HHI", 338, 3, 1)) + 8, kind)
    return bytes(data)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_what_is_kept_is_the_photos_own(make_spotted: Make, source: str, suffix: str) -> None:
    data = SOURCES[source](make_spotted())
    before, after = read(data).reshape(90, 120, -1), read(cut_out(Photo.open(data), square(), suffix=suffix))
    assert after.dtype == before.dtype
    assert after.shape == (90, 120, before.shape[2] + 1)
    alpha, full = after[..., -1], np.iinfo(after.dtype).max
    np.testing.assert_array_equal(after[alpha > 0][:, :-1], before[alpha > 0])
    assert (alpha[INSIDE] == full).all()
    assert not after[~square()].any()
    assert ((alpha > 0) == square()).all()
    assert 0 < alpha[20, 50] < full


def test_webp_keeps_every_sample_too(make_spotted: Make) -> None:
    for source in ("png16", "jpeg"):
        photo = Photo.open(SOURCES[source](make_spotted()))
        after = read(cut_out(photo, square(), suffix=".webp"))
        assert after.shape == (90, 120, 4)
        native = photo.native.pixels >> (8 if photo.native.pixels.dtype == np.uint16 else 0)
        np.testing.assert_array_equal(after[INSIDE][..., :3], native[INSIDE])
        assert not after[~square()].any()


@pytest.mark.parametrize("suffix", [".jpg", ".avif", ".heic", ".gif", ""])
def test_formats_without_transparency_are_refused(make_spotted: Make, suffix: str) -> None:
    photo = Photo.open(SOURCES["png"](make_spotted()))
    with pytest.raises(BadInput, match=r"cannot hold a cut-out and its transparency: use \.png, \.webp, \.tif, \.tiff"):
        cut_out(photo, square(), suffix=suffix)
    assert len(SUFFIXES) == 4


def test_transparency_that_was_there_stays(make_spotted: Make) -> None:
    alpha = np.full((90, 120, 1), 255, np.uint8)
    alpha[:, :60] = 100
    alpha[:, :40] = 0
    data = vips(np.dstack([make_spotted(), alpha])).pngsave_buffer()
    after = read(cut_out(Photo.open(data), square()))
    assert not after[:, :40].any()
    assert (after[25:45, 42:58, 3] == 100).all()
    assert (after[25:45, 62:76, 3] == 255).all()
    assert after[20, 50, 3] == 50


def test_colours_that_were_multiplied_with_alpha_fade_with_it(make_spotted: Make) -> None:
    """A TIFF of associated alpha: the tag stays, so the colours of the rim must be multiplied too."""
    rgba = np.dstack([make_spotted(), np.full((90, 120), 255, np.uint8)])
    source = tiff_with_alpha(rgba, 1)
    after = cut_out(Photo.open(source), square(), suffix=".tif")
    with Image.open(io.BytesIO(after)) as image:
        assert image.tag_v2[338] == (1,)
    samples = Photo.open(after).native.pixels
    np.testing.assert_array_equal(samples[20, 40:70, :3], np.rint(rgba[20, 40:70, :3] * 0.5))
    plain = Photo.open(cut_out(Photo.open(source), square(), suffix=".png")).native.pixels
    np.testing.assert_array_equal(plain[20, 40:70, :3], rgba[20, 40:70, :3])


def test_an_extra_channel_of_no_meaning_becomes_alpha(make_spotted: Make) -> None:
    rgba = np.dstack([make_spotted(), np.full((90, 120), 255, np.uint8)])
    with Image.open(io.BytesIO(cut_out(Photo.open(tiff_with_alpha(rgba, 0)), square(), suffix=".tif"))) as image:
        assert image.tag_v2[338] == (2,)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("crop", [False, True])
def test_the_mask_is_as_displayed(make_spotted: Make, orientation: int, form: str, crop: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(make_spotted()).save(stream, form, exif=exif, **({"quality": 98} if form == "JPEG" else {}))
    photo = Photo.open(stream.getvalue())
    mask = np.zeros((photo.height, photo.width), bool)
    mask[10:40, 20:30] = True
    after = Photo.open(cut_out(photo, mask, crop=crop))
    alpha = displayed(after.native.pixels[..., 3], after.native.orientation)
    if crop:
        assert (after.width, after.height) == (10, 30)
        assert (alpha > 0).all()
        np.testing.assert_array_equal(after.rgb, photo.rgb[10:40, 20:30])
    else:
        np.testing.assert_array_equal(alpha > 0, mask)
        np.testing.assert_array_equal(after.rgb[mask], photo.rgb[mask])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_is_the_reverse_of_displayed(orientation: int) -> None:
    array = np.arange(24).reshape(4, 6)
    np.testing.assert_array_equal(stored(displayed(array, orientation), orientation), array)


def test_metadata_stays_without_its_pictures(make_spotted: Make) -> None:
    icc = bytes(vips(make_spotted()).icc_transform("p3").get("icc-profile-data"))
    thumbnail = io.BytesIO()
    Image.fromarray(make_spotted()).resize((40, 30)).save(thumbnail, "JPEG")
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    stream = io.BytesIO()
    Image.fromarray(make_spotted()).save(stream, "JPEG", exif=exif.tobytes() + thumbnail.getvalue(), icc_profile=icc)
    for suffix in (".png", ".webp", ".tiff"):
        after = cut_out(Photo.open(stream.getvalue()), square(), suffix=suffix)
        assert thumbnail.getvalue()[-200:-100] not in after
        with Image.open(io.BytesIO(after)) as image:
            assert image.info["icc_profile"] == icc
            assert image.getexif()[0x010F] == "Maker of cameras"


def test_masks_that_cannot_be(make_spotted: Make) -> None:
    photo = Photo.open(SOURCES["png"](make_spotted()))
    with pytest.raises(BadInput, match="the mask is 9 x 5, the photo 120 x 90"):
        cut_out(photo, np.ones((5, 9), bool))
    with pytest.raises(BadInput, match="marks none of the 10800 pixels"):
        cut_out(photo, np.zeros((90, 120), bool))
    whole = read(cut_out(photo, np.ones((90, 120), bool)))
    assert (whole[..., 3] == 255).all()


def test_a_line_of_one_pixel_does_not_vanish(make_spotted: Make) -> None:
    mask = np.zeros((90, 120), bool)
    mask[45] = True
    assert (read(cut_out(Photo.open(SOURCES["png"](make_spotted())), mask))[45, :, 3] >= 100).all()


# --- the verb ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path, make_spotted: Make) -> Path:
    path = tmp_path / "photo.jpg"
    vips(make_spotted()).jpegsave(str(path), Q=98, subsample_mode="off")
    return path


@pytest.mark.usefixtures("colour_words")
class TestVerb:
    def test_a_path_gives_a_png_beside_it(self, tiny_bundle: Bundle, photo: Path) -> None:
        before = photo.read_bytes()
        out = unsay.cutout(photo, "red", bundle=tiny_bundle)
        assert out == photo.with_name("photo.cutout.png")
        assert photo.read_bytes() == before
        after = read(out.read_bytes())
        assert after.shape == (90, 120, 4)
        assert after[30, 40, 3] == 255
        assert not after[80, 90].any()

    def test_several_words_and_growing(self, tiny_bundle: Bundle, make_spotted: Make) -> None:
        one = unsay.cutout(make_spotted(), "red", bundle=tiny_bundle)
        both = unsay.cutout(make_spotted(), ["red", "blue"], bundle=tiny_bundle)
        grown = unsay.cutout(make_spotted(), "red", grow=4, bundle=tiny_bundle)
        shares = [float((out[..., 3] > 0).mean()) for out in (one, both, grown)]
        assert shares[0] < shares[2] < 1
        assert shares[0] < shares[1] < 1

    def test_the_same_kind_comes_back_with_alpha(self, tiny_bundle: Bundle, photo: Path, make_spotted: Make) -> None:
        array = unsay.cutout(make_spotted(), "red", bundle=tiny_bundle)
        assert (array.shape, array.dtype) == ((90, 120, 4), np.uint8)
        np.testing.assert_array_equal(array[30, 40], [*make_spotted()[30, 40], 255])
        data = unsay.cutout(photo.read_bytes(), "red", bundle=tiny_bundle)
        assert data == Path(unsay.cutout(photo, "red", bundle=tiny_bundle)).read_bytes()
        with Image.open(photo) as image:
            cut = unsay.cutout(image, "red", bundle=tiny_bundle)
        assert cut.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(cut), read(data))
        stream = io.BytesIO()
        assert unsay.cutout(photo, "red", bundle=tiny_bundle, output=stream) is None
        assert stream.getvalue() == data

    def test_report(self, tiny_bundle: Bundle, photo: Path) -> None:
        options = EraseOptions(inpaint=InpaintOptions(grow=2))
        outcome = run_cutout(photo, ["red", "green"], options, bundle=tiny_bundle, crop=True)
        details = outcome.report.details
        assert (outcome.report.verb, outcome.report.output) == ("cutout", str(photo.with_name("photo.cutout.png")))
        assert (details["found"], details["not_found"], details["crop"]) == (["red"], ["green"], True)
        assert details["constants"] == {"threshold": 0.5, "box": None, "point": None, "grow": 2, "feather": 1}
        x, y, width, height = details["kept_box"]
        assert read(outcome.value.read_bytes()).shape == (height, width, 4)
        assert outcome.hole[y : y + height, x : x + width].sum() == outcome.hole.sum()
        assert details["kept_share"] == pytest.approx(outcome.hole.mean(), abs=1e-5)

    def test_what_is_refused_leaves_nothing(self, tiny_bundle: Bundle, photo: Path) -> None:
        with pytest.raises(NotFound):
            unsay.cutout(photo, "green", bundle=tiny_bundle)
        with pytest.raises(BadInput, match=r"a\.jpg cannot hold a cut-out and its transparency: use \.png"):
            unsay.cutout(photo, "red", bundle=tiny_bundle, output=photo.with_name("a.jpg"))
        renamed = photo.rename(photo.with_name("photo.png"))
        with pytest.raises(BadInput, match="would replace"):
            unsay.cutout(renamed, "red", bundle=tiny_bundle, output=renamed)
        with pytest.raises(BadInput, match="its folder does not exist"):
            unsay.cutout(renamed, "red", bundle=tiny_bundle, output=photo.parent / "no" / "a.png")
        with pytest.raises(BadInput, match="grow is -1"):
            unsay.cutout(renamed, "red", bundle=tiny_bundle, grow=-1)
        assert os.listdir(photo.parent) == ["photo.png"]
