"""Writing a photo: its samples coded in a format, its metadata put around them, the file replaced in one step."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from unsay.errors import BadInput, UnsayError
from unsay.leftovers import sweep, temporary_beside
from unsay.photo import containers, tiff
from unsay.photo.colour import ColourSpace
from unsay.photo.heic import Heic, read_heic, write_heic
from unsay.photo.jpeg import Unpatchable
from unsay.photo.jpeg_patch import patch_jpeg
from unsay.photo.lossy import Encode, encode_closely
from unsay.photo.metadata import EXIF_PREFIX, PHOTOSHOP_PREFIX, Metadata, clean_exif, clean_photoshop, clean_xmp
from unsay.photo.metadata import upright_exif as turn_exif
from unsay.photo.native import Native, Samples, as_vips, displayed, fixed_threads, from_vips, narrow
from unsay.photo.read import PhotoFile, load_header, shown

SUFFIXES = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".png": "png",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".avif": "avif",
    ".heic": "heic",
    ".heif": "heic",
}
_LONGEST_SIDE = {"jpeg": 65535, "webp": 16383, "avif": 16384, "heic": 16384}
_COLOURS = {"jpeg": (1, 3, 4), "png": (1, 3), "webp": (3,), "tiff": (1, 3, 4), "avif": (3,), "heic": (3,)}
_LOSSY_QUALITY = 90
_NEW_JPEG_QUALITY = 92
# Choosing the shortest codes saves a few percent of the file, but holds all coefficients: 12 bytes a pixel.
_MOST_OPTIMISED_PIXELS = 1 << 24
_TIFF_COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32773: "packbits", 32946: "deflate"}
_KEEP_EXIF_XMP_ICC = 1 | 2 | 8


def format_of(suffix: str) -> str:
    """The format that a file name's suffix stands for. Raises `BadInput` for one that Unsay does not write."""
    name = SUFFIXES.get(suffix.lower())
    if name is None:
        raise BadInput(f"Unsay cannot write {suffix!r} files: give a name that ends in {', '.join(SUFFIXES)}")
    return name


def encode_photo(native: Native, target: str, file: PhotoFile | None, *, cut: bool = False) -> bytes:
    """The samples coded as `target`, with the metadata of `file` less every picture in it.

    Same format: stored orientation, depth, profile, compression and every harmless block are the file's own.
    Another format: turned upright, and brought to what that format can hold. Raises `BadInput` if it cannot.
    `cut`: they were cut out of `file`; size and alpha may differ from its own, and PNG, WebP, TIFF keep each sample.
    """
    same = file is not None and file.format == target
    metadata = _metadata(file, native) if file is not None else Metadata(icc=native.icc)
    if not same:
        native, metadata = _fit(native, metadata, target)
    longest = max(native.pixels.shape[:2])
    if longest > _LONGEST_SIDE.get(target, longest):
        raise BadInput(f"{target} cannot hold {longest} pixels in a row (at most {_LONGEST_SIDE[target]}): write a PNG")
    try:
        if cut and target == "webp":
            return _lossless_webp(native, metadata)
        if cut and target == "tiff":
            return _encode_tiff(native, metadata, file if same else None, plain_alpha=not is_premultiplied(file))
        return _ENCODERS[target](native, metadata, file if same else None)
    except pyvips.Error as error:
        reason = " ".join(str(error).split())
        raise UnsayError(f"the photo cannot be written as {target} ({reason}): try PNG") from error


