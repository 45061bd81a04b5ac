"""What a grouper partitions: nodes (patches or superpixels) with features, and which of them touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unsay.segmentation.vision import Array

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Edges = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Graph:
    """N nodes and E pairs of nodes that touch.

    `features` [N, D] fp32; `sizes` [N] the area of each node (patches or pixels); `centres` [N, 2] where each lies, in
    units of the photo's long side; `edges` [E, 2], each pair once; `lengths` [E] of the border that a pair shares;
    `contrasts` [E] >= 0: the photo's mean gradient along that border, 0 where it is not known.
    """

    features: Array
    sizes: Floats
    centres: Floats
    edges: Edges
    lengths: Floats
    contrasts: Floats

    def __len__(self) -> int:
        return len(self.features)


def grid_graph(features: Array) -> Graph:
    """Features [h, w, D] of a patch grid as a graph of its patches, 4-neighbours joined."""
    height, width, depth = features.shape
    edges = grid_edges(height, width)
    rows, columns = np.divmod(np.arange(height * width), width)
    return Graph(
        features=np.ascontiguousarray(features.reshape(-1, depth), np.float32),
        sizes=np.ones(height * width),
        centres=np.stack([rows, columns], axis=1) / max(height, width),
        edges=edges,
        lengths=np.ones(len(edges)),
        contrasts=np.zeros(len(edges)),
    )


def grid_edges(height: int, width: int) -> Edges:
    """The 4-neighbour pairs of a grid [E, 2], each once."""
    index = np.arange(height * width).reshape(height, width)
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], 1)
    down = np.stack([index[:-1].ravel(), index[1:].ravel()], 1)
    return np.concatenate([across, down])


def in_order(labels: npt.NDArray[np.integer]) -> Labels:
    """The same partition [N], numbered 0..K-1 in order of first appearance."""
    heads, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.empty(len(heads), np.int32)
    order[np.argsort(first, kind="stable")] = np.arange(len(heads))
    return np.asarray(order[inverse.reshape(-1)], np.int32)
