"""Random irregular holes in six bands of hole ratio, for training and for judging (ours; the bands are the field's)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.results import Mask

BANDS: tuple[tuple[float, float], ...] = ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))
"""Hole ratio: the share of pixels to fill; the lower bound is excluded, the upper included."""
KINDS = ("strokes", "object", "mixed")
"""Those that one is drawn from where none is asked for; the holes of published figures depend on this list."""
ALL_KINDS = (*KINDS, "polygons")

Draw = Callable[[np.random.Generator, int, int, float], np.ndarray]
"""(generator, height, width, ratio still missing) -> a piece of a hole, [height, width] uint8 of 0 and 1."""


def random_hole(rng: np.random.Generator, height: int, width: int, band: int, kind: str | None = None) -> Mask:
    """One random hole [height, width] bool, True = fill, whose ratio lies in `BANDS[band]`.

    `kind`: "strokes" (thin and thick wandering lines), "object" (one or two blobs with a rough outline), "mixed"
    (both), "polygons" (straight edges), or None for a random one of `KINDS`. Never empty. The same generator state
    gives the same hole. Raises `BadInput` for an unknown band or kind.
    """
    check_band(band)
    kind = kind or str(rng.choice(KINDS))
    if kind not in ALL_KINDS:
        raise BadInput(f"unknown kind of hole {kind!r}; known: {', '.join(ALL_KINDS)}")
    draws: dict[str, Draw] = {"strokes": _stroke, "object": _blob, "mixed": _either, "polygons": _polygon}
    return compose_hole(rng, height, width, band, draws[kind])


def compose_hole(rng: np.random.Generator, height: int, width: int, band: int, draw: Draw) -> Mask:
    """One random hole [height, width] bool of the pieces that `draw` gives, its ratio in `BANDS[band]`."""
    low, high = BANDS[band]
    target = rng.uniform(low + 0.1 * (high - low), high)
    hole = np.zeros((height, width), np.uint8)
    for _ in range(200):
        missing = target - float(hole.mean())
        if missing <= 0.01 and hole.any():
            break
        piece = draw(rng, height, width, missing)
        if (hole | piece).mean() <= high:
            hole |= piece
    return fit_band(hole, band, rng)


def band_of(hole: np.ndarray) -> int | None:
    """The band that a hole's ratio lies in; None for an empty hole and one above all bands."""
    ratio = float(np.mean(hole != 0))
    return next((band for band, (low, high) in enumerate(BANDS) if low < ratio <= high), None)


def check_band(band: int) -> None:
    """Raise `BadInput` for a band that does not exist."""
    if not 0 <= band < len(BANDS):
        raise BadInput(f"band {band} does not exist; bands are 0 to {len(BANDS) - 1}")


def fit_band(hole: np.ndarray, band: int, rng: np.random.Generator) -> Mask:
    """Shrink or grow by a pixel at a time until the ratio lies in the band: small images round badly.

    hole: [height, width] uint8 of 0 and 1.
    """
    low, high = BANDS[band]
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    if not hole.any():
        hole[int(rng.integers(hole.shape[0])), int(rng.integers(hole.shape[1]))] = 1
    while hole.mean() > high and hole.sum() > 1:
        smaller = cv2.erode(hole, cross)
        if not smaller.any():  # too thin to erode: keep half of its pixels
            ys, xs = np.nonzero(hole)
            smaller = np.zeros_like(hole)
            smaller[ys[: len(ys) // 2], xs[: len(xs) // 2]] = 1
        hole = smaller
    while hole.mean() <= low:
        hole = cv2.dilate(hole, cross)
    return hole.astype(bool)


def _stroke(rng: np.random.Generator, height: int, width: int, missing: float) -> np.ndarray:
    canvas = np.zeros((height, width), np.uint8)
    side = min(height, width)
    thickness = max(1, int(side * rng.uniform(0.01, 0.04 + 0.25 * max(missing, 0.0))))
    x, y, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, 2 * np.pi)
    points = [(int(x), int(y))]
    for _ in range(int(rng.integers(2, 9))):
        angle += rng.normal(0, 0.9)
        step = side * rng.uniform(0.04, 0.25)
        x, y = np.clip(x + step * np.cos(angle), 0, width - 1), np.clip(y + step * np.sin(angle), 0, height - 1)
        points.append((int(x), int(y)))
    cv2.polylines(canvas, [np.array(points, np.int32)], False, 1, thickness)
    return canvas


def _either(rng: np.random.Generator, height: int, width: int, missing: float) -> np.ndarray:
    return (_stroke if rng.random() < 0.5 else _blob)(rng, height, width, missing)


def _blob(rng: np.random.Generator, height: int, width: int, missing: float) -> np.ndarray:
    """A closed outline whose radius wanders with the angle, stretched and turned: roughly a thing's silhouette."""
    area = height * width * max(missing, 0.005) * rng.uniform(0.5, 1.0)
    count = 72
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = np.ones(count)
    for harmonic in range(2, 9):
        radius += rng.normal(0, 0.35 / harmonic) * np.cos(harmonic * angles + rng.uniform(0, 2 * np.pi))
    return _closed(rng, height, width, angles, np.clip(radius, 0.25, 2.0) * np.sqrt(area / np.pi))


def _polygon(rng: np.random.Generator, height: int, width: int, missing: float) -> np.ndarray:
    """A polygon of three to eight corners around its centre: straight edges and sharp corners."""
    count = int(rng.integers(3, 9))
    angles = (np.arange(count) + rng.uniform(0, 0.8, count)) * 2 * np.pi / count
    radius = rng.uniform(0.5, 1.0, count)
    turned = np.roll(angles, -1) - angles
    unit = 0.5 * np.abs(np.sum(radius * np.roll(radius, -1) * np.sin(turned)))  # the area at this size
    area = height * width * max(missing, 0.005) * rng.uniform(0.5, 1.0)
    return _closed(rng, height, width, angles, radius * np.sqrt(area / unit))


def _closed(
    rng: np.random.Generator, height: int, width: int, angles: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> np.ndarray:
    """The inside of an outline in polar form, stretched, turned and placed at random."""
    stretch, turn = np.sqrt(rng.uniform(0.4, 2.5)), rng.uniform(0, np.pi)
    u, v = radius * np.cos(angles) * stretch, radius * np.sin(angles) / stretch
    x = rng.uniform(0, width) + u * np.cos(turn) - v * np.sin(turn)
    y = rng.uniform(0, height) + u * np.sin(turn) + v * np.cos(turn)
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.stack([x, y], 1).astype(np.int32)], 1)
    return canvas