def is_premultiplied(file: PhotoFile | None) -> bool:
    """Whether the colours of a photo's file were multiplied with its alpha, as only TIFF allows."""
    return file is not None and file.format == "tiff" and tiff.tiff_number(file.data, tiff.EXTRA_SAMPLES) == 1


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` at `path` in one step: a temporary file beside it, flushed to the disk, renamed over it.

    A link is followed, an existing file's permissions are kept. Raises `BadInput` where nothing can be written there,
    `UnsayError` where writing fails; the old file, if any, is then still there and whole.
    """
    name = shown(path)
    target, mode = _target(path, name)
    try:
        with temporary_beside(target) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            with open(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if mode is not None:
                os.chmod(temporary, mode)
            os.replace(temporary, target)
    except OSError as error:
        raise _unwritable(name, error) from error
    _flush_folder(target.parent)
    sweep(target.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise `BadInput` where `write_atomically` would for want of a place, so that no work is done and lost."""
    name = shown(path)
    folder = _target(path, name)[0].parent
    if not folder.is_dir():
        raise _unwritable(name, OSError(errno.ENOENT, "no folder"))
    if not os.access(folder, os.W_OK):
        raise _unwritable(name, OSError(errno.EACCES, "read-only folder"))


# --- one encoder per format -------------------------------------------------------------------------------------


def _encode_jpeg(native: Native, metadata: Metadata, file: PhotoFile | None) -> bytes:
    if file is not None:
        segments = containers.kept_jpeg_segments(file.data, native.orientation)
        try:
            return patch_jpeg(file.data, segments, file.native.pixels, native.pixels)
        except Unpatchable as error:
            raise BadInput(
                f"{file.name} is a JPEG whose blocks cannot be replaced one by one ({error}): write a PNG instead"
            ) from error
    image = as_vips(native.pixels, native.colours)
    optimised = image.width * image.height <= _MOST_OPTIMISED_PIXELS
    encoded = image.jpegsave_buffer(Q=_NEW_JPEG_QUALITY, optimize_coding=optimised, keep="none")
    return containers.write_jpeg(encoded, containers.jpeg_metadata_segments(metadata))


def _encode_png(native: Native, metadata: Metadata, file: PhotoFile | None) -> bytes:
    image = as_vips(native.pixels, native.colours)
    depth = 16 if native.pixels.dtype == np.uint16 else 8
    encoded = image.pngsave_buffer(bitdepth=depth, filter="all", keep="none")
    if file is None:
        return containers.write_png(encoded, containers.png_metadata_chunks(metadata))
    return containers.write_png(encoded, containers.kept_png_chunks(file.data, native.orientation))


def _encode_webp(native: Native, metadata: Metadata, file: PhotoFile | None) -> bytes:
    image = as_vips(native.pixels, native.colours)
    if file is None:
        encoded = image.webpsave_buffer(Q=_LOSSY_QUALITY, keep="none")
    elif file.lossless:
        return _lossless_webp(native, metadata)
    else:

        def encode(pixels: Samples, quality: int | None) -> bytes:
            # Colours fitted to their halved resolution take twice the time, and tell where the quality does not.
            how = {"lossless": True} if quality is None else {"Q": quality, "smart_subsample": quality == 100}
            coded: bytes = as_vips(pixels, native.colours).webpsave_buffer(**how, exact=True, keep="none")
            return coded

        encoded = _encode_closely(file, native, encode)
    height, width = native.pixels.shape[:2]
    return containers.write_webp(encoded, (width, height), native.alpha, metadata)


def _lossless_webp(native: Native, metadata: Metadata) -> bytes:
    encoded = as_vips(native.pixels, native.colours).webpsave_buffer(lossless=True, exact=True, keep="none")
    height, width = native.pixels.shape[:2]
    return containers.write_webp(encoded, (width, height), native.alpha, metadata)


def _encode_tiff(native: Native, metadata: Metadata, file: PhotoFile | None, *, plain_alpha: bool = False) -> bytes:
    image = as_vips(native.pixels, native.colours)
    number = tiff.tiff_number(file.data, tiff.COMPRESSION) if file is not None else 0
    # Lossy and unusual compressions become deflate, which keeps every sample.
    compression = _TIFF_COMPRESSIONS.get(number, "deflate")
    predicted = number not in (5, 8, 32946) or (file is not None and tiff.tiff_number(file.data, tiff.PREDICTOR) == 2)
    predictor = "horizontal" if predicted and compression in ("lzw", "deflate") else "none"
    encoded = image.tiffsave_buffer(compression=compression, predictor=predictor, keep="none")
    tags = tiff.kept_tiff_tags(file.data) if file is not None else tiff.tiff_metadata_tags(metadata)
    return tiff.write_tiff(encoded, [tag for tag in tags if not plain_alpha or tag.tag != tiff.EXTRA_SAMPLES])


def _encode_avif(native: Native, metadata: Metadata, file: PhotoFile | None) -> bytes:
    metadata = replace(metadata, exif=turn_exif(metadata.exif) if metadata.exif else None)
    how = {
        "compression": "av1",
        "effort": 0,  # higher ones give about the same size and quality here, in thirty times the time
        "bitdepth": 8 if native.pixels.dtype == np.uint8 else 12 if native.bits > 10 else 10,
        "subsample_mode": "on" if file is not None and _is_subsampled(file.data) else "off",
        "keep": _KEEP_EXIF_XMP_ICC if metadata.exif else _KEEP_EXIF_XMP_ICC & ~1,
    }

    def encode(pixels: Samples, quality: int | None) -> bytes:
        image = as_vips(pixels, native.colours)
        _attach(image, metadata)
        amount = {"lossless": True, "subsample_mode": "off"} if quality is None else {"Q": quality}
        with fixed_threads():
            coded: bytes = image.heifsave_buffer(**{**how, **amount})
        return coded

    if file is None:
        return encode(native.pixels, _LOSSY_QUALITY)
    return _encode_closely(file, native, encode)


def _encode_heic(native: Native, metadata: Metadata, file: PhotoFile | None) -> bytes:
    exif = EXIF_PREFIX + turn_exif(metadata.exif) if metadata.exif else None
    chroma = 444 if file is None or file.heic is None else file.heic.subsampling
    heic = Heic(native.pixels, native.bits, native.icc, exif, metadata.xmp, chroma, None)

    def encode(pixels: Samples, quality: int | None) -> bytes:
        if quality is None:
            return write_heic(replace(heic, pixels=pixels, subsampling=444), 100)
        return write_heic(replace(heic, pixels=pixels), quality)

    return encode(native.pixels, _LOSSY_QUALITY) if file is None else _encode_closely(file, native, encode)


def _encode_closely(file: PhotoFile, native: Native, encode: Encode) -> bytes:
    def decode(data: bytes) -> Samples:
        heic = file.format == "heic"
        pixels = read_heic(file.name, data).pixels if heic else from_vips(load_header(data, file.format))
        missing = native.pixels.shape[2] - pixels.shape[2]  # a coder leaves out an alpha that is opaque everywhere
        opaque = np.full((*pixels.shape[:2], missing), np.iinfo(pixels.dtype).max, pixels.dtype)
        return np.concatenate([pixels, opaque], axis=2) if missing else pixels

    return encode_closely(encode, decode, file.native.pixels, native.pixels, native.colours)


def _is_subsampled(avif: bytes) -> bool:
    """Whether the AVIF's colours have half the resolution (AV1 codec configuration record, chroma_subsampling_x)."""
    at = avif.find(b"av1C")
    return at >= 0 and len(avif) > at + 6 and bool(avif[at + 6] & 0x08)


_ENCODERS: dict[str, Callable[[Native, Metadata, PhotoFile | None], bytes]] = {
    "jpeg": _encode_jpeg,
    "png": _encode_png,
    "webp": _encode_webp,
    "tiff": _encode_tiff,
    "avif": _encode_avif,
    "heic": _encode_heic,
}


# --- what the pixels take along -----------------------------------------------------------------------------------


def _metadata(file: PhotoFile, native: Native) -> Metadata:
    """The file's blocks without pictures, in the form that other formats take them."""
    if file.format == "tiff":
        tags = tiff.kept_tiff_tags(file.data)
        blocks = {tag.tag: tag.value for tag in tags}
        exif = tiff.exif_from_tiff(tags)
        return Metadata(exif, native.icc, blocks.get(700) or None, blocks.get(34377) or None)
    if file.heic is not None:
        given = {"exif-data": file.heic.exif, "xmp-data": file.heic.xmp}
        blocks_of = {name: block for name, block in given.items() if block}
    else:
        header = load_header(file.data, file.format)
        names = ("exif-data", "xmp-data", "iptc-data")
        blocks_of = {name: header.get(name) for name in names if header.get_typeof(name)}
    exif = clean_exif(blocks_of["exif-data"], native.orientation) if "exif-data" in blocks_of else None
    xmp = clean_xmp(blocks_of["xmp-data"]) if "xmp-data" in blocks_of else None
    photoshop = blocks_of.get("iptc-data", b"").removeprefix(PHOTOSHOP_PREFIX)
    return Metadata(exif and exif.removeprefix(EXIF_PREFIX), native.icc, xmp, clean_photoshop(photoshop) or None)


def _attach(image: Any, metadata: Metadata) -> None:
    """Give a libvips image its metadata the way a loader does: libvips writes only EXIF tags that it has read."""
    dot = as_vips(np.zeros((1, 1, 3), np.uint8), 3).pngsave_buffer(keep="none")
    chunks = containers.png_metadata_chunks(replace(metadata, icc=None))
    carrier = load_header(containers.write_png(dot, chunks), "png")
    for field in carrier.get_fields():
        if field.startswith(("exif-", "xmp-")):
            image.set_type(carrier.get_typeof(field), field, carrier.get(field))
    if metadata.icc:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", metadata.icc)


def _fit(native: Native, metadata: Metadata, target: str) -> tuple[Native, Metadata]:
    """The nearest photo that `target` can hold, turned upright."""
    exif = turn_exif(metadata.exif) if metadata.exif else None
    pixels = displayed(native.pixels, native.orientation)
    colours, icc = native.colours, native.icc
    extra = pixels[..., colours:]
    if colours not in _COLOURS[target]:
        space = ColourSpace.of(native)
        pixels = np.concatenate([space.to_srgb(pixels), narrow(extra)], axis=2)
        colours, icc = 3, None
    if target in ("jpeg", "webp"):
        pixels = narrow(pixels)
    if target == "jpeg" and extra.size and int(extra[..., 0].min()) < np.iinfo(extra.dtype).max:
        raise BadInput("a JPEG cannot hold the photo's transparency: write a PNG, WebP, TIFF or AVIF")
    channels = colours if target == "jpeg" else colours + 1
    bands = pixels.shape[2] if target == "tiff" else min(pixels.shape[2], channels)
    fitted = replace(native, pixels=pixels[..., :bands], colours=colours, orientation=1, icc=icc)
    return fitted, replace(metadata, exif=exif, icc=icc)


# --- the file system ----------------------------------------------------------------------------------------------


def _target(path: str | os.PathLike[str], name: str) -> tuple[Path, int | None]:
    """The file behind `path` and its permission bits (None: there is none yet). Raises `BadInput` if it must stay."""
    try:
        target = Path(os.path.realpath(path))
        status = os.stat(target)
    except FileNotFoundError:
        return target, None
    except (OSError, ValueError) as error:
        raise _unwritable(name, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise BadInput(f"{name} is a folder: name a file in it to write to")
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(f"{name} is not an ordinary file: name another, or use - for a pipe")
    if not os.access(target, os.W_OK):
        raise BadInput(f"{name} is write-protected: name another file or change its permissions")
    return target, stat.S_IMODE(status.st_mode)


def _unwritable(name: str, error: OSError | ValueError) -> UnsayError:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return BadInput(f"{name} cannot be written: its folder does not exist; make it first")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadInput(f"{name} cannot be written: its folder is read-only; name a file elsewhere")
    reason = getattr(error, "strerror", None) or error
    kind = BadInput if number in (None, errno.ENAMETOOLONG, errno.ELOOP) else UnsayError
    return kind(f"{name} cannot be written ({reason}): nothing was changed")


def _flush_folder(folder: Path) -> None:
    """Make the rename itself last; file systems that cannot do this keep the new file anyway."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written to, but not read: the file is there all the same
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):
            raise
    finally:
        os.close(descriptor)
