"""k-means over the nodes' features, then connected components."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.segmentation.grouping.graph import Graph, Labels
from unsay.segmentation.grouping.interface import GraphGrouper
from unsay.segmentation.grouping.specks import split_pieces
from unsay.segmentation.vision import Array

GROWTH = 1.25


@dataclass(frozen=True)
class KMeans(GraphGrouper):
    """k-means (Lloyd 1982) knows nothing of place: each cluster falls into its connected pieces after.

    With `groups` None the clusters grow in number until they leave at most `unexplained` of the features' variance.
    """

    unexplained: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.unexplained <= 1:
            raise BadInput(f"unexplained is {self.unexplained}; the share of variance left must be above 0, up to 1")

    def split(self, graph: Graph) -> Labels:
        """See `GraphGrouper`."""
        return split_pieces(self._clusters(graph.features), graph)

    def _clusters(self, points: Array) -> Labels:
        if self.groups is not None:
            return lloyd(points, self.groups)[0]
        total = float(((points - points.mean(0)) ** 2).sum())
        count = self.fewest
        while True:
            labels, error = lloyd(points, count)
            if error <= self.unexplained * total or count >= min(self.most, len(points)):
                return labels
            count = min(max(count + 1, int(count * GROWTH)), self.most)


def lloyd(points: Array, clusters: int) -> tuple[Labels, float]:
    """k-means of points [N, D]: labels [N] int32 and the sum of squared distances that is left.

    It starts from points far from each other (Gonzalez 1985), not from chance: the same points, the same clusters.
    """
    clusters = min(clusters, len(points))
    seeds, start = [0], np.zeros(len(points), np.int32)
    nearest = ((points - points[0]) ** 2).sum(1)
    while len(seeds) < clusters:
        seeds.append(int(nearest.argmax()))
        gaps = ((points - points[seeds[-1]]) ** 2).sum(1)
        start[gaps < nearest] = len(seeds) - 1
        nearest = np.minimum(nearest, gaps)
    used = np.unique(start, return_inverse=True)[1].astype(np.int32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-4)
    first = used.reshape(-1, 1)
    points = np.ascontiguousarray(points, np.float32)
    error, labels, _ = cv2.kmeans(points, int(used.max()) + 1, first, stop, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return np.asarray(labels, np.int32).reshape(-1), float(error)
