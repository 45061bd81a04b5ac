"""A thing cut out of its photo: the photo's own samples where a mask is, transparent elsewhere.

What is transparent holds nothing: no colour of what was around the thing is left under it, and no thumbnail.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.adapt import beside, is_pil, pil_from_png
from unsay.delivery import is_path, piped, protect
from unsay.errors import BadInput
from unsay.inpainting.hole import Box, box_around, feather_weights
from unsay.photo import Photo
from unsay.photo.native import Native, Samples, displayed, stored
from unsay.photo.write import encode_photo, format_of, is_premultiplied
from unsay.results import Mask

SUFFIXES = (".png", ".webp", ".tif", ".tiff")
"""What a cut-out's name may end with: the formats that keep every sample and its transparency."""
LARGE_MEGAPIXELS = 4.0
"""From here on a photo's edges are wider than a pixel, and so is the feather."""


def cut_out(photo: Photo, mask: Mask, *, suffix: str = ".png", crop: bool = False) -> bytes:
    """The photo as a file in the format of `suffix`, opaque where `mask` [H, W] bool is True, displayed orientation.

    Samples, depth, profile and metadata are the photo's own, as far as the format holds them; transparency that it
    already had stays. With `crop` only the box around the mask. Raises `BadInput` for a mask of another size or one
    that marks nothing, and for a format without transparency.
    """
    check_suffix(suffix)
    target = format_of(suffix)
    premultiplied = target == "tiff" and is_premultiplied(photo.file)
    cut = cut_samples(photo, mask, crop=crop, premultiplied=premultiplied)
    return encode_photo(cut, target, photo.file, cut=True)


def cut_samples(photo: Photo, mask: Mask, *, crop: bool = False, premultiplied: bool = False) -> Native:
    """What `cut_out` writes, as samples in stored orientation; `premultiplied`: colours fade as their alpha does."""
    box = kept_box(photo, mask)
    native = photo.native
    samples = with_alpha(photo.samples(), native.colours)
    view = displayed(samples, native.orientation)
    _cut(view, feather_weights(mask, feather_of(photo)), native.colours, premultiplied=premultiplied)
    if crop:
        samples = np.ascontiguousarray(stored(view[box.slices], native.orientation))
    return replace(native, pixels=samples)


def kept_box(photo: Photo, mask: Mask) -> Box:
    """The box around what `mask` marks. Raises `BadInput` where it does not fit the photo or marks nothing."""
    if mask.shape != (photo.height, photo.width):
        given = " x ".join(str(side) for side in mask.shape[::-1])
        raise BadInput(f"the mask is {given}, the photo {photo.width} x {photo.height}: give one of that size")
    if not mask.any():
        raise BadInput(f"the mask marks none of the {mask.size} pixels: mark what is to be kept")
    return box_around(mask)


def feather_of(photo: Photo) -> int:
    """The pixels inside the mask over which its edge fades."""
    return 1 if photo.width * photo.height < LARGE_MEGAPIXELS * 1e6 else 2


def cutout_target(photo: Any, output: Any) -> tuple[Any, str]:
    """Where a cut-out goes (`photo.cutout.png`; None: it is handed back) and the suffix of its format.

    Raises `BadInput` for a format without transparency, and an output that is the photo itself.
    """
    if output is None:
        return (beside(photo, lambda path: f"{path.stem}.cutout.png") if is_path(photo) else None), ".png"
    if piped(output):
        return output, ".png"
    suffix = Path(output).suffix or ".png"
    check_suffix(suffix, output)
    protect(output, photo)
    return Path(output), suffix


def give_cut(source: Any, photo: Photo, mask: Mask, *, crop: bool = False) -> Any:
    """The cut-out as the kind that its photo was given as: RGBA array, PIL image with alpha, or the bytes of a PNG."""
    if isinstance(source, np.ndarray):
        return np.array(cut_samples(photo, mask, crop=crop).pixels)
    data = cut_out(photo, mask, crop=crop)
    return pil_from_png(data) if is_pil(source) else data


def check_suffix(suffix: str, name: str | os.PathLike[str] | None = None) -> None:
    """Raise `BadInput` for a suffix whose format cannot hold a cut-out."""
    if suffix.lower() not in SUFFIXES:
        what = repr(suffix) if name is None else str(name)
        raise BadInput(f"{what} cannot hold a cut-out and its transparency: use {', '.join(SUFFIXES)}")


def with_alpha(samples: Samples, colours: int) -> Samples:
    """A copy of [H, W, bands] samples that has an alpha channel behind its colours: its own, or an opaque one."""
    if samples.shape[2] > colours:
        return samples.copy()
    opaque = np.full((*samples.shape[:2], 1), np.iinfo(samples.dtype).max, samples.dtype)
    return np.concatenate([samples, opaque], axis=2)


def _cut(view: Samples, weight: npt.NDArray[np.float32], colours: int, *, premultiplied: bool) -> None:
    """Multiply `weight` [H, W] into the alpha of the displayed view; what is then transparent loses its colours."""
    rim = (weight > 0) & (weight < 1)
    faded = slice(0, colours + 1) if premultiplied else slice(colours, colours + 1)
    share = weight[rim].astype(np.float64)[:, None]
    view[rim, faded] = np.rint(view[rim, faded] * share).astype(view.dtype)
    view[weight == 0] = 0
    view[view[..., colours] == 0] = 0
