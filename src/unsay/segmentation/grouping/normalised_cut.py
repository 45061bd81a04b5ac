"""Normalised cuts: spectral clustering of what is alike and near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unsay.errors import BadInput
from unsay.segmentation.grouping.graph import Floats, Graph, Labels
from unsay.segmentation.grouping.interface import GraphGrouper
from unsay.segmentation.grouping.kmeans import lloyd
from unsay.segmentation.grouping.specks import split_pieces

DENSE = 64
"""Up to so many nodes all eigenvectors are found at once: ARPACK wants fewer vectors than nodes."""


@dataclass(frozen=True)
class NormalisedCut(GraphGrouper):
    """Shi and Malik (2000). The affinity of nodes i, j that touch or lie within `radius` (of the photo's long side) is

        exp(-2 (1 - cos(f_i, f_j)) / sigma_features^2) * exp(-|x_i - x_j|^2 / sigma_place^2),

    f the features, x the places; cos is the cosine. The leading eigenvectors of D^-1/2 W D^-1/2, rows brought to unit
    length, are clustered by k-means (Ng, Jordan and Weiss 2001) and split into connected pieces. With `groups` None,
    K lies at the largest eigengap, `fewest` to `most`.
    """

    radius: float = 0.15
    sigma_features: float = 0.7
    sigma_place: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("radius", "sigma_features", "sigma_place"):
            if not 0 < getattr(self, name) < np.inf:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be a number above 0")

    def split(self, graph: Graph) -> Labels:
        """See `GraphGrouper`."""
        wanted = min((self.groups or self.most) + 1, len(graph))
        values, vectors = leading(self.affinity(graph), wanted)
        count = self.groups or eigengap(values, self.fewest, self.most)
        rows = vectors[:, :count]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return split_pieces(lloyd(rows.astype(np.float32), count)[0], graph)

    def affinity(self, graph: Graph) -> Any:
        """The sparse symmetric W [N, N]; every node has affinity 1 to itself."""
        from scipy.sparse import coo_matrix
        from scipy.spatial import cKDTree

        near = cKDTree(graph.centres).query_pairs(self.radius, output_type="ndarray")
        pairs = np.unique(np.sort(np.concatenate([near.reshape(-1, 2), graph.edges]), axis=1), axis=0)
        i, j = pairs.T
        norms = np.maximum(np.linalg.norm(graph.features, axis=1, keepdims=True), 1e-12)
        unit = graph.features.astype(np.float64) / norms
        unlike = 2 * (1 - (unit[i] * unit[j]).sum(1)) / self.sigma_features**2
        apart = ((graph.centres[i] - graph.centres[j]) ** 2).sum(1) / self.sigma_place**2
        weights, own = np.exp(-unlike - apart), np.arange(len(graph))
        values = np.concatenate([weights, weights, np.ones(len(graph))])
        places = (np.concatenate([i, j, own]), np.concatenate([j, i, own]))
        return coo_matrix((values, places), shape=(len(graph), len(graph))).tocsr()


def leading(affinity: Any, count: int) -> tuple[Floats, Floats]:
    """The `count` largest eigenvalues of D^-1/2 W D^-1/2, falling, and their eigenvectors [N, count]."""
    from scipy.sparse import diags
    from scipy.sparse.linalg import eigsh

    scale = diags(1 / np.sqrt(np.asarray(affinity.sum(1)).ravel()))
    normal = scale @ affinity @ scale
    if normal.shape[0] <= DENSE:
        values, vectors = np.linalg.eigh(normal.toarray())
    else:
        start = np.random.default_rng(0).normal(size=normal.shape[0])  # fixed: the same photo, the same groups
        values, vectors = eigsh(normal, k=count, which="LA", v0=start)
    order = np.argsort(-values, kind="stable")[:count]
    return values[order], vectors[:, order]


def eigengap(values: Floats, fewest: int, most: int) -> int:
    """The K in `fewest`..`most` after which the falling eigenvalues drop most (von Luxburg 2007)."""
    gaps = (values[:-1] - values[1:])[fewest - 1 : most]
    return fewest + int(gaps.argmax()) if len(gaps) else len(values)
