"""Formats that lose something each time they are written, WebP and AVIF: as little as stays unseen (ours).

Their pictures cannot be patched in place: each coded part is predicted from the parts before it. So the whole photo
is coded anew, at the lowest quality that keeps what was not erased at `KEPT_DB` or more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unsay.photo.native import Samples, differing
from unsay.results import Mask

KEPT_DB = 45.0
"""Peak signal-to-noise ratio, in dB, of the samples outside the fill against the file that was opened."""
_MARGIN_DB = 0.2
_QUALITIES = range(30, 101)
_TILE, _TILES = 128, 4
_FINER = 2

Encode = Callable[[Samples, int | None], bytes]
"""Codes samples at a quality of 0 to 100; at None without loss, or with as little as the format has."""
Decode = Callable[[bytes], Samples]


def encode_closely(encode: Encode, decode: Decode, before: Samples, after: Samples, colours: int) -> bytes:
    """`after` [H, W, bands] as `encode` writes it, its samples that equal those of `before` kept at `KEPT_DB`.

    The quality is searched on up to sixteen tiles, then raised until the whole photo has it. Where even 100 falls
    short (colours that change from sample to sample, at half resolution), the photo is coded without loss.
    """
    kept = ~differing(before, after)
    tiles, kept_tiles = _tiles(after), _tiles(kept[..., None])[..., 0]

    def loss(quality: int) -> float:
        return _decibels(decode(encode(tiles, quality)), tiles, kept_tiles, colours)

    quality = _lowest(loss, KEPT_DB if tiles is after else KEPT_DB + _MARGIN_DB)
    for finer in sorted({min(q, _QUALITIES[-1]) for q in range(quality, _QUALITIES[-1] + _FINER, _FINER)}):
        data = encode(after, finer)
        if _decibels(decode(data), after, kept, colours) >= KEPT_DB:
            return data
    return encode(after, None)


def _lowest(loss: Callable[[int], float], wanted: float) -> int:
    """The lowest quality that reaches what is wanted, by halving (more is hardly ever worse); 101 if none does."""
    low, high = _QUALITIES[0], _QUALITIES[-1] + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) >= wanted else (middle + 1, high)
    return low


def _decibels(shown: Samples, wanted: Samples, kept: Mask, colours: int) -> float:
    """PSNR of the kept samples, the lower of their colours' and what is beyond; infinite where all are equal."""
    if not kept.any():
        return float("inf")
    total = np.zeros(wanted.shape[2])
    for rows in np.array_split(np.arange(len(kept)), max(1, len(kept) // 256)):
        step = shown[rows].astype(np.float32) - wanted[rows]
        total += np.square(step[kept[rows]], dtype=np.float64).sum(axis=0)
    parts = [part.mean() for part in (total[:colours], total[colours:]) if part.size]
    mean = max(parts) / int(kept.sum())
    return float("inf") if mean == 0 else float(10 * np.log10(np.iinfo(wanted.dtype).max ** 2 / mean))


def _tiles(pixels: Samples) -> Samples:
    """The picture if it is small, else square tiles spread evenly over it, side by side."""
    height, width = pixels.shape[:2]
    if height * width <= 2 * (_TILE * _TILES) ** 2:
        return pixels
    rows, columns = (_starts(size) for size in (height, width))
    strips = [np.concatenate([pixels[y : y + _TILE, x : x + _TILE] for x in columns], axis=1) for y in rows]
    return np.ascontiguousarray(np.concatenate(strips, axis=0))


def _starts(size: int) -> list[int]:
    count = max(1, min(_TILES, size // _TILE))
    return [int(at) for at in np.linspace(0, max(size - _TILE, 0), count)]
