"""A photo as its file had it: pixels, depth, alpha, colour profile, orientation and everything written beside them.

The work happens on `Photo.rgb`, in sRGB and the way up that the photo is looked at. What comes out of it, patches, is
laid over the file's own samples: where a patch has no weight, they stay exactly what they were. The source bytes and
the patches stay reachable, so that a writer may code anew only the parts of the file that the patches touch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from unsay.errors import BadInput
from unsay.options import MAX_MEGAPIXELS
from unsay.photo.colour import ColourSpace
from unsay.photo.native import Native, Samples, displayed
from unsay.photo.read import PhotoFile, Source, read_photo
from unsay.photo.write import encode_photo, format_of, write_atomically
from unsay.results import Patch, Pixels

_STRIP_PIXELS = 1 << 18


class Photo:
    """A photo, opened whole and never changed: `with_patches` gives another one.

    `native`: the samples as the file holds them, before any patch. `file`: the file that it was read from, with its
    bytes; None for one made from samples. `patches`: what was laid over it since, in order, displayed orientation.
    """

    def __init__(self, native: Native, file: PhotoFile | None = None, patches: tuple[Patch, ...] = ()) -> None:
        self.native = native
        self.file = file
        self.patches = patches

    @classmethod
    def open(cls, source: Source, *, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
        """Open a JPEG, PNG, WebP, TIFF or AVIF from a path, bytes or a binary stream.

        Raises `BadInput` if it is missing, no photo, damaged, cut short, animated, or larger than `max_megapixels`
        (checked before any pixel is decoded).
        """
        file = read_photo(source, max_megapixels)
        return cls(file.native, file)

    @property
    def width(self) -> int:
        """Width in pixels, as displayed."""
        return int(displayed(self.native.pixels, self.native.orientation).shape[1])

    @property
    def height(self) -> int:
        """Height in pixels, as displayed."""
        return int(displayed(self.native.pixels, self.native.orientation).shape[0])

    @property
    def format(self) -> str:
        """`jpeg`, `png`, `webp`, `tiff` or `avif`; `png` for a photo made from samples."""
        return self.file.format if self.file is not None else "png"

    @property
    def lossless(self) -> bool:
        """Whether writing the photo in its own format keeps every sample outside the patches."""
        return self.file.lossless if self.file is not None else True

    @cached_property
    def rgb(self) -> Pixels:
        """[H, W, 3] uint8, sRGB, displayed orientation, alpha left out; read-only."""
        pixels = np.ascontiguousarray(displayed(self._space.to_srgb(self.samples()), self.native.orientation)).view()
        pixels.flags.writeable = False
        return pixels

    def samples(self) -> Samples:
        """[H, W, bands] uint8 or uint16: the file's own samples in stored orientation, with the patches laid over."""
        if not self.patches:
            return self.native.pixels
        pixels = self.native.pixels.copy()
        view = displayed(pixels, self.native.orientation)
        for patch in self.patches:
            _lay(view, patch, self._space)
        return pixels

    def with_patches(self, patches: Iterable[Patch]) -> Photo:
        """The photo with `patches` laid over it, in order; those without any weight above 0 are left out.

        Raises `BadInput` for a patch that does not fit the photo.
        """
        given = list(patches)
        for patch in given:
            _check(patch, self.width, self.height)
        return Photo(self.native, self.file, (*self.patches, *(p for p in given if (p.weight > 0).any())))

    def encode(self, suffix: str | None = None) -> bytes:
        """The photo as a file, in its own format or the one that `suffix` (".png") stands for.

        An untouched photo in its own format is the source, byte for byte. EXIF, ICC, XMP and IPTC are kept;
        thumbnails, previews and gain maps are not, as they still show what was erased.
        Raises `BadInput` for a suffix that is not written, or a photo that the format cannot hold.
        """
        target = format_of(suffix) if suffix else self.format
        if self.file is not None and target == self.format and not self.patches:
            return self.file.data
        return encode_photo(replace(self.native, pixels=self.samples()), target, self.file)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the photo to `path` in one step, in the format of its suffix (none: its own); gives the path.

        Raises `BadInput` where nothing can be written there; a file that was there is then still whole.
        """
        write_atomically(path, self.encode(Path(path).suffix or None))
        return Path(path)

    @cached_property
    def _space(self) -> ColourSpace:
        return ColourSpace.of(self.native)


def from_samples(pixels: Samples, *, colours: int = 3, orientation: int = 1, icc: bytes | None = None) -> Photo:
    """A photo that never was a file: [H, W, bands] uint8 or uint16 samples, which must not change afterwards."""
    return Photo(Native(pixels, colours, orientation, icc, bits=8 * pixels.dtype.itemsize))


def _check(patch: Patch, width: int, height: int) -> None:
    if patch.pixels.ndim != 3 or patch.pixels.shape[2] != 3 or patch.pixels.dtype != np.uint8:
        raise BadInput(f"a patch is [h, w, 3] uint8, not {patch.pixels.shape} {patch.pixels.dtype}")
    h, w = patch.pixels.shape[:2]
    if patch.weight.shape != (h, w):
        raise BadInput(f"a patch of {w} x {h} pixels needs weights [{h}, {w}], not {list(patch.weight.shape)}")
    if patch.x < 0 or patch.y < 0 or patch.x + w > width or patch.y + h > height:
        raise BadInput(f"a patch of {w} x {h} at {patch.x}, {patch.y} does not fit a photo of {width} x {height}")
    if patch.weight.size and not (patch.weight.min() >= 0 and patch.weight.max() <= 1):
        raise BadInput(f"a patch's weights go from 0 to 1, not {patch.weight.min()} to {patch.weight.max()}")


def _strips(patch: Patch) -> Iterator[tuple[int, int]]:
    height, width = patch.weight.shape
    rows = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _lay(view: Samples, patch: Patch, space: ColourSpace) -> None:
    """Blend a patch into the displayed view of a photo's samples, strip by strip to bound the memory it takes."""
    for top, bottom in _strips(patch):
        weight = patch.weight[top:bottom]
        touched = weight > 0
        if not touched.any():
            continue
        rows = slice(patch.y + top, patch.y + bottom)
        region = view[rows, patch.x : patch.x + weight.shape[1], : space.colours]
        fill = space.from_srgb(patch.pixels[top:bottom][touched][None], view.dtype)[0]
        share = weight[touched].astype(np.float64)[:, None]
        blended = region[touched] * (1 - share) + fill * share
        region[touched] = np.rint(blended).astype(view.dtype)
