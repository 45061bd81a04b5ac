"""Superpixels: small pieces whose borders are the photo's edges, as the nodes that a grouper joins."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.results import Pixels
from unsay.segmentation.grouping.graph import Edges, Floats, Graph, Labels
from unsay.segmentation.vision import Array


@dataclass(frozen=True)
class Superpixels:
    """`side`: long side in pixels at which they are found; `step`: mean distance of their seeds in pixels there;
    `colour`: weight of the mean colour (Lab, L in 0..1) beside the encoder's features, which have unit mean square.
    """

    side: int = 400
    step: int = 14
    colour: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.step <= self.side:
            raise BadInput(f"superpixels step is {self.step}; give 1 to {self.side} (side) pixels")
        if self.colour < 0:
            raise BadInput(f"superpixels colour is {self.colour}; the weight must be 0 or more")

    def reduced(self, rgb: Pixels) -> Pixels:
        """The photo at the size at which superpixels are found, at least one pixel a side."""
        height, width = rgb.shape[:2]
        scale = self.side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(rgb, size, interpolation=method), np.uint8)


def superpixel_graph(rgb: Pixels, features: Array, options: Superpixels) -> tuple[Graph, Labels]:
    """rgb [H, W, 3] at the size to work at, features [h, w, D] of the same photo on any grid -> the graph of its
    superpixels, features joined with colour, and the superpixel of each pixel [H, W] int32.
    """
    smooth = np.asarray(cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), (0, 0), 1.0), np.uint8)
    lab = _unit_lab(smooth)
    slope = gradient(lab)
    labels = watershed(smooth, slope, options.step)
    count = int(labels.max()) + 1
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count).astype(np.float64)
    colours = np.stack([np.bincount(flat, lab[..., c].ravel(), count) for c in range(3)], 1) / sizes[:, None]
    encoded = _bilinear_shares(labels, *features.shape[:2]) @ features.reshape(-1, features.shape[2])
    rows, columns = np.indices(labels.shape)
    centres = np.stack([np.bincount(flat, p.ravel(), count) for p in (rows, columns)], 1) / sizes[:, None]
    edges, lengths, contrasts = _borders(labels, slope)
    joined = np.concatenate([encoded / sizes[:, None], options.colour * colours], 1).astype(np.float32)
    return Graph(joined, sizes, centres / max(labels.shape), edges, lengths, contrasts), labels


def watershed(lab: Pixels, slope: Array, step: int) -> Labels:
    """Superpixels [H, W] int32, 0..N-1, each 4-connected: OpenCV's watershed (Meyer 1992) of lab [H, W, 3] uint8 from
    one seed a `step` x `step` block, at the block's calmest point by slope [H, W], near its middle.
    """
    frame = (1, 1, 1, 1)  # watershed overwrites the picture's outermost pixels
    marks = cv2.copyMakeBorder(_seeds(slope, step), *frame, cv2.BORDER_CONSTANT, value=0)
    cv2.watershed(cv2.copyMakeBorder(lab, *frame, cv2.BORDER_REPLICATE), marks)
    marks = np.maximum(marks[1:-1, 1:-1], 0)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    while not marks.all():  # it also leaves lines between the pieces
        grown = cv2.dilate(marks.astype(np.float32), cross).astype(np.int32)
        marks = np.where(marks == 0, grown, marks)
    return np.asarray(marks - 1, np.int32)


def gradient(lab: Array) -> Array:
    """Length of the colour gradient [H, W] of lab [H, W, 3] fp32, per pixel (Sobel)."""
    x = cv2.Sobel(lab, cv2.CV_32F, 1, 0, scale=0.125)
    y = cv2.Sobel(lab, cv2.CV_32F, 0, 1, scale=0.125)
    return np.asarray(np.sqrt(np.einsum("hwc,hwc->hw", x, x) + np.einsum("hwc,hwc->hw", y, y)), np.float32)


def _seeds(slope: Array, step: int) -> Labels:
    """Marks [H, W] int32: 1..N at one pixel a block, 0 elsewhere."""
    tops, rows = _blocks(slope.shape[0], step)
    lefts, columns = _blocks(slope.shape[1], step)
    # how far from the middle of its block a pixel lies; not symmetric, so that no two pixels of a block tie
    y = (np.arange(slope.shape[0]) - tops[rows]) / step - 0.5
    x = (np.arange(slope.shape[1]) - lefts[columns]) / step - 0.499
    off = np.where(np.maximum.outer(np.abs(y), np.abs(x)) > 0.3, 1.0, 0.0) + 1e-3 * np.add.outer(y * y, 0.99 * x * x)
    score = slope + off
    least = np.minimum.reduceat(np.minimum.reduceat(score, tops, axis=0), lefts, axis=1)
    block = np.add.outer(rows * len(lefts), columns)
    return np.where(score == least[np.ix_(rows, columns)], block + 1, 0).astype(np.int32)


def _blocks(length: int, step: int) -> tuple[Edges, Edges]:
    """Where each block begins along a side, and the block of each position."""
    count = max(1, round(length / step))
    block = np.arange(length) * count // length
    return np.searchsorted(block, np.arange(count)), block


def _unit_lab(lab: Pixels) -> Array:
    """OpenCV's 8-bit Lab -> L in 0..1, a and b in the same proportion."""
    shifted = lab.astype(np.float32) - np.array([0, 128, 128], np.float32)
    return np.asarray(shifted * np.array([1 / 255, 0.01, 0.01], np.float32), np.float32)


