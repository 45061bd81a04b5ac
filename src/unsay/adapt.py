"""What people hand over (a path, bytes, a stream, a PIL image, an array) as a `Photo` or a mask; the same kind back.

PIL is never imported here: an object can only be a PIL image if its owner has imported PIL already.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.options import MAX_MEGAPIXELS
from unsay.photo import Photo, from_samples
from unsay.photo.ifd import ORIENTATION
from unsay.photo.metadata import clean_exif, clean_resource, clean_xmp
from unsay.photo.native import Samples, differing, displayed
from unsay.photo.read import read_photo
from unsay.results import Mask

_PIL_COLOURS = {"1": 1, "L": 1, "LA": 1, "I;16": 1, "I;16L": 1, "I;16B": 1, "I": 1, "P": 3, "RGB": 3, "RGBX": 3}
_PIL_COLOURS |= {"RGBA": 3, "PA": 3, "CMYK": 4}
_LOSSY_MASK_LEVEL = 128
_KINDS = "a path, bytes, a binary stream, a PIL image or an array"

Giver = Callable[[Photo], Any]
"""Turns an edited photo into the kind of thing that the original was given as."""


def open_photo(source: Any, *, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[Photo, Giver]:
    """Open whatever a photo is given as, and say how to give the edited one back as the same kind.

    A path: its giver writes beside it (see `default_output`) and gives that path. Bytes or a binary stream: bytes in
    the same format. A PIL image: a PIL image of the same mode and size; its EXIF orientation, if it has one, counts.
    An array [H, W, 3] uint8 RGB: a new array. Raises `BadInput` for anything else, or what cannot be used.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return Photo.open(source, max_megapixels=max_megapixels), lambda photo: photo.save(default_output(path))
    if _is_encoded(source):
        return Photo.open(source, max_megapixels=max_megapixels), lambda photo: photo.encode()
    if isinstance(source, np.ndarray):
        _check_array(source)
        _check_size(source.shape[1], source.shape[0], max_megapixels)
        return from_samples(source.copy()), lambda photo: np.array(photo.samples())
    if is_pil(source):
        _check_size(source.width, source.height, max_megapixels)
        return _photo_from_pil(source), lambda photo: _pil_from_photo(source, photo)
    raise BadInput(f"a photo is {_KINDS}, not {type(source).__name__}")


def read_mask(source: Any, size: tuple[int, int]) -> Mask:
    """[H, W] bool, displayed orientation, True where the mask given for a photo of `size` (width, height) is not 0.

    A path, bytes, stream or PIL image: alpha is left out; in a mask of several channels any that is not 0 counts. In
    a lossy file, whose zeros are noisy, a sample counts from 128 up. An array: [H, W] or [H, W, 1 or 3], bool or uint8.
    Raises `BadInput` if it cannot be read or has another size.
    """
    if isinstance(source, np.ndarray):
        mask = _mask_from_array(source)
    elif isinstance(source, (str, os.PathLike)) or _is_encoded(source):
        # A mask has the photo's size, so a larger one is wrong whatever is in it.
        file = read_photo(source, max(size[0] * size[1] / 1e6, MAX_MEGAPIXELS), "mask")
        mask = _mask_from_photo(Photo(file.native, file))
    elif is_pil(source):
        mask = _mask_from_pil(source)
    else:
        raise BadInput(f"a mask is {_KINDS}, not {type(source).__name__}")
    if mask.shape != (size[1], size[0]):
        given = f"{mask.shape[1]} x {mask.shape[0]}"
        raise BadInput(f"the mask is {given}, the photo {size[0]} x {size[1]} (as displayed): give one of that size")
    return mask


def default_output(path: str | os.PathLike[str]) -> Path:
    """Where an edited photo goes: `photo.unsaid.jpg` beside `photo.jpg`."""
    return beside(path, lambda photo: f"{photo.stem}.unsaid{photo.suffix}")


def beside(path: str | os.PathLike[str], name: Callable[[Path], str]) -> Path:
    """The neighbour of a photo that `name` calls so. Raises `BadInput` for `.` or `/`, which cannot be a photo."""
    photo = Path(path)
    if not photo.name:
        raise BadInput(f"{photo} is a folder, not a photo: name a file in it")
    return photo.with_name(name(photo))


def is_pil(source: Any) -> bool:
    """Whether a photo was given as a PIL image."""
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(source, pil.Image)


def pil_from_png(data: bytes) -> Any:
    """A PNG of ours as a PIL image, for somebody who gave one."""
    image = sys.modules["PIL.Image"].open(io.BytesIO(data))
    image.load()
    return image


def _is_encoded(source: Any) -> TypeGuard[bytes | bytearray | memoryview | IO[bytes]]:
    return isinstance(source, (bytes, bytearray, memoryview)) or (hasattr(source, "read") and not is_pil(source))


def _check_size(width: int, height: int, max_megapixels: float) -> None:
    if width < 1 or height < 1:
        raise BadInput(f"the photo is {width} x {height}: give one with pixels in it")
    if width * height > max_megapixels * 1e6:
        raise BadInput(
            f"the photo is {width} x {height} = {width * height / 1e6:.3g} megapixels; "
            f"the limit is {max_megapixels:g}: raise max_megapixels or use a smaller copy"
        )


