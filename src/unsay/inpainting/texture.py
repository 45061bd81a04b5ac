"""Put the photo's own texture into a smooth fill (ours).

A network trained for the likeliest colours fills softly: what it cannot know it averages away. The structure stays the
network's; what its fill lacks in fine detail is copied from places of the photo that look alike when blurred.

1. `find_sources`, at the network's scale: the hole is covered by overlapping tiles, and each is given a place in the
   known part whose blurred colours are those of the fill, whose texture is as strong as that around the hole, and
   whose detail continues what lies beside it: image quilting (Efros and Freeman 2001) with the fill as a guide.
2. `copy_detail`, at full size: detail, band by band, is copied from there. Overlapping tiles are blended so that
   energy, not amplitude, is kept, as a mean of unlike textures would be blurred again (Heitz and Neyret 2018). A band
   gets only the energy that the fill lacks against the place that is copied.

Pixels outside the hole are untouched, and calm places get next to nothing: there is nothing to copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unsay.inpainting.hole import Box, box_around
from unsay.inpainting.rim import membrane, rim_of
from unsay.results import Mask, Pixels

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
GREY = np.array([0.299, 0.587, 0.114], np.float32)
TILE = 16
"""Side of a tile in pixels of the network's scale; tiles lie half of it apart."""
STRIDE = 2
"""Sources lie on a grid of this; it divides half a tile, so that the place beside a source is a source too."""
MAX_SOURCES = 12000
SAMPLES = 4
"""Blurred colours are compared at so many points a side of a tile."""
FINEST, BANDS = 0.8, 3
"""Deviation of the first blur in pixels, and the octaves of detail at the network's scale."""
NEAREST = 24
"""Sources that are looked at for each tile, beside those that continue its neighbours."""
STRENGTH_WEIGHT = 8.0
"""Grey levels that a factor of e in the energy of the texture counts as."""
SEAM_WEIGHT = 0.5
"""What a squared grey level of misfit along a seam counts as."""
REUSE = 20.0
"""Squared grey levels that each earlier use of a source counts as: the same tile again and again is a pattern."""
MIN_ENERGY = 1.0
"""Added to energies before their logarithm is taken: below a grey level squared there is noise."""
LOUDEST = 2.0
"""Most that a tile's amplitude is raised by."""
MAX_PIXELS = 12_500_000
"""Windows of more pixels get their detail at a smaller size: the blurs would take gigabytes."""


@dataclass(frozen=True)
class Sources:
    """Where each tile takes its detail from; centres (y, x) [T, 2] in pixels of the network's scale."""

    tiles: Ints
    sources: Ints


def find_sources(filled: Pixels, hole: Mask, core: Box, area: Box) -> Sources:
    """Sources for the hole in `core` of a window at the network's scale; none where there is too little to copy from.

    filled [h, w, 3] uint8: the window, already filled smoothly under `hole` [h, w] bool. Tiles whose centre lies in
    `core` are asked for, sources are looked for in `area`. Tiles lie on one grid for the whole window, so that the
    cores of a grid make up the whole. The same input gives the same sources.
    """
    colours, missing = filled[area.slices].astype(np.float32), hole[area.slices]
    places, origin = _known_places(missing), np.array([area.y0, area.x0])
    tiles = _tile_grid(hole, core) - origin
    if len(places) < NEAREST or not len(tiles) or not missing.any():
        return Sources(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64))
    low = _smooth(colours, FINEST * 2 ** (BANDS - 1))
    strength = _strength(colours, missing)
    costs = _distances(_looks(tiles, low, strength), _looks(places, low, strength))
    return Sources(tiles + origin, places[_quilt(costs, tiles, places, colours - low, missing)] + origin)


def joined(found: list[Sources]) -> Sources:
    """Those of several cores as one."""
    return Sources(np.concatenate([f.tiles for f in found]), np.concatenate([f.sources for f in found]))


