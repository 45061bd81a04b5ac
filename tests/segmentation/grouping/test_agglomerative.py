"""Ward's agglomeration is scikit-learn's; what was changed in its cost does what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from unsay.segmentation.grouping import Agglomerative, Graph, grid_edges, grid_graph, ward
from unsay.segmentation.grouping.agglomerative import merge_tree


@pytest.mark.parametrize("clusters", [1, 5, 20])
def test_ward_is_what_scikit_learn_computes(clusters: int) -> None:
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.feature_extraction.image import grid_to_graph
    from sklearn.metrics import adjusted_rand_score

    points = np.random.default_rng(2).normal(size=(11 * 14, 6)).astype(np.float32)
    ours = ward(points, grid_edges(11, 14), clusters)
    theirs = AgglomerativeClustering(clusters, connectivity=grid_to_graph(11, 14)).fit_predict(points.astype(float))
    assert adjusted_rand_score(ours, theirs) == pytest.approx(1.0)


def test_the_height_of_a_join_is_the_cost_in_the_docstring() -> None:
    features = np.array([[0.0], [2.0]], np.float32)
    pair = np.array([[0, 1]])
    graph = Graph(features, np.array([1.0, 3.0]), np.zeros((2, 2)), pair, np.array([4.0]), np.array([0.5]))
    cost = (0.25 * 0.75) ** 0.5 * 4 * (1 + 30 * 0.5)
    assert merge_tree(graph, 0.5, 30).costs == pytest.approx([cost])
    assert (
        Agglomerative(height=cost * 1.01, size_power=0.5, edge_weight=30, fewest=1, smallest=0).split(graph).max() == 0
    )
    assert (
        Agglomerative(height=cost * 0.99, size_power=0.5, edge_weight=30, fewest=1, smallest=0).split(graph).max() == 1
    )


def test_an_edge_in_the_photo_keeps_like_patches_apart() -> None:
    flat = grid_graph(np.linspace(0, 1, 9, dtype=np.float32).reshape(1, 9, 1))
    walls = np.where(flat.edges[:, 0] == 2, 1.0, 0.0)
    graph = Graph(flat.features, flat.sizes, flat.centres, flat.edges, flat.lengths, walls)
    labels = Agglomerative(groups=2, smallest=0, edge_weight=50).partition(graph)
    assert labels.tolist() == [0] * 3 + [1] * 6


def test_the_contrast_of_a_joint_border_is_its_mean_along_the_border() -> None:
    """0 and 1 are one thing; 2 touches 0 along 3 pixels without contrast and 1 along 1 pixel with contrast 8."""
    features = np.array([[0.0], [0.0], [1.0]], np.float32)
    edges = np.array([[0, 1], [0, 2], [1, 2]])
    graph = Graph(features, np.ones(3), np.zeros((3, 2)), edges, np.array([2.0, 3, 1]), np.array([0.0, 0, 8]))
    ward_cost = (2 / 3) * (1 / 3)
    assert merge_tree(graph, 1, 1).costs == pytest.approx([0, ward_cost * (1 + 8 / 4)])


def test_less_weight_of_size_keeps_a_small_thing_rather_than_halve_a_large_one() -> None:
    """A wide slow ramp beside a small thing: Ward cuts the ramp in two, a lower power does not."""
    ramp = np.linspace(0, 1, 60)
    features = np.concatenate([ramp, [2.2, 2.2]]).reshape(1, -1, 1).astype(np.float32)
    by_ward = Agglomerative(groups=2, smallest=0)(features)[0]
    softer = Agglomerative(groups=2, smallest=0, size_power=0.2)(features)[0]
    assert by_ward[0] != by_ward[59]
    assert softer[0] == softer[59] != softer[60]
