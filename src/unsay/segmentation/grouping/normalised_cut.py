"""Normalised cuts: spectral clustering of what is alike and near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unsay.errors import BadInput
from unsay.segmentation.grouping.graph import Floats, Graph, Labels
from unsay.segmentation.grouping.interface import GraphGrouper
from unsay.segmentation.grouping.kmeans import lloyd
from unsay.segmentation.grouping.specks import split_pieces


@dataclass(frozen=True)
class NormalisedCut(GraphGrouper):
    """Shi and Malik (2000). The affinity of nodes i, j that touch or lie within `radius` (of the photo's long side) is

        exp(-2 (1 - cos(f_i, f_j)) / sigma_features^2) * exp(-|x_i - x_j|^2 / sigma_place^2),

    f the features about the photo's mean, x the places. The leading eigenvectors of D^-1/2 W D^-1/2, rows of unit
    length, are clustered by k-means (Ng, Jordan and Weiss 2001) and split into connected pieces. With `groups` None, K
    lies at the largest eigengap, `fewest` to `most`.
    """

    radius: float = 0.15
    sigma_features: float = 0.3
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

    def affinity(self, graph: Graph) -> Floats:
        """The symmetric W [N, N], 1 on the diagonal. Dense: made for some hundred nodes, not for every pixel."""
        features = graph.features.astype(np.float64)
        features -= np.average(features, axis=0, weights=graph.sizes)
        unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        unlike = 2 * (1 - unit @ unit.T) / self.sigma_features**2
        apart = sum(np.subtract.outer(axis, axis) ** 2 for axis in graph.centres.T)
        near = np.asarray(apart <= self.radius**2)
        near[tuple(graph.edges.T)] = near[tuple(graph.edges.T[::-1])] = True
        weights = np.where(near, np.exp(-unlike - apart / self.sigma_place**2), 0)
        np.fill_diagonal(weights, 1)
        return np.asarray(weights, np.float64)


def leading(affinity: Floats, count: int) -> tuple[Floats, Floats]:
    """The `count` largest eigenvalues of D^-1/2 W D^-1/2, falling, and their eigenvectors [N, count].

    Found directly: on a graph that nearly falls apart the iterative solver may never converge.
    """
    from scipy.linalg import eigh

    scale = 1 / np.sqrt(affinity.sum(1))
    nodes = len(affinity)
    values, vectors = eigh(affinity * np.outer(scale, scale), subset_by_index=[nodes - count, nodes - 1])
    return values[::-1], vectors[:, ::-1]


def eigengap(values: Floats, fewest: int, most: int) -> int:
    """The K in `fewest`..`most` after which the falling eigenvalues drop most (von Luxburg 2007)."""
    gaps = (values[:-1] - values[1:])[fewest - 1 : most]
    return fewest + int(gaps.argmax()) if len(gaps) else len(values)
