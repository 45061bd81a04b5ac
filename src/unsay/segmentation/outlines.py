"""Labels -> labels whose outlines follow the photo's colours: GrabCut (Rother et al. 2004), seeded by the labels.

Groups are made of superpixels and of a network's coarse maps: they leave a thing's feet out and take a strip of the
ground in. What a label holds deep inside is taken as the thing, what is far outside as ground, and between them the
colours of both decide, with a cut along the photo's edges. Labels never take pixels from each other.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from unsay.results import Mask, Pixels
from unsay.segmentation.grouping import Labels

SIDE = 256
"""Long side at which outlines are cut."""
BAND = 0.15
"""How far outside a label its thing may reach, in square roots of the label's area."""
SURROUNDINGS = 0.5
"""How much further out the ground is looked at, likewise."""
DEEP, DEEPEST = 0.12, 0.6
"""Pixels are surely the thing's from this depth on, likewise, and from this share of the label's greatest depth on."""
LEAST = 0.3
"""Where less than this share of a label's own pixels would be left, its colours say nothing, and it stays as it is."""


def follow_colours(labels: Labels, rgb: Pixels) -> Labels:
    """labels [h, w] int32, 0 = none, over the photo rgb [H, W, 3] uint8 -> labels [h, w] int32.

    `rgb`: the photo, or what `colours_for` made of it. A label keeps its number; none is lost. The same input gives
    the same labels.
    """
    out = labels.copy()
    size = _cut_size(labels.shape)
    small = cv2.cvtColor(colours_for(labels.shape, rgb), cv2.COLOR_RGB2BGR)
    for value in np.unique(labels[labels > 0]).tolist():
        mine = labels == value
        cut = _cut(_shrunk(mine, size), _shrunk((labels > 0) & ~mine, size), np.asarray(small, np.uint8))
        if cut is not None:
            soft = cv2.resize(cut.astype(np.float32), labels.shape[::-1], interpolation=cv2.INTER_LINEAR)
            found = soft > 0.5
            out[mine & ~found] = 0
            out[found & (labels == 0) & (out == 0)] = value
    return out


def colours_for(shape: tuple[int, ...], rgb: Pixels) -> Pixels:
    """The photo at the size at which labels of `shape` are cut: all that `follow_colours` sees of it."""
    return np.asarray(cv2.resize(rgb, _cut_size(shape), interpolation=cv2.INTER_AREA), np.uint8)


def _cut_size(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(shape))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _cut(mine: Mask, others: Mask, small: Pixels) -> Mask | None:
    """The thing that the label `mine` [h, w] means, none of it in `others`; None where the colours say nothing."""
    if not mine.any():
        return None
    unit = float(np.sqrt(mine.sum()))
    deep = cv2.distanceTransform(mine.view(np.uint8), cv2.DIST_L2, 5)
    away = cv2.distanceTransform((~mine).view(np.uint8), cv2.DIST_L2, 5)
    belief = np.full(mine.shape, cv2.GC_BGD, np.uint8)
    belief[(away <= BAND * unit) & ~others] = cv2.GC_PR_BGD
    belief[mine] = cv2.GC_PR_FGD
    belief[deep > max(DEEP * unit, DEEPEST * float(deep.max()))] = cv2.GC_FGD
    box = _around(away <= (BAND + SURROUNDINGS) * unit)
    inside = np.ascontiguousarray(belief[box])
    if not _is_thing(inside).any() or _is_thing(inside).all():
        return None
    found = np.zeros(mine.shape, bool)
    found[box] = _is_thing(_grab_cut(_without(small[box], others[box], ~_is_thing(inside)), inside))
    return found if (found & mine).sum() >= LEAST * mine.sum() else None


def _without(colours: Pixels, others: Mask, ground: Mask) -> Pixels:
    """The colours [h, w, 3] with those under `others` drawn from the rest of the ground: neither model learns them."""
    rest = colours[ground & ~others]
    out = np.ascontiguousarray(colours.copy())
    if len(rest):
        out[others] = rest[np.random.default_rng(0).integers(len(rest), size=int(others.sum()))]
    return out


def _grab_cut(colours: Pixels, belief: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    cv2.setRNGSeed(0)  # its colour models start from a random clustering
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cut = cv2.grabCut(colours, belief, (0, 0, 1, 1), *models, 1, cv2.GC_INIT_WITH_MASK)[0]
    return np.asarray(cut, np.uint8)


def _is_thing(belief: npt.NDArray[np.uint8]) -> Mask:
    return np.asarray((belief == cv2.GC_FGD) | (belief == cv2.GC_PR_FGD))


def _shrunk(mask: Mask, size: tuple[int, int]) -> Mask:
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5)


def _around(mask: Mask) -> tuple[slice, slice]:
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(ys[0]), int(ys[-1]) + 1), slice(int(xs[0]), int(xs[-1]) + 1)
