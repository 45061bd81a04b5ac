from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.segmentation.grouping import Superpixels, connected_pieces, superpixel_graph, watershed
from unsay.segmentation.grouping.features import resize_features
from unsay.segmentation.grouping.superpixels import gradient


def pieces(photo: np.ndarray, step: int) -> np.ndarray:
    return watershed(photo, gradient(photo.astype(np.float32) / 255), step)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 2), (3, 3), (50, 70)])
def test_superpixels_cover_any_photo_in_connected_pieces(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for photo in (np.zeros((*shape, 3), np.uint8), rng.integers(0, 255, (*shape, 3)).astype(np.uint8)):
        labels = pieces(photo, 8)
        count = int(labels.max()) + 1
        assert labels.shape == shape
        assert sorted(np.unique(labels)) == list(range(count))
        assert int(connected_pieces(labels).max()) + 1 == count


def test_superpixels_keep_to_their_side_of_an_edge() -> None:
    photo = np.full((60, 80, 3), 30, np.uint8)
    photo[:, 33:] = (200, 90, 160)
    labels = pieces(photo, 10)
    assert not set(np.unique(labels[:, :32])) & set(np.unique(labels[:, 34:]))


def test_there_is_one_seed_a_block() -> None:
    assert pieces(np.zeros((60, 80, 3), np.uint8), 10).max() + 1 == 48


def test_features_are_the_means_of_the_enlarged_map(make_rgb: Callable[..., np.ndarray]) -> None:
    features = np.random.default_rng(1).normal(size=(5, 7, 4)).astype(np.float32)
    graph, labels = superpixel_graph(make_rgb(50, 70), features, Superpixels(side=70, step=9, colour=0))
    enlarged = resize_features(features, 50, 70)
    means = np.stack([enlarged[labels == k].mean(0) for k in range(len(graph))])
    assert np.allclose(graph.features[:, :4], means, atol=1e-4)
    assert not graph.features[:, 4:].any()


def test_the_graph_tells_area_place_and_the_contrast_of_each_border() -> None:
    photo = np.full((40, 60, 3), 30, np.uint8)
    photo[:, 30:] = 220
    graph, labels = superpixel_graph(photo, np.zeros((4, 6, 2), np.float32), Superpixels(side=60, step=10))
    assert graph.sizes.sum() == 40 * 60
    assert graph.centres.max() < 1
    left = graph.centres[:, 1] < 0.5
    across = left[graph.edges[:, 0]] != left[graph.edges[:, 1]]
    assert 40 <= graph.lengths[across].sum() <= 50  # 40 rows, and steps where superpixels meet
    assert graph.contrasts[across].min() > 10 * graph.contrasts[~across].mean()
    touching = {
        tuple(sorted(p)) for p in zip(labels[:, :-1].ravel(), labels[:, 1:].ravel(), strict=True) if p[0] != p[1]
    }
    touching |= {tuple(sorted(p)) for p in zip(labels[:-1].ravel(), labels[1:].ravel(), strict=True) if p[0] != p[1]}
    assert {tuple(e) for e in graph.edges.tolist()} == touching


def test_a_photo_is_brought_to_one_size_large_or_small(make_rgb: Callable[..., np.ndarray]) -> None:
    for shape in ((900, 300), (30, 10)):
        assert Superpixels(side=300).reduced(make_rgb(*shape)).shape == (300, 100, 3)
    assert Superpixels(side=300).reduced(np.zeros((1, 4000, 3), np.uint8)).shape == (1, 300, 3)


def test_colours_weigh_as_much_as_they_are_told() -> None:
    photo = cv2.resize(np.array([[[20, 20, 20], [200, 30, 30]]], np.uint8), (60, 40))
    one, _ = superpixel_graph(photo, np.zeros((2, 2, 1), np.float32), Superpixels(60, 10, 1.0))
    two, _ = superpixel_graph(photo, np.zeros((2, 2, 1), np.float32), Superpixels(60, 10, 2.0))
    assert np.allclose(two.features, 2 * one.features)


def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(BadInput, match="step is 0"):
        Superpixels(step=0)
    with pytest.raises(BadInput, match="colour is -1"):
        Superpixels(colour=-1)
