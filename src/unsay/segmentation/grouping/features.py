"""Maps of any encoder -> one feature vector a patch, few channels, distances kept."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.segmentation.vision import Array


def join_maps(maps: Mapping[str, Array], weights: Mapping[str, float], channels: int = 24) -> Array:
    """Maps {name: [C, h, w]} of one photo -> features [H, W, D] fp32 on the finest of the grids, D at most `channels`.

    Only the maps named in `weights` are used: each is brought to the finest grid bilinearly, scaled to unit mean square
    length, then weighted; all are reduced to their principal directions *in this photo*, which nearly keeps distances
    and makes grouping fast. Raises `BadInput` for a map that is not there.
    """
    missing = [name for name in weights if name not in maps]
    if missing or not weights:
        known = ", ".join(maps)
        raise BadInput(f"no map {missing[0]!r} to group by; known: {known}" if missing else f"name a map of: {known}")
    chosen = [maps[name] for name in weights]
    height, width = max((m.shape[1:] for m in chosen), key=lambda shape: shape[0] * shape[1])
    parts = [_brought(m, height, width) * weight for m, weight in zip(chosen, weights.values(), strict=True)]
    return _principal(np.concatenate(parts, axis=2), channels)


def resize_features(features: Array, height: int, width: int) -> Array:
    """Bilinear over a grid [h, w, D]; OpenCV takes at most 4 channels at once in some builds, so in chunks."""
    out = np.empty((height, width, features.shape[2]), np.float32)
    for start in range(0, features.shape[2], 4):
        part = np.ascontiguousarray(features[..., start : start + 4], np.float32)
        larger = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
        out[..., start : start + 4] = larger.reshape(height, width, -1)
    return out


def _brought(part: Array, height: int, width: int) -> Array:
    features = part.transpose(1, 2, 0)
    scale = float(np.sqrt(np.mean(features.astype(np.float64) ** 2) * features.shape[2]))
    features = np.asarray(features / max(scale, 1e-9), np.float32)
    return features if features.shape[:2] == (height, width) else resize_features(features, height, width)


def _principal(features: Array, channels: int, rounds: int = 3) -> Array:
    """The `channels` principal directions by block power iteration from a fixed start: a full eigensolver is slower
    than the trunk.
    """
    height, width, depth = features.shape
    points = features.reshape(-1, depth)
    points = points - points.mean(0)
    if depth <= channels:
        return np.asarray(points.reshape(height, width, depth), np.float32)
    scatter = points.T @ points
    basis = np.random.default_rng(0).normal(size=(depth, channels + 8)).astype(np.float32)
    for _ in range(rounds):
        basis = np.linalg.qr(scatter @ basis)[0]
    _, vectors = np.linalg.eigh(basis.T @ scatter @ basis)
    reduced = points @ (basis @ vectors[:, -channels:])
    return np.asarray(reduced.reshape(height, width, channels), np.float32)
