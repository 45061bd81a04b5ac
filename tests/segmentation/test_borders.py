from __future__ import annotations

import numpy as np

from unsay.segmentation.borders import draw_borders


def test_a_border_moves_from_the_grid_to_the_edge_in_the_photo() -> None:
    rng = np.random.default_rng(0)
    photo = np.full((128, 128, 3), 60, np.uint8)
    photo[:, 70:] = (200, 120, 40)
    photo = np.clip(photo + rng.normal(0, 5, photo.shape), 0, 255).astype(np.uint8)
    groups = np.zeros((8, 8), np.int32)
    groups[:, 4:] = 1  # the grid says column 64, the photo 70
    drawn = draw_borders(groups, photo)
    truth = np.zeros((128, 128), np.int32)
    truth[:, 70:] = 1
    assert (drawn != truth).mean() < 0.04  # the grid itself is wrong by 0.047


def test_on_a_flat_photo_the_border_stays_where_the_grid_had_it() -> None:
    groups = np.zeros((8, 8), np.int32)
    groups[4:] = 1
    drawn = draw_borders(groups, np.full((64, 64, 3), 128, np.uint8))
    assert drawn.dtype == np.int32
    assert (drawn[:26] == 0).all()
    assert (drawn[38:] == 1).all()


def test_one_pixel() -> None:
    assert draw_borders(np.zeros((1, 1), np.int32), np.zeros((1, 1, 3), np.uint8)).tolist() == [[0]]
