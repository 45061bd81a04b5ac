"""JPEGs of every coding: blocks that are not touched keep their coefficients, the rest of the file its own ways."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unsay.errors import BadInput
from unsay.photo import Photo, jpeg_tokens
from unsay.photo.jpeg import Unpatchable, read_blocks, read_jpeg, segment_bytes
from unsay.photo.jpeg_patch import patch_jpeg
from unsay.results import Patch

BOX = (slice(19, 45), slice(26, 61))
"""Rows and columns that are changed; neither starts nor ends with a block."""


def picture(height: int, width: int, bands: int, seed: int = 0, grain: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(30, 220, (5, 6, bands)).astype(np.uint8)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, bands)
    return np.clip(smooth + rng.integers(-grain, grain + 1, smooth.shape), 0, 255).astype(np.uint8)


BANDS = {"L": 1, "RGB": 3, "CMYK": 4}
SAMPLING = {"4:1:1": 0x411111, "4:4:0": 0x121111}


def by_pillow(pixels: np.ndarray, **options: Any) -> bytes:
    mode = {bands: mode for mode, bands in BANDS.items()}[pixels.shape[2]]
    stream = io.BytesIO()
    image = Image.fromarray(pixels[..., 0]) if mode == "L" else Image.fromarray(pixels).convert(mode)
    if mode == "CMYK":
        image = Image.frombytes("CMYK", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    image.save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


def by_opencv(pixels: np.ndarray, sampling: str, progressive: int = 0) -> bytes:
    """For the subsampling that Pillow does not write."""
    flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[sampling], cv2.IMWRITE_JPEG_QUALITY, 90]
    flags += [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), flags)[1].tobytes()


def jpeg(mode: str = "RGB", size: tuple[int, int] = (77, 101), seed: int = 0, grain: int = 12, **options: Any) -> bytes:
    return by_pillow(picture(*size, BANDS[mode], seed, grain), **options)


def decoded(data: bytes) -> np.ndarray:
    image = pyvips.Image.jpegload_buffer(data, fail_on="warning")
    return np.frombuffer(image.write_to_memory(), np.uint8).reshape(image.height, image.width, image.bands)


def sampled(pixels: np.ndarray, factors: list[tuple[int, int]], **options: Any) -> bytes:
    """A JPEG of any (horizontal, vertical) sampling factors: OpenCV's encoder knows five, Pillow three."""
    known = {(2, 2): 0x221111, (2, 1): 0x211111, (1, 1): 0x111111, (1, 2): 0x121111, (4, 1): 0x411111}
    flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, known[factors[0]], cv2.IMWRITE_JPEG_QUALITY, 92]
    for name, value in options.items():
        flags += [getattr(cv2, f"IMWRITE_JPEG_{name.upper()}"), value]
    return cv2.imencode(".jpg", pixels, flags)[1].tobytes()


ENCODERS: dict[str, tuple[str, Any]] = {
    "grey": ("L", by_pillow),
    "grey, progressive": ("L", partial(by_pillow, progressive=True)),
    "grey, restarts": ("L", partial(by_pillow, restart_marker_blocks=3)),
    "4:4:4": ("RGB", partial(by_pillow, subsampling=0)),
    "4:2:2": ("RGB", partial(by_pillow, subsampling=1)),
    "4:2:0": ("RGB", partial(by_pillow, subsampling=2)),
    "4:2:0, own Huffman tables": ("RGB", partial(by_pillow, subsampling=2, optimize=True)),
    "4:2:0, progressive": ("RGB", partial(by_pillow, subsampling=2, progressive=True)),
    "4:2:0, restarts by row": ("RGB", partial(by_pillow, subsampling=2, restart_marker_rows=1)),
    "4:2:0, restarts each MCU": ("RGB", partial(by_pillow, subsampling=2, restart_marker_blocks=1, optimize=True)),
    "4:1:1": ("RGB", partial(by_opencv, sampling="4:1:1")),
    "4:4:0": ("RGB", partial(by_opencv, sampling="4:4:0")),
    "4:4:0, progressive": ("RGB", partial(by_opencv, sampling="4:4:0", progressive=1)),
    "RGB": ("RGB", partial(by_pillow, subsampling=0, keep_rgb=True)),
    "CMYK": ("CMYK", by_pillow),
    "CMYK, progressive": ("CMYK", partial(by_pillow, progressive=True)),
    "coarse": ("RGB", partial(by_pillow, quality=5)),
    "finest": ("RGB", partial(by_pillow, quality=100, subsampling=0)),
}
CODINGS = {name: encode(picture(77, 101, BANDS[mode])) for name, (mode, encode) in ENCODERS.items()}
CODINGS |= {"one block": jpeg(size=(8, 8), subsampling=0), "smaller than a block": jpeg(size=(3, 5))}


