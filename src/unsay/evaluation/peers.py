"""Fillers to compare, ours among them, each named with its package, version and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import cv2
import numpy as np

import unsay
from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.evaluation.absent import Absent, import_optional
from unsay.options import InpaintOptions
from unsay.results import Mask, Patch, Pixels

RADIUS = 5
"""OpenCV's neighbourhood in pixels; its own examples use 3 to 5."""
BIHARMONIC_SIDE = 512
"""Longest side at which scikit-image's biharmonic filling is run: it solves one sparse system for all missing pixels,
in time and memory that grow faster than the hole.
"""
PATCH_RADIUS = 3
"""PatchMatch compares patches of twice this plus one pixels a side; as in the package's own examples."""
Fill = Callable[[Pixels, Mask], Pixels]


@dataclass(frozen=True)
class Filler:
    """A way to fill: `fill(photo [H, W, 3] uint8 RGB, hole [H, W] bool)` gives the photo with its hole filled."""

    name: str
    package: str
    version: str
    options: str
    fill: Fill

    @property
    def settings(self) -> str:
        """ "OpenCV 5.0.0, radius 5"."""
        return f"{self.package} {self.version}, {self.options}"


def ours(bundle: Bundle, options: InpaintOptions | None = None) -> Filler:
    """A bundle's own filler, by the path that a user's photo takes; by default the hole is filled as it is given."""
    from unsay.inpainting import fill_hole

    chosen = options or InpaintOptions()

    def fill(rgb: Pixels, hole: Mask) -> Pixels:
        return lay_over(rgb, fill_hole(rgb, hole, bundle, chosen))

    named = f"bundle {bundle.name} {bundle.manifest.get('version', '')}".rstrip()
    rim = "as the bundle says" if chosen.match_rim is None else chosen.match_rim
    settings = f"{named}, grow {chosen.grow}, feather {chosen.feather}, rim {rim}, texture {chosen.texture}"
    return Filler("Unsay" if chosen.texture else "without texture", "Unsay", unsay.__version__, settings, fill)


def lay_over(rgb: Pixels, patches: Sequence[Patch]) -> Pixels:
    """The photo with the patches blended over it by their weights; samples of weight 0 are the photo's own."""
    out = rgb.copy()
    for patch in patches:
        height, width = patch.weight.shape
        window = (slice(patch.y, patch.y + height), slice(patch.x, patch.x + width))
        weight = patch.weight[..., None]
        out[window] = np.rint(patch.pixels * weight + out[window] * (1 - weight)).astype(np.uint8)
    return out


def rim_alone(rgb: Pixels, hole: Mask) -> Pixels:
    """The membrane that `match_rim` adds, over flat grey: what our filling is without its network."""
    from unsay.inpainting.rim import match_rim

    grey = np.where(hole[..., None], np.uint8(128), rgb)
    return match_rim(grey, hole)


RIM_ALONE = Filler("rim alone", "Unsay", unsay.__version__, "no network", rim_alone)


def telea(rgb: Pixels, hole: Mask) -> Pixels:
    """Fast marching (Telea 2004) as OpenCV has it."""
    return _opencv(rgb, hole, cv2.INPAINT_TELEA)


def navier_stokes(rgb: Pixels, hole: Mask) -> Pixels:
    """Navier-Stokes (Bertalmio et al. 2001) as OpenCV has it."""
    return _opencv(rgb, hole, cv2.INPAINT_NS)


def _opencv(rgb: Pixels, hole: Mask, method: int) -> Pixels:
    filled = np.asarray(cv2.inpaint(np.ascontiguousarray(rgb), hole.astype(np.uint8) * 255, RADIUS, method), np.uint8)
    return np.where(hole[..., None], filled, rgb)


TELEA = Filler("Telea", "OpenCV", cv2.__version__, f"radius {RADIUS}", telea)
NAVIER_STOKES = Filler("Navier-Stokes", "OpenCV", cv2.__version__, f"radius {RADIUS}", navier_stokes)


def biharmonic() -> Filler | Absent:
    """Biharmonic equation (Chui and Mhaskar 2010) as scikit-image has it; long side `BIHARMONIC_SIDE` at most."""
    restoration = import_optional("biharmonic", "skimage.restoration", "scikit-image")
    if isinstance(restoration, Absent):
        return restoration

    def solve(rgb: Pixels, hole: Mask) -> Pixels:
        solved = restoration.inpaint_biharmonic(rgb, hole, channel_axis=2)
        return np.asarray(np.rint(solved.clip(0, 1) * 255), np.uint8)

    def fill(rgb: Pixels, hole: Mask) -> Pixels:
        return shrunk_to(BIHARMONIC_SIDE, solve, rgb, hole)

    options = f"long side at most {BIHARMONIC_SIDE}"
    return Filler("biharmonic", "scikit-image", version("scikit-image"), options, fill)


def patchmatch() -> Filler | Absent:
    """PatchMatch (Barnes et al. 2009), multi-scale, as the package pypatchmatch has it; its search starts alike."""
    module = import_optional("PatchMatch", "patchmatch", "pypatchmatch")
    if isinstance(module, Absent):
        return module
    if not module.patchmatch_available:
        return Absent("PatchMatch", "pypatchmatch was installed without its compiled library: see its own page")

    def fill(rgb: Pixels, hole: Mask) -> Pixels:
        module.set_random_seed(0)
        filled = module.inpaint(np.ascontiguousarray(rgb), hole.astype(np.uint8) * 255, patch_size=PATCH_RADIUS)
        return np.where(hole[..., None], filled, rgb)

    return Filler("PatchMatch", "pypatchmatch", version("pypatchmatch"), f"patch radius {PATCH_RADIUS}", fill)


PEERS: dict[str, Callable[[], Filler | Absent]] = {
    "telea": lambda: TELEA,
    "navier-stokes": lambda: NAVIER_STOKES,
    "biharmonic": biharmonic,
    "patchmatch": patchmatch,
}
"""By the name that `--peers` takes."""


def open_peers(names: Sequence[str]) -> list[Filler | Absent]:
    """The peers called `names`, in their order. Raises `BadInput` for a name that is none of `PEERS`."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise BadInput(f"there is no peer {unknown[0]!r}: choose from {', '.join(PEERS)}, all or none")
    return [PEERS[name]() for name in names]


def shrunk_to(side: int, fill: Fill, rgb: Pixels, hole: Mask) -> Pixels:
    """`fill` run at a long side of at most `side` pixels, its fill enlarged again; the photo's own pixels outside."""
    height, width = hole.shape
    scale = side / max(height, width)
    if scale >= 1:
        return np.where(hole[..., None], fill(rgb, hole), rgb)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # a small pixel with any hole under it is missing: its mean would let what is to be found shine through
    missing = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    filled = fill(np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8), missing)
    return np.where(hole[..., None], cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC), rgb)
