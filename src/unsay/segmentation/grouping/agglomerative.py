"""Ward's agglomeration over a graph, with a softer weight of size and with the photo's edges as walls."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from unsay.errors import BadInput
from unsay.segmentation.grouping.graph import Edges, Floats, Graph, Labels, in_order
from unsay.segmentation.grouping.interface import GraphGrouper
from unsay.segmentation.vision import Array


@dataclass(frozen=True)
class Agglomerative(GraphGrouper):
    """Joins the two touching groups a, b that cost least, again and again; the cost of joining them is

        (n_a n_b / (n_a + n_b)) ** size_power * |mean_a - mean_b|^2 * (1 + edge_weight * contrast_ab)

    with n the share of the photo's area. `size_power` 1 and `edge_weight` 0 are Ward (1963); less size lets one large
    calm thing stay one group beside small ones, and contrast keeps groups on their side of an edge (both ours). With
    `groups` None it stops where the next join would cost more than `height`, in the units of `join_maps`.
    """

    height: float = 0.01
    size_power: float = 1.0
    edge_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("height", "size_power", "edge_weight"):
            if not 0 <= getattr(self, name) < np.inf:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be a number of 0 or more")

    def split(self, graph: Graph) -> Labels:
        """See `GraphGrouper`; what is cut from a tree over a connected graph is connected."""
        tree = merge_tree(graph, self.size_power, self.edge_weight)
        count = self.groups or min(max(tree.groups_at(self.height), self.fewest), self.most)
        return tree.cut(count)


@dataclass(frozen=True, eq=False)
class MergeTree:
    """Joins in the order in which they were made: `pairs` [M, 2], join m makes node N + m; `costs` [M]."""

    nodes: int
    pairs: Edges
    costs: Floats

    def groups_at(self, height: float) -> int:
        """How many groups are left when every join up to the first dearer than `height` is made."""
        return self.nodes - int((np.maximum.accumulate(self.costs) <= height).sum())

    def cut(self, count: int) -> Labels:
        """The partition [N] into `count` groups (more, if the graph has more components), in order of appearance."""
        parent = np.arange(self.nodes + len(self.pairs))
        made = min(max(self.nodes - count, 0), len(self.pairs))
        for index in range(made - 1, -1, -1):
            node = self.nodes + index
            parent[self.pairs[index]] = parent[node]
        return in_order(parent[: self.nodes])


def ward(points: Array, edges: Edges, clusters: int) -> Labels:
    """Ward's agglomeration (1963) along `edges` until `clusters` are left: labels [N] int32 in order of appearance.

    What scikit-learn's `AgglomerativeClustering` with a connectivity graph does (tested equal); written out because
    importing that package takes longer than segmenting a photo, and because its cost cannot be changed.
    """
    ones, none = np.ones(len(points)), np.zeros(len(edges))
    graph = Graph(np.asarray(points, np.float32), ones, np.zeros((len(points), 2)), edges, np.ones(len(edges)), none)
    return merge_tree(graph).cut(max(clusters, 1))


def merge_tree(graph: Graph, size_power: float = 1.0, edge_weight: float = 0.0) -> MergeTree:
    """Join touching groups, cheapest first, down to one per component; see `Agglomerative` for the cost."""
    merger = _Merger(graph, size_power, edge_weight)
    pairs, costs = [], []
    while (cheapest := merger.pop()) is not None:
        cost, i, j = cheapest
        merger.join(i, j)
        pairs.append((i, j))
        costs.append(cost)
    return MergeTree(len(graph), np.array(pairs, np.int64).reshape(-1, 2), np.array(costs, np.float64))


class _Merger:
    """The graph while it shrinks; a joined node is `alive` no more, and its pairs in the heap are stale.

    `near[i]` maps each neighbour of i to (length, contrast * length) of their common border.
    """

    def __init__(self, graph: Graph, size_power: float, edge_weight: float) -> None:
        nodes, spare = len(graph), max(2 * len(graph) - 1, 1)
        self.power, self.weight = size_power, edge_weight
        self.means = np.zeros((spare, graph.features.shape[1]))
        self.means[:nodes] = graph.features
        self.sizes = np.zeros(spare)
        self.sizes[:nodes] = graph.sizes / graph.sizes.sum()
        self.alive = [True] * nodes
        self.near: list[dict[int, tuple[float, float]]] = [{} for _ in range(nodes)]
        walls = graph.contrasts * graph.lengths
        for (i, j), length, wall in zip(graph.edges.tolist(), graph.lengths.tolist(), walls.tolist(), strict=True):
            self.near[i][j] = self.near[j][i] = (length, wall)
        first, second = graph.edges.T
        costs = self._costs(first, second, graph.contrasts)
        self.heap = list(zip(costs.tolist(), first.tolist(), second.tolist(), strict=True))
        heapq.heapify(self.heap)

    def pop(self) -> tuple[float, int, int] | None:
        """The cheapest pair that is still there."""
        while self.heap:
            cost, i, j = heapq.heappop(self.heap)
            if self.alive[i] and self.alive[j]:
                return cost, i, j
        return None

    def join(self, i: int, j: int) -> None:
        """Make one node of i and j, with its border to each neighbour, and put its pairs on the heap."""
        node = len(self.alive)
        size = self.sizes[i] + self.sizes[j]
        self.means[node] = (self.means[i] * self.sizes[i] + self.means[j] * self.sizes[j]) / size
        self.sizes[node] = size
        self.alive[i] = self.alive[j] = False
        self.alive.append(True)
        around = self._border(i, j)
        self.near.append(around)
        if not around:
            return
        others = np.fromiter(around, np.int64, len(around))
        contrasts = np.array([wall / length for length, wall in around.values()])
        for other, cost in zip(others.tolist(), self._costs(node, others, contrasts).tolist(), strict=True):
            self.near[other].pop(i, None)
            self.near[other].pop(j, None)
            self.near[other][node] = around[other]
            heapq.heappush(self.heap, (cost, other, node))

    def _border(self, i: int, j: int) -> dict[int, tuple[float, float]]:
        around = {k: border for k, border in self.near[i].items() if k != j}
        for k, (length, wall) in self.near[j].items():
            if k != i:
                before = around.get(k, (0.0, 0.0))
                around[k] = (before[0] + length, before[1] + wall)
        return around

    def _costs(self, first: Edges | int, second: Edges, contrasts: Floats) -> Floats:
        gaps = ((self.means[first] - self.means[second]) ** 2).sum(-1)
        a, b = self.sizes[first], self.sizes[second]
        costs: Floats = (a * b / (a + b)) ** self.power * gaps * (1 + self.weight * contrasts)
        return costs
