"""Every grouper keeps the promises of `Grouper`; Ward's agglomeration is scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from unsay.segmentation.grouping import (
    Agglomerative,
    Grouper,
    absorb_specks,
    connected_pieces,
    grid_edges,
    patch_features,
    ward,
)
from unsay.segmentation.trunk import Maps


def patches(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scene = np.add.outer(np.arange(height) // 4, np.arange(width) // 5)[..., None] * np.array([1.0, -2.0, 0.5])
    return (scene + rng.normal(0, 0.3, (height, width, 3))).astype(np.float32)


class GrouperConformance:
    """Inherit, and give `make`: the grouper under test with at most 9 groups of at least 3 patches."""

    def make(self) -> Grouper:
        raise NotImplementedError

    @pytest.mark.parametrize("shape", [(1, 1), (1, 7), (12, 1), (2, 2), (13, 17)])
    def test_numbers_connected_groups_from_zero_without_gaps(self, shape: tuple[int, int]) -> None:
        labels = self.make()(patches(*shape))
        assert labels.shape == shape
        assert labels.dtype == np.int32
        count = int(labels.max()) + 1
        assert sorted(np.unique(labels)) == list(range(count))
        assert int(connected_pieces(labels).max()) + 1 == count <= 9

    def test_leaves_no_specks(self) -> None:
        labels = self.make()(np.random.default_rng(1).normal(size=(14, 15, 4)).astype(np.float32))
        assert np.bincount(labels.ravel()).min() >= 3

    def test_takes_a_photo_without_any_structure(self) -> None:
        labels = self.make()(np.zeros((8, 9, 4), np.float32))
        assert np.bincount(labels.ravel()).min() >= 3

    def test_gives_the_same_groups_again(self) -> None:
        assert np.array_equal(self.make()(patches(20, 20)), self.make()(patches(20, 20)))

    def test_keeps_two_things_that_touch_apart(self) -> None:
        features = np.zeros((10, 12, 2), np.float32)
        features[:, 6:] = 5.0
        labels = self.make()(features)
        assert not set(np.unique(labels[:, :6])) & set(np.unique(labels[:, 6:]))


class TestAgglomerative(GrouperConformance):
    def make(self) -> Grouper:
        return Agglomerative(groups=9, smallest=3)


@pytest.mark.parametrize("clusters", [1, 5, 20])
def test_ward_is_what_scikit_learn_computes(clusters: int) -> None:
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.feature_extraction.image import grid_to_graph
    from sklearn.metrics import adjusted_rand_score

    points = np.random.default_rng(2).normal(size=(11 * 14, 6)).astype(np.float32)
    ours = ward(points, grid_edges(11, 14), clusters)
    theirs = AgglomerativeClustering(clusters, connectivity=grid_to_graph(11, 14)).fit_predict(points.astype(float))
    assert adjusted_rand_score(ours, theirs) == pytest.approx(1.0)


def test_a_speck_joins_the_neighbour_it_resembles() -> None:
    labels = np.zeros((4, 8), np.int32)
    labels[:, 4:] = 1
    labels[1, 3] = 2
    features = np.where(labels == 0, 0.0, np.where(labels == 1, 10.0, 9.0))[..., None].astype(np.float32)
    assert absorb_specks(labels, features, 2)[1, 3] == 1


def test_features_join_both_maps_on_the_finer_grid() -> None:
    rng = np.random.default_rng(3)
    maps = Maps(
        rng.normal(size=(112, 6, 8)).astype(np.float32),
        rng.normal(size=(320, 3, 4)).astype(np.float32),
        rng.normal(size=(1280, 3, 4)).astype(np.float32),
    )
    features = patch_features(maps, channels=24)
    assert features.shape == (6, 8, 24)
    assert np.isfinite(features).all()
    whole = patch_features(maps, channels=432).reshape(48, -1)
    reduced = patch_features(maps, channels=47).reshape(48, -1)
    assert np.allclose(whole @ whole.T, reduced @ reduced.T, atol=1e-4)
