"""Outlines along the photo's colours: what was left out comes back, what leaked goes, nothing is taken from others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unsay.segmentation.outlines import follow_colours


def scene(size: tuple[int, int] = (120, 160)) -> tuple[np.ndarray, np.ndarray]:
    """A red disc with a red foot on a noisy green ground, and where it is."""
    rng = np.random.default_rng(0)
    rgb = np.clip(np.array([60, 140, 70]) + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    thing = np.zeros(size, np.uint8)
    cv2.circle(thing, (70, 55), 30, 1, -1)
    cv2.rectangle(thing, (66, 80), (74, 95), 1, -1)
    red = np.clip(np.array([190, 40, 40]) + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    rgb[thing > 0] = red[thing > 0]
    return rgb, thing.astype(bool)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_part_that_was_left_out_comes_back_and_a_leak_goes() -> None:
    rgb, thing = scene()
    rough = np.zeros(thing.shape, np.int32)
    rough[25:80, 45:110] = 3  # without the foot, with a strip of the ground
    assert overlap(rough == 3, thing) < 0.8
    found = follow_colours(rough, rgb)
    assert set(np.unique(found)) == {0, 3}
    assert overlap(found == 3, thing) > 0.95


def test_no_label_takes_pixels_from_another() -> None:
    """Two labels share the thing: the line between them stays where it was."""
    rgb, thing = scene()
    halves = np.where(thing, 1, 0).astype(np.int32)
    halves[:, 70:][thing[:, 70:]] = 2
    found = follow_colours(halves, rgb)
    assert not ((halves == 1) & (found == 2)).any()
    assert not ((halves == 2) & (found == 1)).any()
    assert overlap(found > 0, thing) > 0.97


def test_far_things_of_the_same_colour_are_left_alone() -> None:
    rgb, thing = scene((120, 300))
    rgb[40:60, 260:280] = rgb[45:65, 60:80]
    found = follow_colours(thing.astype(np.int32), rgb)
    assert not found[:, 200:].any()


def test_where_colours_say_nothing_a_label_stays() -> None:
    flat = np.full((60, 80, 3), 128, np.uint8)
    labels = np.zeros((60, 80), np.int32)
    labels[20:40, 20:60] = 1
    assert np.array_equal(follow_colours(labels, flat), labels)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 5), (700, 20), (480, 640)])
def test_any_size_and_any_label_is_taken(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for labels in (np.zeros(size, np.int32), np.ones(size, np.int32), rng.integers(0, 3, size, dtype=np.int32)):
        found = follow_colours(labels, rgb)
        assert found.shape == size
        assert set(np.unique(found)) <= {0, *np.unique(labels).tolist()}
        assert set(np.unique(labels)) - {0} <= set(np.unique(found)), "no label is lost"


def test_the_same_input_gives_the_same_labels() -> None:
    rgb, thing = scene()
    first = follow_colours(thing.astype(np.int32), rgb)
    cv2.setRNGSeed(99)
    assert np.array_equal(first, follow_colours(thing.astype(np.int32), rgb))
