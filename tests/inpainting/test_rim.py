"""Matching a fill to the hole's rim."""

import numpy as np
import pytest

from unsay.inpainting.rim import match_rim, membrane


def gradient(height: int = 60, width: int = 90) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 2 + 20, y * 3 + 30, x + y], -1).astype(np.uint8)


def disc(height: int = 60, width: int = 90, radius: int = 17) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (y - 30) ** 2 + (x - 45) ** 2 < radius**2


def test_a_tinted_fill_gets_its_colours_back():
    truth, hole = gradient(), disc()
    tinted = np.where(hole[..., None], np.clip(truth + np.array([40, -25, 15]), 0, 255), truth).astype(np.uint8)
    found = match_rim(tinted, hole)
    assert np.abs(found.astype(int) - truth)[hole].max() <= 6
    assert np.array_equal(found[~hole], truth[~hole])


def test_texture_of_the_fill_stays():
    truth, hole = gradient(), disc()
    rng = np.random.default_rng(0)
    noise = rng.integers(-20, 20, truth.shape)
    textured = np.where(hole[..., None], np.clip(truth + 30 + noise, 0, 255), truth).astype(np.uint8)
    found = match_rim(textured, hole).astype(float)
    core = disc(radius=10)
    assert np.corrcoef((found - truth)[core].ravel(), noise[core].ravel())[0, 1] > 0.95


def test_a_hole_at_the_photos_border_meets_its_known_side():
    truth = gradient()
    hole = np.zeros(truth.shape[:2], bool)
    hole[:, 60:] = True
    found = match_rim(np.where(hole[..., None], np.uint8(0), truth), hole)
    assert np.abs(found[:, 60].astype(int) - truth[:, 59]).max() <= 12


@pytest.mark.parametrize("hole", [np.zeros((4, 5), bool), np.ones((4, 5), bool)])
def test_nothing_to_match(hole):
    photo = np.full((4, 5, 3), 7, np.uint8)
    assert np.array_equal(match_rim(photo, hole), photo)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 17), (64, 64)])
def test_the_membrane_goes_through_its_points_and_stays_between_them(shape):
    rng = np.random.default_rng(1)
    values = rng.uniform(-5, 9, (*shape, 2)).astype(np.float32)
    known = (rng.random(shape) < 0.2).astype(np.float32)
    known[0, 0] = 1
    field = membrane(values, known)
    picked = known > 0
    assert np.allclose(field[picked], values[picked], atol=1e-5)
    assert field.min() >= values[picked].min() - 1e-3
    assert field.max() <= values[picked].max() + 1e-3
