"""The one interface of all groupers, and what they share: bounds on the number of groups, and the tidying after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from unsay.errors import BadInput
from unsay.segmentation.grouping.graph import Graph, Labels, grid_graph
from unsay.segmentation.grouping.specks import absorb
from unsay.segmentation.vision import Array

MOST = 40


class Grouper(Protocol):
    """Partitions a photo. Every group is one connected piece, none is a speck, there are `MOST` at most; the same input
    gives the same groups.
    """

    def __call__(self, features: Array) -> Labels:
        """Features [h, w, D] of a patch grid -> labels [h, w] int32, 0..K-1, each in use."""
        ...

    def partition(self, graph: Graph) -> Labels:
        """A graph of N nodes, connected as a whole -> labels [N] int32, 0..K-1, each in use."""
        ...


@dataclass(frozen=True)
class GraphGrouper(ABC):
    """A grouper that works on any graph; a patch grid is one.

    `groups`: how many, or None: chosen for each photo, `fewest` to `most`. There may be fewer than `groups` or `fewest`
    where pieces are absorbed or nodes are few. `smallest`: the area of the smallest group, in mean nodes (in patches on
    a patch grid); what is smaller joins the neighbour it resembles most. Raises `BadInput` for impossible settings.
    """

    groups: int | None = None
    smallest: float = 4.0
    fewest: int = 3
    most: int = MOST

    def __post_init__(self) -> None:
        if not 1 <= self.most <= MOST:
            raise BadInput(f"most is {self.most}; the upper bound on groups must be 1 to {MOST}")
        if not 1 <= self.fewest <= self.most:
            raise BadInput(f"fewest is {self.fewest}; the lower bound on groups must be 1 to {self.most} (most)")
        if self.groups is not None and not 1 <= self.groups <= self.most:
            raise BadInput(f"groups is {self.groups}; give 1 to {self.most} (most), or None: chosen for each photo")
        if self.smallest < 0:
            raise BadInput(f"smallest is {self.smallest}; the area of the smallest group must be 0 or more")

    def __call__(self, features: Array) -> Labels:
        """See `Grouper`."""
        return self.partition(grid_graph(features)).reshape(features.shape[:2])

    def partition(self, graph: Graph) -> Labels:
        """See `Grouper`."""
        return absorb(self.split(graph), graph, self.smallest, self.most)

    @abstractmethod
    def split(self, graph: Graph) -> Labels:
        """The method itself: labels [N] of connected pieces, specks and too many of them allowed."""
