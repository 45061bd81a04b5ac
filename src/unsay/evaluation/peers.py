"""Fillers to compare, ours among them, each named with its package, version and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from unsay.bundle import Bundle
from unsay.options import InpaintOptions
from unsay.results import Mask, Patch, Pixels

RADIUS = 5
"""Neighbourhood in pixels; OpenCV's own examples use 3 to 5."""


@dataclass(frozen=True)
class Filler:
    """A way to fill: `fill(photo [H, W, 3] uint8 RGB, hole [H, W] bool)` gives the photo with its hole filled."""

    name: str
    settings: str
    fill: Callable[[Pixels, Mask], Pixels]


def ours(bundle: Bundle, options: InpaintOptions | None = None) -> Filler:
    """A bundle's own filler, by the path that a user's photo takes; by default the hole is filled as it is given."""
    from unsay.inpainting import fill_hole

    chosen = options or InpaintOptions()

    def fill(rgb: Pixels, hole: Mask) -> Pixels:
        return lay_over(rgb, fill_hole(rgb, hole, bundle, chosen))

    settings = f"bundle {bundle.name} {bundle.manifest.get('version', '')}".rstrip()
    name = "Unsay" if chosen.match_rim else "network alone"
    return Filler(name, f"{settings}, grow {chosen.grow}, feather {chosen.feather}, rim {chosen.match_rim}", fill)


def lay_over(rgb: Pixels, patches: Sequence[Patch]) -> Pixels:
    """The photo with the patches blended over it by their weights; samples of weight 0 are the photo's own."""
    out = rgb.copy()
    for patch in patches:
        height, width = patch.weight.shape
        window = (slice(patch.y, patch.y + height), slice(patch.x, patch.x + width))
        weight = patch.weight[..., None]
        out[window] = np.rint(patch.pixels * weight + out[window] * (1 - weight)).astype(np.uint8)
    return out


def telea(rgb: Pixels, hole: Mask) -> Pixels:
    """Fast marching (Telea 2004) as OpenCV has it."""
    return _opencv(rgb, hole, cv2.INPAINT_TELEA)


def navier_stokes(rgb: Pixels, hole: Mask) -> Pixels:
    """Navier-Stokes (Bertalmio et al. 2001) as OpenCV has it."""
    return _opencv(rgb, hole, cv2.INPAINT_NS)


def _opencv(rgb: Pixels, hole: Mask, method: int) -> Pixels:
    filled = np.asarray(cv2.inpaint(np.ascontiguousarray(rgb), hole.astype(np.uint8) * 255, RADIUS, method), np.uint8)
    return np.where(hole[..., None], filled, rgb)


SETTINGS = f"OpenCV {cv2.__version__}, radius {RADIUS}"
TELEA = Filler("Telea", SETTINGS, telea)


def rim_alone(rgb: Pixels, hole: Mask) -> Pixels:
    """The membrane that `match_rim` adds, over flat grey: what our filling is without its network."""
    from unsay.inpainting.rim import match_rim

    grey = np.where(hole[..., None], np.uint8(128), rgb)
    return match_rim(grey, hole)


RIM_ALONE = Filler("rim alone", "ours, no network", rim_alone)
PEERS = (TELEA, Filler("Navier-Stokes", SETTINGS, navier_stokes))
