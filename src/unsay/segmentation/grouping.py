"""Patch features -> connected groups, without labels and without text (systems.md, part 1: grouping).

Legend: `h`, `w` the patch grid, `D` feature channels, `K` groups.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from unsay.segmentation.trunk import Array, Maps

Labels = npt.NDArray[np.int32]


class Grouper(Protocol):
    """Partitions a patch grid; every group is one connected piece (4-neighbours) of at least `smallest` patches."""

    def __call__(self, features: Array) -> Labels:
        """Features [h, w, D] -> labels [h, w] int32, 0..K-1, each in use. Deterministic."""
        ...


@dataclass(frozen=True)
class Agglomerative:
    """Ward's agglomeration over the grid's adjacency graph: patches that are alike *and* touch are joined first."""

    groups: int = 20
    smallest: int = 4

    def __call__(self, features: Array) -> Labels:
        """See `Grouper`; K is `groups` at most, fewer where the grid is small."""
        height, width, _ = features.shape
        if height * width <= 1 or self.groups <= 1:
            return np.zeros((height, width), np.int32)
        labels = self._cluster(features)
        return absorb_specks(labels, features, self.smallest)

    def _cluster(self, features: Array) -> Labels:
        height, width, depth = features.shape
        return ward(features.reshape(-1, depth), grid_edges(height, width), self.groups).reshape(height, width)


def grid_edges(height: int, width: int) -> npt.NDArray[np.int64]:
    """The 4-neighbour pairs of a grid [E, 2], each once."""
    index = np.arange(height * width).reshape(height, width)
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], 1)
    down = np.stack([index[:-1].ravel(), index[1:].ravel()], 1)
    return np.concatenate([across, down])


def ward(points: Array, edges: npt.NDArray[np.int64], clusters: int) -> Labels:
    """Ward's agglomeration (1963) along `edges` until `clusters` are left: labels [N] int32 in order of appearance.

    What scikit-learn's `AgglomerativeClustering` with a connectivity graph does (tested equal); written out because
    importing that package takes longer than segmenting a photo.
    """
    total = len(points)
    centres = np.zeros((2 * total, points.shape[1]))
    centres[:total] = points
    sizes = np.zeros(2 * total)
    sizes[:total] = 1
    near: list[set[int]] = [set() for _ in range(2 * total)]
    for i, j in edges.tolist():
        near[i].add(j)
        near[j].add(i)
    gaps = 0.5 * ((centres[edges[:, 0]] - centres[edges[:, 1]]) ** 2).sum(1)
    heap = list(zip(gaps.tolist(), *edges.T.tolist(), strict=True))
    heapq.heapify(heap)
    parent = np.arange(2 * total)
    _merge(centres, sizes, near, heap, parent, total, max(clusters, 1))
    for node in range(2 * total - 1, -1, -1):
        parent[node] = parent[parent[node]]
    heads, first = np.unique(parent[:total], return_index=True)
    order = np.empty(len(heads), np.int32)
    order[np.argsort(first, kind="stable")] = np.arange(len(heads))
    return order[np.searchsorted(heads, parent[:total])]


def _merge(
    centres: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    near: list[set[int]],
    heap: list[tuple[float, int, int]],
    parent: npt.NDArray[np.int64],
    total: int,
    clusters: int,
) -> None:
    """Join the closest neighbours, one pair at a time; a joined node is `alive` no more and its pairs are stale."""
    alive = [True] * total
    left = total
    while left > clusters and heap:
        _, i, j = heapq.heappop(heap)
        if not (alive[i] and alive[j]):
            continue
        node = len(alive)
        alive[i] = alive[j] = False
        alive.append(True)
        parent[i] = parent[j] = node
        sizes[node] = sizes[i] + sizes[j]
        centres[node] = (centres[i] * sizes[i] + centres[j] * sizes[j]) / sizes[node]
        around = (near[i] | near[j]) - {i, j}
        near[node] = around
        others = np.fromiter(around, np.int64, len(around))
        gaps = ((centres[others] - centres[node]) ** 2).sum(1) * (sizes[others] * sizes[node])
        gaps /= sizes[others] + sizes[node]
        for other, gap in zip(others.tolist(), gaps.tolist(), strict=True):
            near[other].difference_update((i, j))
            near[other].add(node)
            heapq.heappush(heap, (gap, other, node))
        left -= 1


def patch_features(maps: Maps, last_weight: float = 0.6, channels: int = 24) -> Array:
    """The trunk's two maps joined on the finer grid: [2h, 2w, D] fp32, each map with unit mean square.

    `last` is brought up bilinearly; both are reduced to their `channels` principal directions *in this photo*, which
    nearly keeps their distances and makes the clustering fast.
    """
    fine = _normal(maps.fine.transpose(1, 2, 0))
    height, width, _ = fine.shape
    last = _normal(_resize(maps.last.transpose(1, 2, 0), height, width)) * last_weight
    joined = np.concatenate([fine, last], axis=2)
    return _principal(joined, channels)


def absorb_specks(labels: Labels, features: Array, smallest: int) -> Labels:
    """Split groups into connected pieces, then join each piece under `smallest` patches to the neighbour most alike."""
    pieces = connected_pieces(labels)
    count = int(pieces.max()) + 1
    flat = features.reshape(-1, features.shape[2]).astype(np.float64)
    sizes = np.bincount(pieces.ravel(), minlength=count)
    sums = np.zeros((count, flat.shape[1]))
    np.add.at(sums, pieces.ravel(), flat)
    while True:
        small = [k for k in np.argsort(sizes, kind="stable") if 0 < sizes[k] < smallest]
        if not small or np.count_nonzero(sizes) == 1:
            break
        speck = int(small[0])
        near = _neighbours(pieces, speck)
        means = sums[near] / sizes[near, None]
        home = int(near[np.argmin(((means - sums[speck] / sizes[speck]) ** 2).sum(1))])
        pieces[pieces == speck] = home
        sizes[home] += sizes[speck]
        sums[home] += sums[speck]
        sizes[speck] = 0
    return np.unique(pieces, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def connected_pieces(labels: Labels) -> Labels:
    """Number the 4-connected pieces of equal label 0..K-1, in order of label, then of first appearance."""
    pieces = np.zeros(labels.shape, np.int32)
    count = 0
    for label in np.unique(labels):
        found, part = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
        pieces += np.where(part > 0, part - 1 + count, 0).astype(np.int32)
        count += found - 1
    return pieces


def _neighbours(pieces: Labels, piece: int) -> npt.NDArray[np.int64]:
    mask = (pieces == piece).astype(np.uint8)
    ring = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))).astype(bool) & (mask == 0)
    return np.unique(pieces[ring]).astype(np.int64)


def _normal(features: Array) -> Array:
    scale = float(np.sqrt(np.mean(features.astype(np.float64) ** 2) * features.shape[2]))
    return np.asarray(features / max(scale, 1e-9), np.float32)


def _resize(features: Array, height: int, width: int) -> Array:
    """Bilinear over a [h, w, D] grid; OpenCV takes at most 4 channels at once in some builds, so in chunks."""
    out = np.empty((height, width, features.shape[2]), np.float32)
    for start in range(0, features.shape[2], 4):
        part = np.ascontiguousarray(features[..., start : start + 4], np.float32)
        larger = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
        out[..., start : start + 4] = larger.reshape(height, width, -1)
    return out


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
