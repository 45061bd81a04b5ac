"""Each format is written the way the file was: compression, tables, sampling, depth, kind of alpha, colours."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import pyvips
from PIL import Image

from unsay.errors import BadInput
from unsay.photo import Photo
from unsay.results import Patch

SCENE = np.full((48, 64, 3), (90, 120, 150), np.uint8)
SCENE[8:24, 8:24] = (230, 20, 20)
ERASE = Patch(8, 8, np.full((16, 16, 3), (90, 120, 150), np.uint8), np.ones((16, 16), np.float32))


@pytest.mark.parametrize("kind", [1, 2])
def test_tiff_alpha_stays_of_its_kind_and_bigtiff_is_read(kind: int) -> None:
    alpha = np.dstack([SCENE, np.full(SCENE.shape[:2], 200, np.uint8)])
    source = bytearray(pyvips.Image.new_from_array(alpha).tiffsave_buffer(bigtiff=True, keep="none"))
    at = source.index(struct.pack("<HHQ", 338, 3, 1))
    struct.pack_into("<H", source, at + 12, kind)
    output = Photo.open(bytes(source)).with_patches([ERASE]).encode()
    with Image.open(io.BytesIO(output)) as opened:
        assert opened.tag_v2[338] == (kind,)
    np.testing.assert_array_equal(Photo.open(output).native.pixels[24:], alpha[24:])


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits", "jpeg"])
def test_tiff_compression_is_kept_where_it_is_lossless(compression: str) -> None:
    source = pyvips.Image.new_from_array(SCENE).tiffsave_buffer(compression=compression, predictor="none")
    output = Photo.open(source).with_patches([ERASE]).encode()
    with Image.open(io.BytesIO(source)) as before, Image.open(io.BytesIO(output)) as after:
        assert after.tag_v2[259] == (8 if compression == "jpeg" else before.tag_v2[259])
        np.testing.assert_array_equal(np.array(after)[24:], np.array(before)[24:])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_coding_is_the_file_s_own(subsampling: int, progressive: bool) -> None:
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, "JPEG", quality=83, subsampling=subsampling, progressive=progressive)
    output = Image.open(io.BytesIO(Photo.open(stream.getvalue()).with_patches([ERASE]).encode()))
    before = Image.open(stream)
    assert output.quantization == before.quantization
    assert bool(output.info.get("progressive")) is progressive
    assert [layer[1:3] for layer in output.layer] == [layer[1:3] for layer in before.layer]


def test_a_grey_jpeg_stays_grey() -> None:
    source = pyvips.Image.new_from_array(SCENE[..., 0].copy()).jpegsave_buffer()
    photo = Photo.open(source)
    output = photo.with_patches([ERASE]).encode()
    assert Image.open(io.BytesIO(output)).mode == "L"
    assert Photo.open(output).rgb.shape == SCENE.shape


def test_avif_in_display_p3_gets_its_profile_and_hdr_is_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, "AVIF", quality=90)
    data = stream.getvalue()
    at = data.index(b"colrnclx") + 8
    wide = Photo.open(data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :])
    assert wide.native.icc is not None
    assert wide.rgb[10, 10, 0] > wide.native.pixels[10, 10, 0]
    assert Photo.open(wide.with_patches([ERASE]).encode()).native.icc == wide.native.icc
    for primaries, transfer in ((9, 16), (9, 18), (9, 14)):
        with pytest.raises(BadInput, match="dynamic range"):
            Photo.open(data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :])


def test_an_icc_profile_survives_byte_for_byte() -> None:
    icc = pyvips.Image.new_from_array(SCENE).icc_transform("p3").get("icc-profile-data")
    icc = struct.pack(">I", len(icc) + 70000) + icc[4:] + bytes(70000)  # more than one JPEG segment holds
    made = pyvips.Image.new_from_array(SCENE)
    made.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    for suffix in (".jpg", ".png", ".webp", ".tif", ".avif"):
        options = {"effort": 0, "compression": "av1"} if suffix == ".avif" else {}
        output = Photo.open(made.write_to_buffer(suffix, **options)).with_patches([ERASE]).encode()
        assert pyvips.Image.new_from_buffer(output, "").get("icc-profile-data") == icc


def test_avif_keeps_exif_upright() -> None:
    exif = Image.Exif()
    exif[271], exif[274] = "Maker of cameras", 6
    stream = io.BytesIO()
    Image.fromarray(SCENE).save(stream, "AVIF", exif=exif.tobytes(), quality=90)
    before = Photo.open(stream.getvalue())
    assert (before.width, before.height) == (48, 64)
    output = before.with_patches([ERASE]).encode()
    assert Photo.open(output).rgb.shape == (64, 48, 3)
    with Image.open(io.BytesIO(output)) as opened:
        assert opened.getexif()[271] == "Maker of cameras"
        assert opened.getexif().get(274, 1) == 1
