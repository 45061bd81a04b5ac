"""The matrix of photo files that fidelity is tested on: format x depth x colour x alpha x way up x profile x metadata.

Every file is made by libvips, Pillow or pillow-heif from the same noisy scene with a red thing in it. `CASES` maps a
name to a function that makes the file; what must come of it is in the case beside it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pyvips
from PIL import Image

HEIGHT, WIDTH = 56, 72
THING = (slice(16, 34), slice(20, 44))
"""Rows and columns of the red thing, stored orientation."""
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
ARTIST = "A Photographer"


@dataclass(frozen=True)
class Case:
    """`promise`: "exact" (every sample), "blocks" (JPEG coefficients), "close" (45 dB) or "refused"."""

    make: Callable[[], bytes]
    promise: str
    orientation: int = 1
    icc: bool = False
    metadata: bool = False


@cache
def scene(bands: int, dtype: str, levels: int = 0) -> np.ndarray:
    """[H, W, bands]: a noisy ramp with a red thing (grey: a bright one), alpha last where bands are even."""
    rng = np.random.default_rng(bands)
    top = np.iinfo(dtype).max
    ramp = np.linspace(0.3, 0.7, WIDTH)[None, :, None] + rng.uniform(-0.05, 0.05, (HEIGHT, WIDTH, bands))
    ramp[THING] = 0.95
    colours = {1: 1, 2: 1, 3: 3, 4: 3}[bands]
    if colours == 3:
        ramp[THING] = 0.03
        ramp[(*THING, 0)] = 0.97
    if bands > colours:
        ramp[..., -1] = rng.uniform(0.2, 1, (HEIGHT, WIDTH))
        ramp[THING[0], THING[1], -1] = 1
    if levels:
        ramp = np.rint(ramp.clip(0, 1) * (levels - 1)) / (levels - 1)
    return np.rint(ramp.clip(0, 1) * top).astype(dtype)


@cache
def inks() -> np.ndarray:
    """The scene in CMYK [H, W, 4]: the thing is all magenta and yellow."""
    rgb = scene(3, "uint8").astype(int)
    return np.concatenate([255 - rgb, np.full((HEIGHT, WIDTH, 1), 10)], 2).astype(np.uint8)


@cache
def profile(name: str) -> bytes:
    made = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_transform(name)
    return bytes(made.get("icc-profile-data"))


def vips(pixels: np.ndarray, orientation: int, icc: bool, metadata: bool, kind: str | None = None) -> Any:
    wide = pixels.dtype == np.uint16
    guess = ("grey16" if wide else "b-w") if pixels.shape[2] < 3 else ("rgb16" if wide else "srgb")
    made = pyvips.Image.new_from_array(pixels).copy(interpretation=kind or guess)
    if icc:
        made.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile("p3"))
    if metadata:
        made = _with_exif(made)
        made.set_type(pyvips.GValue.blob_type, "xmp-data", XMP)
    if orientation > 1:
        made.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return made


def _with_exif(made: Any) -> Any:
    """libvips writes only EXIF fields that it has read: they come from a file of Pillow's."""
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[315] = ARTIST
    Image.new("L", (1, 1)).save(stream, "JPEG", exif=exif)
    carrier = pyvips.Image.jpegload_buffer(stream.getvalue())
    made = made.copy()
    for field in carrier.get_fields():
        if field.startswith("exif-"):
            made.set_type(carrier.get_typeof(field), field, carrier.get(field))
    return made


def _extras(orientation: int, icc: bool, metadata: bool) -> dict[str, Any]:
    """The same for Pillow's writers."""
    exif = Image.Exif()
    if orientation > 1:
        exif[274] = orientation
    if metadata:
        exif[315] = ARTIST
    given: dict[str, Any] = {"exif": exif} if orientation > 1 or metadata else {}
    if icc:
        given["icc_profile"] = profile("p3")
    return given


