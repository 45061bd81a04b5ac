"""Groups made whole: split into connected pieces, pieces that are too small joined to what they resemble."""

from __future__ import annotations

import cv2
import numpy as np

from unsay.segmentation.grouping.graph import Graph, Labels, grid_graph, in_order
from unsay.segmentation.vision import Array


def split_pieces(labels: Labels, graph: Graph) -> Labels:
    """Labels [N] of any partition -> labels [N] of its connected pieces on the graph."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    inner = graph.edges[labels[graph.edges[:, 0]] == labels[graph.edges[:, 1]]]
    links = coo_matrix((np.ones(len(inner)), (inner[:, 0], inner[:, 1])), shape=(len(graph), len(graph)))
    return in_order(connected_components(links, directed=False)[1])


def absorb(labels: Labels, graph: Graph, smallest: float, most: int) -> Labels:
    """Join the smallest piece to the neighbour whose mean features are nearest, until no piece is smaller than
    `smallest` mean nodes and there are at most `most`; labels [N] in and out.
    """
    count = int(labels.max()) + 1
    sizes = np.bincount(labels, graph.sizes, count)
    sums = np.zeros((count, graph.features.shape[1]))
    np.add.at(sums, labels, graph.features * graph.sizes[:, None])
    near = _adjacency(labels, graph, count)
    home = np.arange(count)
    limit, left = smallest * graph.sizes.mean(), count
    while left > 1:
        piece = int(sizes.argmin())
        if sizes[piece] >= limit and left <= most:
            break
        others = np.array(sorted(near[piece]))
        gaps = ((sums[others] / sizes[others, None] - sums[piece] / sizes[piece]) ** 2).sum(1)
        into = int(others[gaps.argmin()])
        sizes[into] += sizes[piece]
        sums[into] += sums[piece]
        for other in near[piece]:
            near[other].discard(piece)
            if other != into:
                near[other].add(into)
                near[into].add(other)
        home[home == piece] = into
        sizes[piece] = np.inf  # gone: never the smallest again
        left -= 1
    return in_order(home[labels])


def absorb_specks(labels: Labels, features: Array, smallest: int) -> Labels:
    """Labels [h, w] of a patch grid -> its connected pieces, those under `smallest` patches joined to the neighbour
    most alike by features [h, w, D].
    """
    graph = grid_graph(features)
    pieces = split_pieces(labels.reshape(-1), graph)
    return absorb(pieces, graph, smallest, len(graph)).reshape(labels.shape)


def connected_pieces(labels: Labels) -> Labels:
    """Number the 4-connected pieces of equal label 0..K-1, in order of label, then of first appearance; [h, w]."""
    pieces = np.zeros(labels.shape, np.int32)
    count = 0
    for label in np.unique(labels):
        found, part = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
        pieces += np.where(part > 0, part - 1 + count, 0).astype(np.int32)
        count += found - 1
    return pieces


def _adjacency(labels: Labels, graph: Graph, count: int) -> list[set[int]]:
    near: list[set[int]] = [set() for _ in range(count)]
    for i, j in np.unique(labels[graph.edges], axis=0).tolist():
        if i != j:
            near[i].add(j)
            near[j].add(i)
    return near