def copy_detail(photo: Pixels, hole: Mask, found: Sources, scale: float) -> Pixels:
    """`photo` [H, W, 3] uint8, smoothly filled, with the detail of `found` in the hole [H, W] bool; known pixels stay.

    `scale`: pixels of the network's scale a pixel here, at most 1.
    """
    if not len(found.tiles) or not hole.any():
        return photo
    by = math.ceil(math.sqrt(hole.size / MAX_PIXELS))
    if by > 1:
        size = (math.ceil(hole.shape[1] / by), math.ceil(hole.shape[0] / by))
        small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
        missing = cv2.resize(hole.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    else:
        small, missing = photo, hole
    if not missing.any():
        return photo
    box, detail = _detail(small, missing, found, scale * by)
    if by > 1:
        detail = np.asarray(cv2.resize(detail, None, fx=by, fy=by, interpolation=cv2.INTER_CUBIC), np.float32)
    there = (slice(box.y0 * by, box.y1 * by), slice(box.x0 * by, box.x1 * by))
    result = photo.copy()
    fill = result[there]
    textured = np.rint((fill + detail[: fill.shape[0], : fill.shape[1]]).clip(0, 255)).astype(np.uint8)
    result[there] = np.where(hole[there][..., None], textured, fill)
    return result


def _detail(photo: Pixels, hole: Mask, found: Sources, scale: float) -> tuple[Box, Floats]:
    """The box around the hole, and what `found` adds to the fill in it, [h, w, 3]."""
    half = max(1, round(TILE / 2 / scale))
    tiles, sources = (np.rint(c / scale).astype(np.int64) for c in (found.tiles, found.sources))
    sources = sources.clip(half, np.maximum(np.array(hole.shape) - half, half))
    band, box, known = photo.astype(np.float32), box_around(hole), (~hole).astype(np.float32)
    detail = np.zeros((box.y1 - box.y0, box.x1 - box.x0, 3), np.float32)
    for sigma in _sigmas(scale):
        coarse = _smooth(band, _between(sigma))
        band -= coarse  # in place: these are the largest arrays by far
        detail += _missing(band, known, 4 * sigma, (tiles, sources), half, box)
        band = coarse
    return box, detail


def _known_places(hole: Mask) -> Ints:
    """Centres [N, 2] of places whose every pixel is known, on a grid, thinned where there are very many."""
    half = TILE // 2
    known = cv2.erode((~hole).view(np.uint8), np.ones((TILE + 3, TILE + 3), np.uint8), borderValue=0).astype(bool)
    known[:half] = known[hole.shape[0] - half + 1 :] = False
    known[:, :half] = known[:, hole.shape[1] - half + 1 :] = False
    stride = STRIDE
    while known[::stride, ::stride].sum() > MAX_SOURCES:
        stride *= 2
    return np.argwhere(known[::stride, ::stride]) * stride


def _tile_grid(hole: Mask, core: Box) -> Ints:
    """Centres [T, 2] of the tiles in `core` that together cover its hole twice each way, in reading order.

    The grid goes on half a tile beyond the window's end; a core that reaches the end has those tiles as well.
    """
    half = TILE // 2
    y1, x1 = (end + half * (end == whole) for end, whole in zip((core.y1, core.x1), hole.shape, strict=True))
    ys, xs = (np.arange(math.ceil(a / half) * half, b, half) for a, b in ((core.y0, y1), (core.x0, x1)))
    near = cv2.dilate(np.pad(hole, TILE).view(np.uint8), np.ones((TILE + 1, TILE + 1), np.uint8)).astype(bool)
    centres = np.stack(np.meshgrid(ys, xs, indexing="ij"), -1).reshape(-1, 2)
    return np.asarray(centres[near[centres[:, 0] + TILE, centres[:, 1] + TILE]], np.int64)


def _strength(colours: Floats, hole: Mask) -> Floats:
    """Log energy of each band [h, w, BANDS]; in the hole that of the rim, carried inwards smoothly."""
    known = (~hole).astype(np.float32)
    fine, rows = colours, []
    for sigma in _sigmas(1):
        coarse = _smooth(fine, _between(sigma))
        rows.append(np.log(_mean_where(np.square((fine - coarse) @ GREY), known, 4 * sigma) + MIN_ENERGY))
        fine = coarse
    strength = np.stack(rows, -1)
    carried = membrane(strength, rim_of(hole).astype(np.float32))
    return np.where(hole[..., None], carried, strength)


def _looks(centres: Ints, low: Floats, strength: Floats) -> Floats:
    """What is compared, [N, D]: blurred colours at points of the tile, and how strong its texture is."""
    height, width = low.shape[:2]
    at = ((np.arange(SAMPLES) + 0.5) / SAMPLES * TILE - TILE / 2).astype(np.int64)
    ys = (centres[:, :1] + at).clip(0, height - 1)
    xs = (centres[:, 1:] + at).clip(0, width - 1)
    colours = low[ys[:, :, None], xs[:, None, :]].reshape(len(centres), -1) / SAMPLES
    middle = centres.clip(0, (height - 1, width - 1))
    energy = strength[middle[:, 0], middle[:, 1]] * (STRENGTH_WEIGHT / math.sqrt(BANDS))
    return np.asarray(np.concatenate([colours, energy], 1), np.float32)


def _distances(a: Floats, b: Floats) -> Floats:
    """Squared distances [len(a), len(b)]."""
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, np.float32)


