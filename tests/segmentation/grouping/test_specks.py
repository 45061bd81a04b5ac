from __future__ import annotations

import numpy as np

from unsay.segmentation.grouping import absorb_specks, grid_graph
from unsay.segmentation.grouping.specks import absorb, split_pieces


def test_a_speck_joins_the_neighbour_it_resembles() -> None:
    labels = np.zeros((4, 8), np.int32)
    labels[:, 4:] = 1
    labels[1, 3] = 2
    features = np.where(labels == 0, 0.0, np.where(labels == 1, 10.0, 9.0))[..., None].astype(np.float32)
    assert absorb_specks(labels, features, 2)[1, 3] == 1


def test_two_pieces_of_one_label_become_two_groups() -> None:
    labels = np.array([[0, 0, 1, 1, 0, 0]], np.int32)
    assert absorb_specks(labels, np.zeros((1, 6, 1), np.float32), 1).tolist() == [[0, 0, 1, 1, 2, 2]]


def test_too_many_pieces_are_joined_smallest_first() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2], np.int32)
    features = np.array([0, 0, 0, 4, 5, 5], np.float32).reshape(1, 6, 1)
    assert absorb(labels, grid_graph(features), 0, 2).tolist() == [0, 0, 0, 1, 1, 1]


def test_pieces_follow_the_graph_not_the_label() -> None:
    graph = grid_graph(np.zeros((2, 3, 1), np.float32))
    assert split_pieces(np.array([0, 1, 0, 1, 1, 0], np.int32), graph).tolist() == [0, 1, 2, 1, 1, 2]
