from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.segmentation.borders import BorderOptions, draw_borders


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


def test_a_pixel_goes_only_to_a_group_that_is_near() -> None:
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 255, (96, 192, 3)).astype(np.uint8)
    groups = np.repeat(np.arange(6, dtype=np.int32), 4)[None].repeat(12, axis=0)
    drawn = draw_borders(groups, photo)
    columns = np.arange(192) * 24 // 192 // 4
    assert (np.abs(drawn - columns) <= 1).all()


def test_a_fine_border_that_lies_on_the_edge_stays_there() -> None:
    photo = np.full((120, 160, 3), 60, np.uint8)
    photo[:, 66:] = (200, 120, 40)
    truth = (np.arange(160)[None].repeat(120, axis=0) >= 66).astype(np.int32)
    drawn = draw_borders(truth, photo)
    assert (drawn != truth).sum(1).max() <= 1


def test_the_result_has_the_photos_size_whatever_the_sides() -> None:
    groups = np.arange(6, dtype=np.int32).reshape(2, 3)
    for shape in ((1, 9), (7, 1), (33, 50), (34, 51)):
        for reduce in (1, 2, 4):
            drawn = draw_borders(groups, np.zeros((*shape, 3), np.uint8), BorderOptions(reduce=reduce))
            assert drawn.shape == shape
            assert drawn.dtype == np.int32


def test_labels_may_have_gaps() -> None:
    groups = np.array([[3, 3, 7, 7]], np.int32)
    assert set(np.unique(draw_borders(groups, np.zeros((10, 40, 3), np.uint8)))) == {3, 7}


def test_a_group_is_filtered_in_its_own_surroundings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    blur, worked = cv2.blur, []

    def counted(array: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
        worked.append(array.shape[0] * array.shape[1])
        return np.asarray(blur(array, *args, **options))

    monkeypatch.setattr("unsay.segmentation.borders.cv2.blur", counted)
    draw_borders(np.arange(40, dtype=np.int32).reshape(5, 8), photo)
    assert len(worked) > 40  # 40 groups, each a 40th of the photo
    assert sum(worked) < 0.4 * len(worked) * 120 * 160


def test_options_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(BadInput, match="reduce is 0"):
        BorderOptions(reduce=0)
    with pytest.raises(BadInput, match="eps 0"):
        BorderOptions(eps=0)