def _check_array(array: npt.NDArray[Any]) -> None:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise BadInput(
            f"an array photo is [H, W, 3] uint8 RGB, not {list(array.shape)} {array.dtype}: "
            "convert it, or pass a PIL image or a file for grey, alpha and 16 bits"
        )


# --- PIL ------------------------------------------------------------------------------------------------------------


def _photo_from_pil(image: Any) -> Photo:
    if image.mode not in _PIL_COLOURS:
        known = ", ".join(_PIL_COLOURS)
        raise BadInput(f"a PIL image of mode {image.mode!r} cannot be edited (can: {known}): convert it to RGB first")
    icc = image.info.get("icc_profile") or None
    return from_samples(
        _samples_from_pil(image), colours=_PIL_COLOURS[image.mode], orientation=_pil_orientation(image), icc=icc
    )


def _samples_from_pil(image: Any) -> Samples:
    """The image's samples [H, W, bands], of a palette its colours."""
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for a damaged file
        raise BadInput(f"the PIL image cannot be read ({' '.join(str(error).split())}): open the file again") from error
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    samples = np.array(image)
    if image.mode.startswith("I"):
        if samples.min() < 0 or samples.max() > 65535:
            raise BadInput(f"a PIL image of mode 'I' stays within 0..65535, not {samples.min()}..{samples.max()}")
        samples = samples.astype(np.uint16)
    return samples.reshape(image.height, image.width, -1)


def _pil_orientation(image: Any) -> int:
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _pil_from_photo(image: Any, photo: Photo) -> Any:
    """A copy of `image` with the edited samples in it; what the edit did not change stays bit for bit."""
    copy = image.copy()
    copy.info = _info_without_pictures(image.info)
    samples = photo.samples()
    changed = differing(samples, photo.native.pixels)
    if changed.any():
        own = np.array(image)
        values = _pil_values(image, samples[changed])
        own.reshape(image.height, image.width, -1)[changed, : values.shape[1]] = values
        copy.frombytes(np.packbits(own, axis=1).tobytes() if image.mode == "1" else own.tobytes())
    return copy


def _pil_values(image: Any, samples: Samples) -> npt.NDArray[Any]:
    """[n, bands] samples as the image's mode holds them: of a palette the entries nearest in colour."""
    if image.mode == "1":
        return np.asarray(samples[:, :1] >= 128)
    if image.mode not in ("P", "PA"):
        return samples
    from scipy.spatial import cKDTree

    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    opaque = _opaque_entries(image.info.get("transparency"), len(palette))
    nearest = cKDTree(palette[opaque].astype(np.float64)).query(samples[:, :3].astype(np.float64))[1]
    indices: npt.NDArray[np.uint8] = opaque[nearest][:, None].astype(np.uint8)
    return indices


def _opaque_entries(transparency: int | bytes | None, count: int) -> npt.NDArray[np.intp]:
    """The palette entries that can be seen; all of them if none can."""
    alpha = np.full(count, 255)
    if isinstance(transparency, int):
        alpha[transparency : transparency + 1] = 0
    elif transparency:
        alpha[: len(transparency)] = np.frombuffer(transparency[:count], np.uint8)
    opaque = np.flatnonzero(alpha == 255)
    return opaque if opaque.size else np.arange(count)


def _info_without_pictures(info: dict[Any, Any]) -> dict[Any, Any]:
    """What PIL keeps beside the pixels, less the thumbnails that still show what was erased."""
    kept = {key: value for key, value in info.items() if key not in ("mp", "mpoffset")}
    cleaners: dict[str, Callable[[Any], Any]] = {"exif": clean_exif, "xmp": clean_xmp, "XML:com.adobe.xmp": _clean_text}
    for key, clean in cleaners.items():
        if key in kept and (value := clean(kept.pop(key))) is not None:
            kept[key] = value
    if isinstance(resources := kept.get("photoshop"), dict):
        cleaned = {number: clean_resource(number, value) for number, value in resources.items()}
        kept["photoshop"] = {number: value for number, value in cleaned.items() if value is not None}
    return kept


def _clean_text(xmp: str) -> str | None:
    cleaned = clean_xmp(xmp.encode())
    return None if cleaned is None else cleaned.decode()


# --- masks ----------------------------------------------------------------------------------------------------------


def _mask_from_photo(photo: Photo) -> Mask:
    if not photo.lossless:
        return np.asarray(photo.rgb.max(axis=2) >= _LOSSY_MASK_LEVEL)
    if photo.native.colours == 4:
        return np.asarray(photo.rgb.any(axis=2))
    colours = photo.native.pixels[..., : photo.native.colours]
    return np.ascontiguousarray(displayed(np.asarray(colours.any(axis=2)), photo.native.orientation))


def _mask_from_pil(image: Any) -> Mask:
    if image.mode not in _PIL_COLOURS:
        raise BadInput(f"a PIL mask of mode {image.mode!r} cannot be read: convert it to L first (not 0 = fill)")
    return _mask_from_photo(_photo_from_pil(image))


def _mask_from_array(array: npt.NDArray[Any]) -> Mask:
    if array.dtype not in (np.bool_, np.uint8) or not (
        array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    ):
        raise BadInput(
            f"a mask array is [H, W] bool or uint8, not {list(array.shape)} {array.dtype}: convert it, e.g. mask > 0.5"
        )
    return np.asarray(array != 0 if array.ndim == 2 else array.any(axis=2))
