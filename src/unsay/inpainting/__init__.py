"""Mask -> pixels: crop around the hole, fill, hand back patches to lay over the photo."""

from __future__ import annotations

import cv2
import numpy as np

from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.inpainting.filler import Filler
from unsay.inpainting.hole import feather_weights, grow_mask, settle, settled
from unsay.inpainting.rim import match_rim
from unsay.inpainting.texture import copy_detail, find_sources, joined
from unsay.inpainting.window import Window, plan_windows, shrunk, tiles
from unsay.options import InpaintOptions
from unsay.results import Mask, Patch, Pixels

__all__ = ["fill_hole", "grow_mask", "grown_hole", "settled"]

AS_GIVEN = InpaintOptions()
"""The mask as it is: neither grown nor feathered."""


def fill_hole(rgb: Pixels, hole: Mask, bundle: Bundle, options: InpaintOptions = AS_GIVEN) -> list[Patch]:
    """New pixels for `hole` [H, W] bool (True = fill) of `rgb` [H, W, 3] uint8, as patches that do not overlap.

    Only the surroundings of the hole are looked at, at the best scale that the network knows; memory grows with
    those windows, not with the photo. An empty hole gives no patches. The same input gives the same patches.
    Raises `BadInput` if the mask is of another size or nothing is left outside it. Source: ours.
    """
    if hole.shape != rgb.shape[:2]:
        raise BadInput(f"the mask is {_size(hole)} pixels, the photo {_size(rgb)}: give a mask of the photo's size")
    _, feather = settle(options, hole.shape)
    grown = grown_hole(hole, options)
    filler = Filler.of(bundle)
    windows = plan_windows(grown, filler.max_side, filler.multiple)
    return [_patch(rgb, grown, window, filler, feather, options) for window in windows]


def grown_hole(mask: Mask, options: InpaintOptions) -> Mask:
    """`mask` [H, W] bool grown as `options` say. Raises `BadInput` if nothing is left outside it to fill from."""
    grow, _ = settle(options, mask.shape)
    grown = grow_mask(mask, grow)
    if not grown.all():
        return grown
    if mask.all():
        raise BadInput(f"the hole covers the whole photo ({_size(mask)}): nothing is left to fill from; choose less")
    raise BadInput(f"the hole grown by {grow} pixels covers the whole photo ({_size(mask)}): grow it less")


def _patch(rgb: Pixels, hole: Mask, window: Window, filler: Filler, feather: int, options: InpaintOptions) -> Patch:
    area, box = window.area, window.hole
    match = filler.recipe.match_rim if options.match_rim is None else options.match_rim
    work, missing = shrunk(rgb[area.slices], hole[area.slices], window.scale)
    pending = missing.copy()
    for core, around in tiles(pending, filler.max_side):
        filled = filler.fill(work[around.slices], pending[around.slices])
        if match:
            filled = match_rim(filled, pending[around.slices])
        work[core.slices] = filled[core.inside(around).slices]
        pending[core.slices] = False
    sources = [find_sources(work, missing, *tile) for tile in tiles(missing, filler.max_side) if options.texture]
    if window.scale < 1:
        full = (area.x1 - area.x0, area.y1 - area.y0)
        work = np.asarray(cv2.resize(work, full, interpolation=cv2.INTER_CUBIC), np.uint8)
    if sources:
        known = np.where(hole[area.slices][..., None], work, rgb[area.slices])
        work = copy_detail(known, hole[area.slices], joined(sources), window.scale)
    rim = box.grown(1, hole.shape)
    weight = feather_weights(hole[rim.slices], feather)[box.inside(rim).slices]
    pixels = work[box.inside(area).slices]
    return Patch(box.x0, box.y0, np.ascontiguousarray(pixels), np.ascontiguousarray(weight))


def _size(array: Pixels | Mask) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