def edited(data: bytes, box: tuple[slice, slice] = BOX) -> tuple[bytes, np.ndarray, np.ndarray]:
    """The JPEG with other samples in the box; beside it the samples that were wanted, and where they differ."""
    before = decoded(data)
    after = before.copy()
    if after[box].size == 0:
        box = (slice(0, 4), slice(0, 4))
    after[box] = picture(*before[box].shape, seed=9, grain=0)
    return patch_jpeg(data, [], before, after), after, (before != after).any(axis=2)


def untouched(changed: np.ndarray, rows: int, columns: int, size: tuple[int, int]) -> np.ndarray:
    """[rows, columns] bool, by looking at each block in turn: no changed sample under it."""
    return np.array(
        [
            [
                not changed[r * size[0] : (r + 1) * size[0], c * size[1] : (c + 1) * size[1]].any()
                for c in range(columns)
            ]
            for r in range(rows)
        ]
    )


@pytest.mark.parametrize("coding", CODINGS)
def test_coefficients_of_untouched_blocks_are_the_file_s_own(coding: str) -> None:
    data = CODINGS[coding]
    output, _, changed = edited(data)
    old, new = read_jpeg(data), read_jpeg(output)
    h, v = old.most
    for component, before, after in zip(old.components, read_blocks(old), read_blocks(new), strict=True):
        kept = untouched(changed, *before.shape[:2], (8 * v // component.v, 8 * h // component.h))
        np.testing.assert_array_equal(after[kept], before[kept])
        if (~kept).any():
            assert (after[~kept] != before[~kept]).any()


@pytest.mark.parametrize("coding", CODINGS)
def test_the_coding_stays_the_file_s_own(coding: str) -> None:
    data = CODINGS[coding]
    output, _, _ = edited(data)
    old, new = read_jpeg(data), read_jpeg(output)
    assert (new.frame, new.restart, new.adobe, new.colour) == (
        old.frame,
        0 if old.progressive else old.restart,
        old.adobe,
        old.colour,
    )
    assert {n: t.tolist() for n, t in new.tables.items()} == {n: t.tolist() for n, t in old.tables.items()}
    assert abs(len(output) - len(data)) < 0.35 * len(data) + 400


@pytest.mark.parametrize("coding", ENCODERS)
def test_the_new_samples_come_out_as_well_as_from_their_own_encoder(coding: str) -> None:
    """Inside the hole; at its rim subsampled colours are shared with what is outside."""
    output, wanted, changed = edited(CODINGS[coding])
    inner = cv2.erode(changed.astype(np.uint8), np.ones((9, 9))) > 0
    assert inner.sum() > 300
    ours = np.abs(decoded(output).astype(int) - wanted)[inner].mean()
    whole = np.abs(decoded(ENCODERS[coding][1](wanted)).astype(int) - wanted)[inner].mean()
    assert ours < 1.1 * whole + 0.2


@pytest.mark.parametrize("coding", ["4:4:4", "4:2:0", "CMYK", "grey", "RGB"])
def test_untouched_samples_of_touched_blocks_hardly_move(coding: str) -> None:
    data = CODINGS[coding]
    output, wanted, changed = edited(data)
    near = (cv2.dilate(changed.astype(np.uint8), np.ones((33, 33))) > 0) & ~changed
    step = np.abs(decoded(output).astype(int) - wanted)[near]
    assert step.mean() < 2.5


@pytest.mark.parametrize("coding", CODINGS)
def test_nothing_changed_gives_every_coefficient_back(coding: str) -> None:
    data = CODINGS[coding]
    pixels = decoded(data)
    output = patch_jpeg(data, [], pixels, pixels.copy())
    np.testing.assert_array_equal(decoded(output), pixels)
    for before, after in zip(read_blocks(read_jpeg(data)), read_blocks(read_jpeg(output)), strict=True):
        np.testing.assert_array_equal(after, before)


def test_the_scan_s_bits_are_the_file_s_own_where_nothing_changed() -> None:
    for coding in ("4:2:0", "4:2:0, own Huffman tables", "4:2:0, restarts by row", "grey"):
        data = CODINGS[coding]
        pixels = decoded(data)
        output = patch_jpeg(data, [], pixels, pixels.copy())
        assert output[output.index(b"\xff\xda") :] == data[data.index(b"\xff\xda") :], coding


@pytest.mark.parametrize(
    "coding", ["4:2:0", "4:2:0, restarts by row", "4:2:0, progressive", "grey, progressive", "CMYK"]
)
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_where_the_work_is_split_does_not_show(coding: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = edited(CODINGS[coding])[0]
    monkeypatch.setattr(jpeg_tokens, "_CHUNK_BLOCKS", chunk)
    assert edited(CODINGS[coding])[0] == whole


def test_long_runs_of_empty_blocks_are_coded() -> None:
    """More than the 32,767 blocks that one symbol can stand for, before, between and after blocks with something."""
    pixels = np.full((1800, 1800, 1), 90, np.uint8)
    pixels[0:8, 1000:1008] = picture(8, 8, 1)
    pixels[1500:1508, 200:208] = picture(8, 8, 1)
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(stream, "JPEG", quality=90, progressive=True)
    data = stream.getvalue()
    before = decoded(data)
    for place in [(0, 0), (1792, 1792), (800, 800)]:
        after = before.copy()
        after[place[0] : place[0] + 8, place[1] : place[1] + 8] = picture(8, 8, 1, seed=3)
        output = decoded(patch_jpeg(data, [], before, after))
        assert np.abs(output.astype(int) - after).max() < 40
        changed = (before != after).any(axis=2)
        np.testing.assert_array_equal(output[~changed], before[~changed])


def test_runs_of_sixteen_zeros_are_coded() -> None:
    """A block whose only coefficient besides DC is its last: three symbols for sixteen zeros each before it."""
    data = jpeg("L", size=(16, 16), quality=100)
    before = decoded(data)
    wave = np.cos((2 * np.arange(8) + 1) * 7 * np.pi / 16)
    after = before.copy()
    after[:8, :8, 0] = np.rint(128 + 100 * np.outer(wave, wave))
    blocks = read_blocks(read_jpeg(patch_jpeg(data, [], before, after)))
    assert abs(int(blocks[0][0, 0, 63])) > 300
    assert np.abs(blocks[0][0, 0, 1:63]).max() <= 3


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
    progressive=st.booleans(),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    restart=st.integers(0, 9),
    data=st.data(),
)
def test_any_photo_and_any_box(
    height: int,
    width: int,
    mode: str,
    progressive: bool,
    quality: int,
    subsampling: int,
    restart: int,
    data: st.DataObject,
) -> None:
    options: dict[str, Any] = {"progressive": progressive, "quality": quality, "restart_marker_blocks": restart}
    if mode == "RGB":
        options["subsampling"] = subsampling
    source = jpeg(
        mode, (height, width), data.draw(st.integers(0, 99)), data.draw(st.sampled_from([0, 20, 200])), **options
    )
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = (slice(top, data.draw(st.integers(top + 1, height))), slice(left, data.draw(st.integers(left + 1, width))))
    output, _, changed = edited(source, box)
    old, new = read_jpeg(source), read_jpeg(output)
    h, v = old.most
    assert decoded(output).shape == decoded(source).shape
    for component, before, after in zip(old.components, read_blocks(old), read_blocks(new), strict=True):
        kept = untouched(changed, *before.shape[:2], (8 * v // component.v, 8 * h // component.h))
        np.testing.assert_array_equal(after[kept], before[kept])


def test_several_sequential_scans_are_read() -> None:
    """One scan a component, as some scanners write them: joined from three grey files of the same tables."""
    pixels = picture(40, 56, 3)
    planes = []
    for band in range(3):
        stream = io.BytesIO()
        Image.fromarray(pixels[..., band]).save(stream, "JPEG", quality=90)
        planes.append(stream.getvalue())
    head = planes[0][: planes[0].index(b"\xff\xc0")]
    frame = bytes([8, 0, 40, 0, 56, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    tables = planes[0][planes[0].index(b"\xff\xc4") : planes[0].index(b"\xff\xda")]
    scans = [plane[plane.index(b"\xff\xda") + 10 : -2] for plane in planes]
    headers = [segment_bytes((0xDA, bytes([1, number, 0, 0, 63, 0]))) for number in (1, 2, 3)]
    data = head + segment_bytes((0xC0, frame)) + tables + b"".join(a + b for a, b in zip(headers, scans, strict=True))
    data += b"\xff\xd9"
    output, _, changed = edited(data, (slice(8, 16), slice(8, 24)))
    for before, after in zip(read_blocks(read_jpeg(data)), read_blocks(read_jpeg(output)), strict=True):
        kept = untouched(changed, *before.shape[:2], (8, 8))
        np.testing.assert_array_equal(after[kept], before[kept])
        assert (after[~kept] != before[~kept]).any()


def damaged(data: bytes, marker: int, change: Any) -> bytes:
    """The JPEG with the payload of its first segment of that marker changed."""
    at = data.index(bytes((0xFF, marker)))
    size = int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + segment_bytes((marker, change(data[at + 4 : at + 2 + size]))) + data[at + 2 + size :]


@pytest.mark.parametrize(
    ("marker", "change", "why"),
    [
        (0xC0, lambda p: bytes([12]) + p[1:], "8 bits"),
        (0xC0, lambda p: p[:1] + b"\0\0" + p[3:], "components of"),
        (0xC0, lambda p: p[:9] + p[6:9] + p[12:], "ambiguous"),
        (0xC0, lambda p: p[:7] + b"\x31" + p[8:10] + b"\x21" + p[11:], "whole fraction"),
        (0xC0, lambda p: p[:7] + b"\x44" + p[8:], "one scan"),
        (0xDB, lambda p: p[:-1], "malformed"),
        (0xDB, lambda p: p[:1] + b"\0" + p[2:], "zero"),
        (0xDB, lambda p: b"\x03" + p[1:], "table is missing"),
        (0xC4, lambda p: p[:1] + b"\x03" + p[2:], "malformed|more codes"),
        (0xC4, lambda p: p[:1] + b"\x02" + bytes(15) + b"\0\1", "more codes"),
        (0xC4, lambda p: p[:-1] + b"\xff", "impossible"),
        (0xC4, lambda p: b"\x02" + p[1:], "Huffman table is missing"),
        (0xDA, lambda p: p[:-3] + b"\x01\x3f\0", "part of the coefficients"),
        (0xDA, lambda p: p[:1] + b"\x09" + p[2:], "not there"),
        (0xDA, lambda p: p[:-1], "header is malformed"),
    ],
)
def test_markers_that_contradict_each_other_never_reach_the_library(marker: int, change: Any, why: str) -> None:
    with pytest.raises(Unpatchable, match=why):
        read_jpeg(damaged(CODINGS["4:2:0"], marker, change))


def test_more_scans_than_a_photo_needs_are_refused() -> None:
    data = CODINGS["grey, progressive"]
    at = data.rindex(b"\xff\xda")
    with pytest.raises(Unpatchable, match="more than 200 scans"):
        read_jpeg(data[:at] + data[at:-2] * 300 + b"\xff\xd9")


ADOBE = b"Adobe\0\x64\0\0\0\0"
JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"


def with_markers(data: bytes, *segments: tuple[int, bytes], between: tuple[int, bytes] | None = None) -> bytes:
    """The JPEG with these segments in place of its own JFIF and Adobe markers; one more before its last scan."""
    for marker in (0xE0, 0xEE):
        while (at := data.find(bytes((0xFF, marker)))) >= 0 and at < data.index(b"\xff\xda"):
            data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    data = data[:2] + b"".join(map(segment_bytes, segments)) + data[2:]
    last = data.rindex(b"\xff\xda")
    return data if between is None else data[:last] + segment_bytes(between) + data[last:]


MARKERS = {
    "CMYK without a marker": with_markers(CODINGS["CMYK"]),
    "CMYK with JFIF": with_markers(CODINGS["CMYK"], (0xE0, JFIF)),
    "YCCK": with_markers(CODINGS["CMYK"], (0xEE, ADOBE + b"\2")),
    "four components of a transform that is none": with_markers(CODINGS["CMYK"], (0xEE, ADOBE + b"\5")),
    "RGB by Adobe": with_markers(CODINGS["4:4:4"], (0xEE, ADOBE + b"\0")),
    "RGB, then YCbCr": with_markers(CODINGS["4:4:4"], (0xEE, ADOBE + b"\0"), (0xEE, ADOBE + b"\1")),
    "YCbCr, then RGB": with_markers(CODINGS["4:4:4"], (0xEE, ADOBE + b"\1"), (0xEE, ADOBE + b"\0")),
    "JFIF too short to count": with_markers(CODINGS["4:4:4"], (0xE0, JFIF[:8]), (0xEE, ADOBE + b"\0")),
    "JFIF and RGB": with_markers(CODINGS["4:4:4"], (0xE0, JFIF), (0xEE, ADOBE + b"\0")),
    "RGB between scans": with_markers(CODINGS["4:2:0, progressive"], between=(0xEE, ADOBE + b"\0")),
    "nothing": with_markers(CODINGS["4:2:0"]),
    "grey of two by two": CODINGS["grey"].replace(b"\1\x11\0", b"\1\x22\0", 1),
}


@pytest.mark.parametrize("case", MARKERS)
def test_colours_are_what_the_markers_say(case: str) -> None:
    """The photo as every decoder shows it, the fill as it was wanted, whichever way the colours are told."""
    data = MARKERS[case]
    before = pyvips.Image.jpegload_buffer(data)
    before = np.frombuffer(before.write_to_memory(), np.uint8).reshape(before.height, before.width, before.bands)
    after = before.copy()
    after[BOX] = before[BOX].mean(axis=(0, 1))
    output = patch_jpeg(
        data, [(0xE0, JFIF)] if case.endswith("JFIF") or case.startswith("JFIF and") else [], before, after
    )
    shown = pyvips.Image.jpegload_buffer(output)
    shown = np.frombuffer(shown.write_to_memory(), np.uint8).reshape(before.shape)
    far = cv2.dilate((before != after).any(axis=2).astype(np.uint8), np.ones((41, 41))) == 0
    np.testing.assert_array_equal(shown[far], before[far])
    inner = (slice(BOX[0].start + 8, BOX[0].stop - 8), slice(BOX[1].start + 8, BOX[1].stop - 8))
    assert np.abs(shown[inner].astype(int) - after[inner]).mean() < 3


def test_a_component_without_a_scan_is_refused() -> None:
    """libvips shows such a file, its colours grey; written again it would have to gain a component."""
    data = CODINGS["4:4:4"]
    at = data.index(b"\xff\xda")
    luma = CODINGS["grey"][CODINGS["grey"].index(b"\xff\xda") :]
    with pytest.raises(Unpatchable, match="no scan"):
        read_jpeg(data[:at] + luma)


def test_what_lies_between_scans_does_not_reach_the_library() -> None:
    secret = b"what was erased"
    data = CODINGS["4:2:0, progressive"]
    last = data.rindex(b"\xff\xda")
    found = read_jpeg(data[:last] + segment_bytes((0xFE, secret)) + data[last:])
    assert not any(secret in bytes(part) for part in found.scans)
    assert [plane.tolist() for plane in read_blocks(found)] == [p.tolist() for p in read_blocks(read_jpeg(data))]


def test_odd_bytes_are_passed_over_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """Bytes between the coded picture and its end: decoders complain and go on, and so do we, but not aloud."""
    data = CODINGS["4:2:0"]
    odd = data[:-2] + bytes(40) + data[-2:]
    pixels = decoded(data)
    output = patch_jpeg(odd, [], pixels, pixels.copy())
    np.testing.assert_array_equal(decoded(output), pixels)
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_patched_says_so_and_what_to_do() -> None:
    data = CODINGS["4:2:0"]
    at = data.rindex(b"\xff\xdb")
    late = data[:-2] + data[at : at + 69] + b"\xff\xd9"
    photo = Photo.open(late)
    patch = Patch(4, 4, np.full((9, 9, 3), 200, np.uint8), np.ones((9, 9), np.float32))
    with pytest.raises(BadInput, match=r"quantisation tables change.*write a PNG instead"):
        photo.with_patches([patch]).encode()
    assert photo.with_patches([patch]).encode(".png").startswith(b"\x89PNG")
