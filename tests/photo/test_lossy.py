"""WebP, AVIF and HEIC are coded anew as closely as is promised, whatever is in them."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import cv2
import numpy as np
import pillow_heif
import pytest
import pyvips

from unsay.errors import BadInput
from unsay.photo import Photo
from unsay.photo.lossy import KEPT_DB, encode_closely
from unsay.results import Patch

PATCH = Patch(30, 20, np.full((24, 32, 3), (200, 40, 60), np.uint8), np.ones((24, 32), np.float32))


def picture(grain: int, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    rng = np.random.default_rng(grain)
    small = rng.integers(30, 220, (4, 5, 3)).astype(np.uint8)
    smooth = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.integers(-grain, grain + 1, smooth.shape), 0, 255).astype(np.uint8)


def coded(format: str, pixels: np.ndarray, quality: int) -> bytes:
    image = pyvips.Image.new_from_array(pixels)
    if format == "webp":
        return bytes(image.webpsave_buffer(Q=quality))
    if format == "avif":
        return bytes(image.heifsave_buffer(compression="av1", Q=quality, effort=0))
    stream = io.BytesIO()
    height, width = pixels.shape[:2]
    pillow_heif.from_bytes("RGB", (width, height), pixels.tobytes()).save(stream, quality=quality)
    return stream.getvalue()


def kept_db(before: bytes, after: bytes) -> float:
    old, new = Photo.open(before).rgb.astype(float), Photo.open(after).rgb
    square = np.square(old - new)
    square[20:44, 30:62] = np.nan
    return float(10 * np.log10(255**2 / max(np.nanmean(square), 1e-9)))


@pytest.mark.parametrize("quality", [25, 60, 90])
@pytest.mark.parametrize("grain", [0, 12, 80])
@pytest.mark.parametrize("format", ["webp", "avif", "heic"])
def test_what_is_kept_is_kept_closely(format: str, grain: int, quality: int) -> None:
    """Of a grain of 80 levels in each colour no subsampled format keeps 45 dB: then it is written without loss."""
    source = coded(format, picture(grain), quality)
    output = Photo.open(source).with_patches([PATCH]).encode()
    assert kept_db(source, output) >= KEPT_DB
    assert Photo.open(output).format == format


def test_no_more_quality_than_needed() -> None:
    source = coded("webp", picture(6), 90)
    calm = replace(PATCH, pixels=cv2.GaussianBlur(Photo.open(source).rgb, (0, 0), 3)[20:44, 30:62])
    edited = Photo.open(source).with_patches([calm])
    output, best = edited.encode(), pyvips.Image.new_from_array(edited.rgb).webpsave_buffer(Q=100)
    assert kept_db(source, output) >= KEPT_DB
    assert len(output) < 0.9 * len(best)


def test_the_search_asks_few_times_and_takes_the_lowest_quality_that_will_do() -> None:
    """An encoder that is off by less the higher its quality: 20 dB at 0, half a dB more for each step."""
    asked: list[int | None] = []
    before = np.zeros((64, 64, 3), np.uint8)
    after = before.copy()
    after[:8, :8] = 250

    def encode(pixels: np.ndarray, quality: int | None) -> bytes:
        asked.append(quality)
        step = 0 if quality is None else 65535 / 10 ** ((20 + quality / 2) / 20)
        return (pixels.astype(np.uint16) * 257 + np.uint16(round(step))).tobytes()

    def decode(data: bytes) -> np.ndarray:
        return np.frombuffer(data, np.uint16).reshape(64, 64, 3)

    wide = (before.astype(np.uint16) * 257, after.astype(np.uint16) * 257)
    assert encode_closely(lambda p, q: encode((p // 257).astype(np.uint8), q), decode, *wide, 3)
    assert asked[-1] == 51  # 45.25 dB; the rounding of the step leaves 50 a little under 45
    assert len(asked) <= 9


def test_a_heic_without_its_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    source = coded("heic", picture(3), 60)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadInput, match=r"pip install 'unsay\[heic\]'"):
        Photo.open(source)


def test_a_heic_of_two_photos_and_a_cut_one_are_refused() -> None:
    pixels = picture(3)
    heif = pillow_heif.from_bytes("RGB", (128, 96), pixels.tobytes())
    heif.add_frombytes("RGB", (128, 96), pixels[::-1].tobytes())
    stream = io.BytesIO()
    heif.save(stream, quality=60)
    with pytest.raises(BadInput, match="2 photos"):
        Photo.open(stream.getvalue())
    source = coded("heic", pixels, 60)
    for size in (13, 40, len(source) // 2, len(source) - 20):
        with pytest.raises(BadInput, match=r"damaged|not a photo"):
            Photo.open(source[:size])
    with pytest.raises(BadInput, match="megapixels"):
        Photo.open(source, max_megapixels=0.01)