def _bilinear_shares(labels: Labels, height: int, width: int) -> Floats:
    """[N, height * width]: the weight of each patch in the sum, over a superpixel's pixels, of a map that is enlarged
    bilinearly; faster than enlarging the map.
    """
    count = int(labels.max()) + 1
    top, down = _interpolation(labels.shape[0], height)
    left, right = _interpolation(labels.shape[1], width)
    shares = np.zeros(count * height * width)
    base = labels.astype(np.int64) * (height * width)
    for row, row_weight in ((top, 1 - down), (np.minimum(top + 1, height - 1), down)):
        for column, weight in ((left, 1 - right), (np.minimum(left + 1, width - 1), right)):
            index = base + np.add.outer(row * width, column)
            shares += np.bincount(index.ravel(), np.multiply.outer(row_weight, weight).ravel(), len(shares))
    return shares.reshape(count, -1)


def _interpolation(length: int, patches: int) -> tuple[Edges, Floats]:
    """For each of `length` pixels: the patch before it and the weight of the patch after (corners not aligned)."""
    place = np.clip((np.arange(length) + 0.5) * patches / length - 0.5, 0, patches - 1)
    before = np.floor(place).astype(np.int64)
    return before, place - before


def _borders(labels: Labels, slope: Array) -> tuple[Edges, Floats, Floats]:
    """Pairs of superpixels that touch [E, 2], how many pixel pairs lie on their border, and the mean slope there."""
    count = int(labels.max()) + 1
    keys, slopes = [], []
    for a, b, s, t in (
        (labels[:, :-1], labels[:, 1:], slope[:, :-1], slope[:, 1:]),
        (labels[:-1], labels[1:], slope[:-1], slope[1:]),
    ):
        differ = a != b
        first, second = a[differ].astype(np.int64), b[differ].astype(np.int64)
        keys.append(np.minimum(first, second) * count + np.maximum(first, second))
        slopes.append(np.maximum(s[differ], t[differ]))
    pairs, place, lengths = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    contrasts = np.bincount(place, np.concatenate(slopes), len(pairs)) / np.maximum(lengths, 1)
    edges: npt.NDArray[np.int64] = np.stack(np.divmod(pairs, count), axis=1)
    return edges, lengths.astype(np.float64), contrasts