def by_pillow(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def pillow_image(mode: str) -> Image.Image:
    """The scene as a Pillow image of that mode."""
    if mode == "CMYK":
        return Image.frombytes("CMYK", (WIDTH, HEIGHT), inks().tobytes())
    if mode == "I;16":
        return Image.fromarray(scene(1, "uint16")[..., 0])
    if mode == "L":
        return Image.fromarray(scene(1, "uint8")[..., 0])
    image = Image.fromarray(scene(3, "uint8"))
    if mode == "P":
        return image.quantize(64)
    return image.convert(mode)


WAYS = [(1, False, False), (1, True, False), (1, False, True), *((turn, True, True) for turn in range(2, 9))]
"""Orientation, profile, metadata: each alone, then all ways up with both."""

Ways = tuple[int, bool, bool]


def _jpegs() -> Iterator[tuple[str, Callable[..., bytes]]]:
    codings: dict[str, dict[str, Any]] = {
        "baseline": {},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 2},
        "own codes": {"optimize": True},
    }
    kinds: list[tuple[str, str, dict[str, Any]]] = [("grey", "L", {}), ("CMYK", "CMYK", {})]
    kinds += [(f"4:{s}", "RGB", {"subsampling": f"4:{s}"}) for s in ("4:4", "2:2", "2:0", "1:1")]
    kinds += [("RGB", "RGB", {"keep_rgb": True, "subsampling": "4:4:4"})]
    for kind, mode, options in kinds:
        for coding, more in codings.items():

            def make(way: Ways, mode: str = mode, own: Any = options, more: Any = more) -> bytes:
                extras = _extras(*way)
                extras |= {"xmp": XMP, "comment": b"a comment"} if way[2] else {}
                return by_pillow(pillow_image(mode), "JPEG", quality=92, **own, **more, **extras)

            yield f"jpeg {kind} {coding}", make
    yield "jpeg 4:4:0 baseline", partial(_by_opencv, False)
    yield "jpeg 4:4:0 progressive", partial(_by_opencv, True)


def _by_opencv(progressive: bool, way: Ways) -> bytes:
    flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x121111, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    data = cv2.imencode(".jpg", np.ascontiguousarray(scene(3, "uint8")[..., ::-1]), flags)[1].tobytes()
    extras = by_pillow(Image.new("L", (8, 8)), "JPEG", **_extras(*way), **({"xmp": XMP} if way[2] else {}))
    head = extras[2 : extras.index(b"\xff\xdb")]
    return data[:2] + (head if any(way[1:]) or way[0] > 1 else data[2:20]) + data[20:]


def _pngs() -> Iterator[tuple[str, Callable[..., bytes]]]:
    for bands, name in ((1, "grey"), (2, "grey+alpha"), (3, "RGB"), (4, "RGB+alpha")):
        for dtype, depth in (("uint8", 8), ("uint16", 16)):
            for interlace in (False, True):

                def make(way: Ways, bands: int = bands, dtype: str = dtype, interlace: bool = interlace) -> bytes:
                    made = vips(scene(bands, dtype), *way)
                    return bytes(made.pngsave_buffer(interlace=interlace, bitdepth=8 * np.dtype(dtype).itemsize))

                yield f"png {name} {depth} bits{' interlaced' if interlace else ''}", make
    for depth in (1, 2, 4):

        def low(way: Ways, depth: int = depth) -> bytes:
            return bytes(vips(scene(1, "uint8", levels=2**depth), *way).pngsave_buffer(bitdepth=depth))

        yield f"png grey {depth} bits", low
    for depth in (1, 2, 4, 8):

        def palette(way: Ways, depth: int = depth) -> bytes:
            image = Image.fromarray(scene(3, "uint8")).quantize(2**depth)
            return by_pillow(image, "PNG", bits=depth, **_extras(*way))

        yield f"png palette {depth} bits", palette
    yield (
        "png palette with transparency",
        lambda way: by_pillow(pillow_image("P"), "PNG", transparency=bytes(range(255, 191, -1)), **_extras(*way)),
    )


def _tiffs() -> Iterator[tuple[str, Callable[..., bytes]]]:
    for bands, name in ((1, "grey"), (2, "grey+alpha"), (3, "RGB"), (4, "RGB+alpha")):
        for dtype in ("uint8", "uint16"):
            for how, options in {
                "strips": {"compression": "none"},
                "lzw": {"compression": "lzw", "predictor": "horizontal"},
                "deflate tiles": {"compression": "deflate", "tile": True, "tile_width": 16, "tile_height": 16},
                "packbits": {"compression": "packbits"},
                "BigTIFF deflate": {"compression": "deflate", "bigtiff": True},
            }.items():

                def make(way: Ways, bands: int = bands, dtype: str = dtype, options: dict = options) -> bytes:
                    return bytes(vips(scene(bands, dtype), *way).tiffsave_buffer(**options))

                yield f"tiff {name} {dtype} {how}", make
    yield "tiff CMYK", lambda way: bytes(vips(inks(), way[0], False, way[2], "cmyk").tiffsave_buffer())
    yield "tiff palette", lambda way: by_pillow(pillow_image("P"), "TIFF", **_extras(*way))
    yield "tiff bilevel", lambda way: by_pillow(pillow_image("1"), "TIFF", compression="group4", **_extras(*way))
    yield (
        "tiff big-endian",
        lambda way: by_pillow(
            Image.fromarray(scene(1, "uint16")[..., 0].astype(">u2")), "TIFF", big_endian=True, **_extras(*way)
        ),
    )


