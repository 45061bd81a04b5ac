"""Masks of any format, with the size that the photo has."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

from fuzz import seeds


def load() -> Callable[[bytes], object]:
    """The test: bytes and a stream give the same mask."""
    from unsay.adapt import read_mask

    def test(data: bytes) -> object:
        mask = read_mask(data, (seeds.WIDTH, seeds.HEIGHT))
        assert mask.shape == (seeds.HEIGHT, seeds.WIDTH)
        assert mask.dtype == bool
        assert (read_mask(io.BytesIO(data), (seeds.WIDTH, seeds.HEIGHT)) == mask).all()
        return mask

    return test


def start() -> Iterable[bytes]:
    """Whole masks."""
    return seeds.masks()
