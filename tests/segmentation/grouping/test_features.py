from __future__ import annotations

import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.segmentation.grouping import join_maps


def maps(seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "fine": rng.normal(size=(112, 6, 8)).astype(np.float32),
        "last": rng.normal(size=(320, 3, 4)).astype(np.float32),
    }


def test_maps_are_joined_on_the_finest_grid_with_few_channels() -> None:
    features = join_maps(maps(), {"last": 0.6, "fine": 1.0}, 24)
    assert features.shape == (6, 8, 24)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_principal_directions_keep_the_distances() -> None:
    whole = join_maps(maps(), {"fine": 1.0, "last": 0.6}, 432).reshape(48, -1)
    reduced = join_maps(maps(), {"fine": 1.0, "last": 0.6}, 47).reshape(48, -1)
    assert np.allclose(whole @ whole.T, reduced @ reduced.T, atol=1e-4)


def test_the_scale_of_a_map_does_not_matter_its_weight_does() -> None:
    def gram(given: dict[str, np.ndarray], weight: float) -> np.ndarray:
        joined = join_maps(given, {"fine": 1.0, "last": weight}, 500).reshape(48, -1)
        return joined @ joined.T

    loud = {"fine": maps()["fine"], "last": maps()["last"] * 7}
    assert np.allclose(gram(maps(), 0.6), gram(loud, 0.6), atol=1e-4)
    assert not np.allclose(gram(maps(), 0.6), gram(maps(), 1.2), atol=1e-2)


def test_one_map_of_another_encoder_is_enough() -> None:
    tokens = np.random.default_rng(0).normal(size=(384, 5, 7)).astype(np.float32)
    assert join_maps({"tokens": tokens}, {"tokens": 1.0}).shape == (5, 7, 24)


def test_a_map_of_zeros_and_a_single_patch_give_finite_features() -> None:
    assert np.isfinite(join_maps({"a": np.zeros((30, 1, 1), np.float32)}, {"a": 1.0}, 4)).all()


def test_a_map_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"'wide'.*known: fine, last"):
        join_maps(maps(), {"wide": 1.0})
    with pytest.raises(BadInput, match="name a map"):
        join_maps(maps(), {})