def _webps() -> Iterator[tuple[str, str, Callable[..., bytes]]]:
    for bands, name in ((3, "RGB"), (4, "RGB+alpha")):
        yield (
            f"webp lossless {name}",
            "exact",
            lambda way, bands=bands: bytes(
                vips(scene(bands, "uint8"), *way).webpsave_buffer(lossless=True, exact=True)
            ),
        )
        yield (
            f"webp lossy {name}",
            "close",
            lambda way, bands=bands: bytes(vips(scene(bands, "uint8"), *way).webpsave_buffer(Q=90)),
        )


def _heifs() -> Iterator[tuple[str, Callable[..., bytes]]]:
    """AVIF and HEIC are decoded upright, whatever their orientation; ways that turn are left out."""
    for bands in (3, 4):
        for depth in (8, 10, 12):
            for subsampling in ("on", "off"):

                def avif(way: Ways, bands: int = bands, depth: int = depth, mode: str = subsampling) -> bytes:
                    made = vips(scene(bands, "uint8" if depth == 8 else "uint16"), 1, *way[1:])
                    return bytes(
                        made.heifsave_buffer(compression="av1", Q=90, effort=0, bitdepth=depth, subsample_mode=mode)
                    )

                yield f"avif {bands} bands {depth} bits {'4:2:0' if subsampling == 'on' else '4:4:4'}", avif
        for depth in (8, 10):
            for chroma in (420, 444):
                yield f"heic {bands} bands {depth} bits {chroma}", partial(_heic, bands, depth, chroma)


def _heic(bands: int, depth: int, chroma: int, way: Ways) -> bytes:
    mode = {3: "RGB", 4: "RGBA"}[bands] + (";16" if depth > 8 else "")
    pixels = scene(bands, "uint16" if depth > 8 else "uint8")
    image = pillow_heif.from_bytes(mode, (WIDTH, HEIGHT), pixels.tobytes())
    if way[1]:
        image.info["icc_profile"], image.info["icc_profile_type"] = profile("p3"), "prof"
    exif = Image.Exif()
    exif[315] = ARTIST
    stream = io.BytesIO()
    given = {"exif": exif.tobytes(), "xmp": XMP} if way[2] else {}
    image.save(stream, quality=90, chroma=chroma, enc_params={"preset": "ultrafast"}, **given)
    return stream.getvalue()


def _refused() -> Iterator[tuple[str, Callable[[], bytes]]]:
    frames = [pillow_image("RGB"), pillow_image("RGB").rotate(90)]
    for format in ("GIF", "PNG", "WEBP", "TIFF"):
        several = {"save_all": True, "append_images": frames[1:]}
        yield f"{format.lower()} of two frames", partial(by_pillow, frames[0], format, **several)
    for kind in ("float", "double", "int", "short", "complex"):
        made = pyvips.Image.new_from_array(scene(1, "uint8")).cast(kind)
        yield f"tiff of {kind} samples", lambda made=made: bytes(made.tiffsave_buffer())
    yield "bmp", partial(by_pillow, pillow_image("RGB"), "BMP")
    yield "jpeg 2000", partial(by_pillow, pillow_image("RGB"), "JPEG2000")


def _cases() -> Iterator[tuple[str, Case]]:
    makers = [(name, "blocks", make) for name, make in _jpegs()]
    makers += [(name, "exact", make) for name, make in [*_pngs(), *_tiffs()]]
    makers += list(_webps())
    makers += [(name, "close", make) for name, make in _heifs()]
    for name, promise, make in makers:
        upright = name.startswith(("avif", "heic"))
        grey = any(word in name for word in ("grey", "CMYK", "bilevel", "big-endian"))
        for way in WAYS[:3] if upright else WAYS:
            turn, icc, metadata = way[0], way[1] and not grey, way[2]  # a display's profile is no grey's or ink's
            label = f"turn {turn}{' icc' if icc else ''}{' metadata' if metadata else ''}"
            yield f"{name}, {label}", Case(partial(make, (turn, icc, metadata)), promise, turn, icc, metadata)
    for name, make in _refused():
        yield name, Case(make, "refused")


CASES: dict[str, Case] = dict(_cases())
