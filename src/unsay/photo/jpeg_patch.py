"""A JPEG with some of its samples changed: their blocks are coded anew, every other coefficient stays the file's own.

A changed block is made from the new samples and, where it has unchanged ones, from what its old coefficients say
there, before any rounding or clipping: those come out as they were, to within the quantisation. (Ours.)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from unsay.photo.containers import Segment
from unsay.photo.jpeg import (
    ZIGZAG,
    Blocks,
    Component,
    Jpeg,
    quantisation_segments,
    read_blocks,
    read_jpeg,
    segment_bytes,
)
from unsay.photo.jpeg_entropy import encode_scans
from unsay.photo.native import Samples, differing
from unsay.results import Mask

Values = npt.NDArray[np.float32]

_BATCH = 1 << 12
_RANGE = 1023
"""Largest coefficient of 8-bit samples that every decoder takes (T.81 F.1.2.2: ten bits)."""
_COSINES = np.cos((2 * np.arange(8) + 1) * np.arange(8)[:, None] * np.pi / 16) / 2
_COSINES[0] /= np.sqrt(2)
_DCT = _COSINES.astype(np.float32)
"""The transform of T.81 A.3.3 along one side of a block: orthonormal, so its transpose undoes it."""
_YCC = np.array(
    ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411)), np.float32
)
"""JFIF 1.02: luminance and colour differences, the latter around 128."""


def patch_jpeg(data: bytes, segments: Iterable[Segment], before: Samples, after: Samples) -> bytes:
    """The JPEG `data`, decoded as `before` [H, W, bands], with the samples `after` where the two differ.

    `segments` stand in place of the file's own metadata. Quantisation, subsampling and colour coding stay; a sequential
    file keeps its restarts, a progressive one stays progressive. Raises `Unpatchable` for a JPEG that is coded in a
    way that this cannot write.
    """
    jpeg = read_jpeg(data)
    blocks = read_blocks(jpeg)
    changed = differing(before, after)
    for index, component in enumerate(jpeg.components):
        _patch_component(jpeg, index, component, blocks[index], changed, after)
    head = [*segments, *([(0xEE, jpeg.adobe)] if jpeg.adobe else []), *quantisation_segments(jpeg), jpeg.frame]
    return b"\xff\xd8" + b"".join(map(segment_bytes, head)) + encode_scans(jpeg, blocks)


def _patch_component(
    jpeg: Jpeg, index: int, component: Component, blocks: Blocks, changed: Mask, after: Samples
) -> None:
    """Put, in place, new coefficients wherever a block holds a changed sample."""
    h, v = jpeg.most
    factors = v // component.v, h // component.h
    size = 8 * factors[0], 8 * factors[1]
    touched = _any_in_cells(changed, size)
    table = np.zeros(64, np.float32)
    table[ZIGZAG] = jpeg.tables[component.table]
    where = np.argwhere(touched)
    for start in range(0, len(where), _BATCH):
        rows, columns = where[start : start + _BATCH].T
        y = np.minimum(rows[:, None] * size[0] + np.arange(size[0]), changed.shape[0] - 1)[:, :, None]
        x = np.minimum(columns[:, None] * size[1] + np.arange(size[1]), changed.shape[1] - 1)[:, None, :]
        own = blocks[rows, columns] * table
        old = _DCT.T @ own.reshape(-1, 8, 8) @ _DCT
        share, fresh = _averaged(changed[y, x], _component(jpeg, index, after[y, x]), factors)
        new = _DCT @ (old * (1 - share) + fresh) @ _DCT.T
        blocks[rows, columns] = np.rint(new.reshape(-1, 64) / table).clip(-_RANGE, _RANGE)


def _any_in_cells(mask: Mask, size: tuple[int, int]) -> Mask:
    """Which cells of `size` (height, width) hold anything of a mask; those at the edge may be smaller."""
    rows = np.logical_or.reduceat(mask, np.arange(0, mask.shape[0], size[0]), axis=0)
    return np.asarray(np.logical_or.reduceat(rows, np.arange(0, mask.shape[1], size[1]), axis=1))


def _averaged(mask: Mask, values: Values, factors: tuple[int, int]) -> tuple[Values, Values]:
    """Share of each component sample that is changed, [n, 8, 8], and the part that the changed pixels give to it."""
    cells = (len(mask), 8, factors[0], 8, factors[1])
    share = mask.reshape(cells).mean(axis=(2, 4), dtype=np.float32)
    return share, np.where(mask, values, np.float32(0)).reshape(cells).mean(axis=(2, 4), dtype=np.float32)


def _component(jpeg: Jpeg, index: int, samples: Samples) -> Values:
    """One component, around zero, of samples [..., bands] as libvips decodes them."""
    values = samples.astype(np.float32)
    if jpeg.colour in ("ycc", "ycck") and index < 3:
        return np.asarray(values[..., :3] @ _YCC[index] - (128 if index == 0 else 0), np.float32)
    chosen = values[..., index]
    inverted = jpeg.colour in ("cmyk", "ycck")  # libvips turns all of them round, as Adobe's files are
    return np.asarray((255 - chosen if inverted else chosen) - 128, np.float32)
