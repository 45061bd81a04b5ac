"""How near a filled photo is to the true one. Photos are [H, W, 3] uint8 RGB, holes [H, W] bool, True = was filled.

PSNR, SSIM and L1 are the field's, over the whole photo; the structure distance and the texture ratio are ours, inside
the hole, where PSNR alone rewards blur: https://ece.uwaterloo.ca/~z70wang/publications/ssim.html for SSIM.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.results import Mask, Pixels

WINDOW, SIGMA = 11, 1.5
"""SSIM's Gaussian window in pixels and its deviation (Wang et al. 2004, section III-C)."""
K1, K2, PEAK = 0.01, 0.03, 255.0
MAX_PSNR = 100.0
"""What stands for the infinite PSNR of two equal photos, so that a mean stays a number."""
FLAT = 4.0
"""Gradient, in grey levels a pixel, at which an orientation is half certain: below it there is more noise than edge."""
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The measures of one filled photo. Higher is better for PSNR (dB) and SSIM; lower for L1 and structure.

    `l1` is in percent of the full range. `structure` in [0, 1]: 0 = every edge runs as in the true photo, 0.5 = edges
    missing or running at random, 1 = across. `texture`: gradient energy against the true one's; 1 = as lively, below =
    blurred, above = noisy.
    """

    psnr: float
    ssim: float
    l1: float
    hole_psnr: float
    structure: float
    texture: float


NAMES = tuple(Scores.__dataclass_fields__)


def score(filled: Pixels, truth: Pixels, hole: Mask) -> Scores:
    """Every measure of `filled` against `truth`. Raises `BadInput` for other shapes or an empty hole."""
    _check(filled, truth, hole)
    return Scores(
        psnr=psnr(filled, truth),
        ssim=ssim(filled, truth),
        l1=l1(filled, truth),
        hole_psnr=psnr(filled, truth, hole),
        structure=structure_distance(filled, truth, hole),
        texture=texture_ratio(filled, truth, hole),
    )


def psnr(filled: Pixels, truth: Pixels, where: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all samples, or over those of the pixels `where`; at most `MAX_PSNR`."""
    difference = filled.astype(np.float64) - truth
    error = float(np.square(difference if where is None else difference[where]).mean())
    return MAX_PSNR if error == 0 else min(MAX_PSNR, float(10 * np.log10(PEAK**2 / error)))


def l1(filled: Pixels, truth: Pixels) -> float:
    """Mean absolute difference of all samples in percent of the full range."""
    return float(100 * np.abs(filled.astype(np.float64) - truth).mean() / PEAK)


def ssim(filled: Pixels, truth: Pixels) -> float:
    """Mean structural similarity (Wang et al. 2004): Gaussian window 11, sigma 1.5, per channel, border cropped.

    Raises `BadInput` for photos smaller than the window.
    """
    if min(filled.shape[:2]) < WINDOW:
        raise BadInput(f"SSIM needs at least {WINDOW}x{WINDOW} pixels, not {filled.shape[1]}x{filled.shape[0]}")
    margin = WINDOW // 2
    return float(ssim_map(filled, truth)[margin:-margin, margin:-margin].mean())


def ssim_map(filled: Pixels, truth: Pixels) -> Float:
    """Structural similarity at every sample, [H, W, 3] in [-1, 1]."""
    x, y = filled.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return np.asarray(numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)), np.float64)


def structure_distance(filled: Pixels, truth: Pixels, where: Mask) -> float:
    """How differently edges run in `where` (ours), in [0, 1]; 0.5 where the true photo has no edges and neither has it.

    Orientations t of the lightness gradients are compared as cos(2 dt): an edge from dark to light and one from light
    to dark run alike. Points count by the true gradient's size; a fill without gradient there counts as unrelated.
    """
    fx, fy = _gradients(filled)
    tx, ty = _gradients(truth)
    fx, fy, tx, ty = fx[where], fy[where], tx[where], ty[where]
    size_f, size_t = np.hypot(fx, fy), np.hypot(tx, ty)
    product = np.maximum(size_f * size_t, 1e-12)
    alike = 2 * ((fx * tx + fy * ty) / product) ** 2 - 1
    certain = np.minimum(1, size_f * (size_t + FLAT) / np.maximum((size_f + FLAT) * size_t, 1e-12))
    weight = size_t * size_t / (size_t + FLAT)
    total = float(weight.sum())
    return 0.5 if total == 0 else float(0.5 - 0.5 * (weight * alike * certain).sum() / total)


def texture_ratio(filled: Pixels, truth: Pixels, where: Mask) -> float:
    """Gradient energy of the fill divided by the true photo's, both plus a hundredth of a grey level (ours).

    The rim of `where` is left out, where there is more inside: a seam is no texture.
    """
    inside = cv2.erode(where.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    where = inside if inside.any() else where
    energies = [float(sum(np.square(g[where]).mean() for g in _gradients(p))) for p in (filled, truth)]
    return (energies[0] + 0.01) / (energies[1] + 0.01)


def mean_scores(scores: list[Scores]) -> dict[str, float]:
    """Means over photos by name; of the texture ratios the geometric mean, so that 2 and 0.5 make 1."""
    if not scores:
        return dict.fromkeys(NAMES, float("nan"))
    columns = {name: np.array([asdict(s)[name] for s in scores]) for name in NAMES}
    means = {name: float(values.mean()) for name, values in columns.items()}
    means["texture"] = float(np.exp(np.log(columns["texture"]).mean()))
    return means


def _check(filled: Pixels, truth: Pixels, hole: Mask) -> None:
    if filled.shape != truth.shape or filled.shape[:2] != hole.shape:
        raise BadInput(f"shapes differ: filled {filled.shape}, true {truth.shape}, hole {hole.shape}; they must agree")
    if not hole.any():
        raise BadInput("the hole is empty: there is nothing to measure; leave this photo out")


def _window(values: Float) -> Float:
    blurred = cv2.GaussianBlur(values, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float64)


def _gradients(photo: Pixels) -> tuple[Float, Float]:
    """Lightness gradients along x and y, in grey levels a pixel (Scharr's kernel)."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float64)
    across, down = (np.asarray(cv2.Scharr(grey, cv2.CV_64F, *axes)) / 32 for axes in ((1, 0), (0, 1)))
    return across, down
