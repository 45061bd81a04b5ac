"""Every grouper keeps the promises of `Grouper`, on a patch grid and on superpixels."""

from __future__ import annotations

import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.segmentation.grouping import (
    Agglomerative,
    Graph,
    Grouper,
    KMeans,
    NormalisedCut,
    Superpixels,
    connected_pieces,
    superpixel_graph,
)
from unsay.segmentation.grouping.interface import GraphGrouper

MOST = 40


def patches(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scene = np.add.outer(np.arange(height) // 4, np.arange(width) // 5)[..., None] * np.array([1.0, -2.0, 0.5])
    return (scene + rng.normal(0, 0.3, (height, width, 3))).astype(np.float32)


def two_colours(height: int = 90, width: int = 120) -> tuple[Graph, np.ndarray]:
    """Superpixels of a photo whose left part is dark and right part orange, with features that know no more."""
    photo = np.full((height, width, 3), 40, np.uint8)
    photo[:, 70:] = (220, 140, 30)
    features = np.zeros((6, 8, 2), np.float32)
    features[:, 5:, 0] = 1
    return superpixel_graph(photo, features, Superpixels(side=width, step=10))


class GrouperConformance:
    """Inherit, and give `make`: the grouper under test with at most 9 groups of at least `smallest` nodes, and
    `per_photo`: one that chooses the number of groups itself, as many as it may.
    """

    def make(self, smallest: float = 3) -> Grouper:
        raise NotImplementedError

    def per_photo(self) -> Grouper:
        raise NotImplementedError

    @pytest.mark.parametrize("shape", [(1, 1), (1, 7), (12, 1), (2, 2), (13, 17)])
    def test_numbers_connected_groups_from_zero_without_gaps(self, shape: tuple[int, int]) -> None:
        for grouper in (self.make(), self.per_photo()):
            labels = grouper(patches(*shape))
            assert labels.shape == shape
            assert labels.dtype == np.int32
            count = int(labels.max()) + 1
            assert sorted(np.unique(labels)) == list(range(count))
            assert int(connected_pieces(labels).max()) + 1 == count

    def test_makes_no_more_groups_than_asked(self) -> None:
        noise = np.random.default_rng(1).normal(size=(14, 15, 4)).astype(np.float32)
        assert 2 <= self.make()(patches(13, 17)).max() + 1 <= 9
        assert self.make()(noise).max() + 1 <= 9

    def test_never_makes_more_than_forty_groups(self) -> None:
        noise = np.random.default_rng(1).normal(size=(30, 30, 4)).astype(np.float32)
        assert self.per_photo()(noise).max() + 1 <= MOST

    def test_chooses_more_groups_for_a_photo_of_more_parts(self) -> None:
        simple, rich = np.zeros((20, 24, 6), np.float32), np.zeros((20, 24, 6), np.float32)
        simple[:, 12:, 0] = 1
        for index, (row, column) in enumerate(np.ndindex(3, 4)):
            rich[row * 7 : row * 7 + 7, column * 6 : column * 6 + 6] = np.random.default_rng(index).normal(size=6)
        assert self.per_photo()(simple).max() < self.per_photo()(rich).max()

    def test_leaves_no_specks(self) -> None:
        labels = self.make()(np.random.default_rng(1).normal(size=(14, 15, 4)).astype(np.float32))
        assert np.bincount(labels.ravel()).min() >= 3

    def test_takes_a_photo_without_any_structure(self) -> None:
        labels = self.make()(np.zeros((8, 9, 4), np.float32))
        assert np.bincount(labels.ravel()).min() >= 3

    def test_gives_the_same_groups_again(self) -> None:
        for grouper in (self.make(), self.per_photo()):
            assert np.array_equal(grouper(patches(20, 20)), grouper(patches(20, 20)))

    def test_keeps_two_things_that_touch_apart(self) -> None:
        features = np.zeros((10, 12, 2), np.float32)
        features[:, :6, 0] = 5.0
        features[:, 6:, 1] = 5.0
        labels = self.make()(features)
        assert not set(np.unique(labels[:, :6])) & set(np.unique(labels[:, 6:]))

    def test_groups_superpixels_along_the_edge_in_the_photo(self) -> None:
        graph, superpixels = two_colours()
        labels = self.make(smallest=0.5).partition(graph)[superpixels]
        left, right = labels[:, :69], labels[:, 71:]
        assert not set(np.unique(left)) & set(np.unique(right))
        assert int(connected_pieces(labels).max()) == labels.max()


class TestAgglomerative(GrouperConformance):
    def make(self, smallest: float = 3) -> Grouper:
        return Agglomerative(groups=9, smallest=smallest)

    def per_photo(self) -> Grouper:
        return Agglomerative(height=1e-4, smallest=0)


class TestAgglomerativeWithEdges(GrouperConformance):
    def make(self, smallest: float = 3) -> Grouper:
        return Agglomerative(groups=9, smallest=smallest, size_power=0.5, edge_weight=30)

    def per_photo(self) -> Grouper:
        return Agglomerative(height=1e-4, smallest=0, size_power=0.5, edge_weight=30)


class TestNormalisedCut(GrouperConformance):
    def make(self, smallest: float = 3) -> Grouper:
        return NormalisedCut(groups=6, most=9, smallest=smallest)

    def per_photo(self) -> Grouper:
        return NormalisedCut(smallest=0, fewest=2)


class TestKMeans(GrouperConformance):
    def make(self, smallest: float = 3) -> Grouper:
        return KMeans(groups=6, most=9, smallest=smallest)

    def per_photo(self) -> Grouper:
        return KMeans(unexplained=0.01, smallest=0)


@pytest.mark.parametrize("kind", [Agglomerative, NormalisedCut, KMeans])
@pytest.mark.parametrize(
    ("options", "named"),
    [({"groups": 41}, "41"), ({"groups": 0}, "0"), ({"most": 41}, "most"), ({"fewest": 9, "most": 5}, "fewest")],
)
def test_bounds_that_cannot_be_kept_are_refused(kind: type[GraphGrouper], options: dict, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        kind(**options)


def test_each_method_refuses_settings_outside_its_range() -> None:
    with pytest.raises(BadInput, match="height"):
        Agglomerative(height=-1)
    with pytest.raises(BadInput, match="radius"):
        NormalisedCut(radius=0)
    with pytest.raises(BadInput, match="unexplained"):
        KMeans(unexplained=0)
    with pytest.raises(BadInput, match="smallest"):
        KMeans(smallest=-1)
