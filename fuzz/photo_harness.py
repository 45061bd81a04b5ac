"""Photos of any format: opened, patched, coded again in their own format and in another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from fuzz import seeds


def load() -> Callable[[bytes], object]:
    """The test; the last byte picks the other format."""
    from unsay.photo import Photo
    from unsay.results import Patch

    suffixes = tuple(seeds.SUFFIXES.values())

    def test(data: bytes) -> object:
        photo = Photo.open(data, max_megapixels=1)
        side = min(5, photo.width, photo.height)
        patch = Patch(0, 0, np.zeros((side, side, 3), np.uint8), np.ones((side, side), np.float32))
        edited = photo.with_patches([patch])
        assert Photo.open(edited.encode(), max_megapixels=2).format == photo.format
        return photo.rgb, edited.encode(suffixes[data[-1] % len(suffixes)])

    return test


def start() -> Iterable[bytes]:
    """Whole photos of every kind."""
    return [photo for kind in seeds.FORMATS for photo in seeds.photos(kind)]
