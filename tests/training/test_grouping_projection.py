from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from unsay.models.efficientnet_lite import EfficientNetLite
from unsay.training.grouping_projection import altered, contrast, fit, two_views


def test_contrast_is_least_where_each_place_finds_itself() -> None:
    rows = torch.eye(6)
    assert contrast(rows, rows) < 0.01 < contrast(rows, rows.roll(1, 0))


def test_the_projection_keeps_what_the_views_share_and_drops_what_they_do_not() -> None:
    generator = torch.Generator().manual_seed(1)
    shared = torch.randn(20, 8, 4, generator=generator)
    first, second = (torch.cat([shared, torch.randn(20, 8, 4, generator=generator)], 2) for _ in range(2))
    weight = fit(first, second, channels=3, steps=200, photos=4)
    start = fit(first, second, channels=3, steps=0)

    def shared_part(of: torch.Tensor) -> float:
        return float(of[:4].norm() / of[4:].norm())

    assert weight.shape == (8, 3)
    assert shared_part(weight) > 1.5 * shared_part(start)
    assert torch.equal(weight, fit(first, second, channels=3, steps=200, photos=4))


def test_both_views_tell_of_the_same_places(make_rgb: Callable[..., np.ndarray]) -> None:
    """A trunk with chance weights still sees that the left is dark: features of a place agree more than of others."""
    torch.manual_seed(0)
    photo = np.zeros((96, 128, 3), np.uint8)
    photo[:, 40:] = make_rgb(96, 88)
    first, second = two_views(EfficientNetLite().eval(), photo, np.random.default_rng(0), patches=30)
    assert first.shape == second.shape == (30, 112 + 320)
    own = ((first - second) ** 2).sum(1).mean()
    others = ((first - np.roll(second, 7, axis=0)) ** 2).sum(1).mean()
    assert own < others


def test_an_altered_photo_is_another_but_of_the_same_kind(make_rgb: Callable[..., np.ndarray]) -> None:
    photo = make_rgb(20, 30)
    other = altered(photo, np.random.default_rng(0))
    assert other.shape == photo.shape
    assert other.dtype == np.uint8
    assert np.corrcoef(photo.ravel(), other.ravel())[0, 1] > 0.8