def _quilt(costs: Floats, tiles: Ints, places: Ints, detail: Floats, hole: Mask) -> Ints:
    """The place [T] of each tile, chosen in reading order: alike, continuing what lies beside it, not used before."""
    half = TILE // 2
    index = np.full(tuple(s + 2 * TILE for s in hole.shape), -1, np.int64)
    index[places[:, 0] + TILE, places[:, 1] + TILE] = np.arange(len(places))
    canvas = np.pad(detail * ~hole[..., None], ((TILE, TILE), (TILE, TILE), (0, 0)))
    laid = np.pad(~hole, TILE)
    uses = np.zeros(index.shape, np.float32)
    nearest = np.argpartition(costs, NEAREST - 1, 1)[:, :NEAREST]
    chosen: dict[tuple[int, int], int] = {}
    window = np.arange(-half, half)
    for t, (y, x) in enumerate(tiles.tolist()):
        beside = []
        for dy, dx in ((0, -half), (-half, 0), (-half, -half), (-half, half)):
            before = chosen.get((y + dy, x + dx))
            if before is not None:
                sy, sx = places[before]
                beside.append(index[sy - dy + TILE, sx - dx + TILE])
        options = np.unique([*nearest[t], *(b for b in beside if b >= 0)])
        at = places[options]
        area = (slice(y - half + TILE, y + half + TILE), slice(x - half + TILE, x + half + TILE))
        there = laid[area]
        ys, xs = (at[:, :1] + window)[:, :, None], (at[:, 1:] + window)[:, None, :]
        patches = detail[ys, xs]
        misfit = (np.square(patches - canvas[area]) * there[..., None]).sum((1, 2, 3)) / TILE**2
        total = costs[t, options] + SEAM_WEIGHT * misfit + REUSE * uses[at[:, 0] + TILE, at[:, 1] + TILE]
        best = int(np.argmin(total))
        chosen[y, x] = int(options[best])
        canvas[area] = np.where(there[..., None], canvas[area], patches[best])
        laid[area] = True
        sy, sx = at[best] + TILE
        uses[sy - 4 : sy + 5, sx - 4 : sx + 5] += 1
    return np.array([chosen[y, x] for y, x in tiles.tolist()], np.int64)


def _missing(band: Floats, known: Floats, reach: float, places: tuple[Ints, Ints], half: int, box: Box) -> Floats:
    """What tiles bring of one band into `box`, [h, w, 3]: as strong as at the sources less what the fill has of it."""
    energy = np.square(band @ GREY)
    there, have = (_mean_where(energy, where, reach) for where in (known, 1 - known))
    wave = np.sin((np.arange(2 * half) + 0.5) / (2 * half) * np.pi).astype(np.float32)
    weight = np.outer(wave, wave)
    height, width = box.y1 - box.y0, box.x1 - box.x0
    brought, wanted = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    total = np.full((height, width), 1e-6, np.float32)
    for (y, x), (sy, sx) in zip(places[0].tolist(), places[1].tolist(), strict=True):
        top, bottom = max(y - half, box.y0), min(y + half, box.y1)
        left, right = max(x - half, box.x0), min(x + half, box.x1)
        if top >= bottom or left >= right:
            continue
        to = (slice(top - box.y0, bottom - box.y0), slice(left - box.x0, right - box.x0))
        part = weight[top - y + half : bottom - y + half, left - x + half : right - x + half]
        come = (slice(top + sy - y, bottom + sy - y), slice(left + sx - x, right + sx - x))
        brought[to] += band[come] * part[..., None]
        wanted[to] += there[come] * np.square(part)
        total[to] += np.square(part)
    got = _smooth(np.square(brought @ GREY), reach)
    lack = np.sqrt(np.maximum(wanted / total - have[box.slices], 0) / np.maximum(got, 1e-3))
    return np.asarray(brought * np.minimum(lack, LOUDEST)[..., None], np.float32)


def _sigmas(scale: float) -> list[float]:
    """Deviations of the blurs between the bands, in pixels, doubling up to that of the coarsest at this scale."""
    count = BANDS + max(0, round(math.log2(1 / scale)))
    return [FINEST * 2**k for k in range(count)]


def _between(sigma: float) -> float:
    """Deviation of the blur that takes what was blurred by half of `sigma` (not at all, if finest) to `sigma`."""
    return sigma if sigma <= FINEST else sigma * math.sqrt(0.75)


def _mean_where(energy: Floats, where: Floats, reach: float) -> Floats:
    """Mean energy near each pixel over those where `where` is 1, [H, W]."""
    share = _smooth(where, reach)
    return np.asarray(_smooth(energy * where, reach) / np.maximum(share, 1e-3), np.float32)


def _smooth(field: Floats, sigma: float) -> Floats:
    """Gaussian blur; wide ones at a smaller size, which takes a fraction of the time."""
    by = 2 ** max(0, math.floor(math.log2(sigma / 3)))
    height, width = field.shape[:2]
    if by == 1 or min(height, width) < 4 * by:
        return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.float32)
    size = (math.ceil(width / by), math.ceil(height / by))
    small = cv2.resize(field, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / by, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
