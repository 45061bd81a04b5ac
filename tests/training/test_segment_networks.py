"""The starter's frozen networks, wired: what they see in a photo and in a sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unsay.errors import BadInput
from unsay.models.efficientnet_lite import MEAN, SCALE, load_trunk
from unsay.models.starter_encoder import StarterConfig
from unsay.training.config import load_config
from unsay.training.segment_config import MachineConfig, SegmentConfig, check_config
from unsay.training.segment_networks import build_networks, normalised

CONFIGS = Path(__file__).parents[2] / "src" / "unsay" / "training" / "configs"


@pytest.mark.slow
def test_the_starter_sees_what_its_trunk_sees() -> None:
    networks = build_networks(SegmentConfig(side=96, groups=5, machine=MachineConfig(threads=1)))
    photo = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    photo[:, :45] = 200
    view = networks.look()(photo)
    assert view.groups.shape == (6, 6)
    assert 1 <= view.groups.max() < 5
    assert view.patches is not None
    shrunk = cv2.resize(photo, (96, 96), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    pixels = torch.from_numpy((shrunk.transpose(2, 0, 1)[None] - MEAN) / SCALE)
    expected = load_trunk(StarterConfig().trunk)(pixels)[0][0].numpy()
    assert view.patches.shape == expected.shape
    assert np.abs(view.patches - expected).max() < 0.05 * np.abs(expected).max()  # weights and maps are stored as fp16
    regions = networks.encoder()(torch.from_numpy(view.patches[None]).float(), torch.ones(1, 2, np.prod(networks.grid)))
    assert regions.shape == (1, 2, 384)


@pytest.mark.slow
def test_sentences_of_one_meaning_are_near() -> None:
    rows = build_networks(SegmentConfig()).embed()(["a photo of a dog.", "a picture of a puppy.", "two trains"])
    assert torch.allclose(rows.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2


def test_pixels_are_normalised_channel_by_channel() -> None:
    photo = np.zeros((8, 12, 3), np.uint8)
    photo[..., 1] = 100
    pixels = normalised(photo, 4, (1.0, 50.0, 3.0), (1.0, 25.0, 3.0))
    assert pixels.shape == (3, 4, 4)
    assert pixels[:, 0, 0].tolist() == [-1.0, 2.0, -1.0]


@pytest.mark.parametrize("name", ["starter", "paper"])
def test_ready_configurations_are_valid(name: str) -> None:
    config = load_config(CONFIGS / f"segment-{name}.yaml", SegmentConfig)
    check_config(config)
    assert config.network == name
    if name == "starter":
        networks = build_networks(config)
        assert (networks.grid, networks.pixels) == ((10, 10), None)
    else:
        with pytest.raises(BadInput, match="`clip` and `dino`"):
            build_networks(dataclasses.replace(config, clip=""))


@pytest.mark.parametrize(("side", "message"), [(300, "multiple of 32"), (0, "multiple of 32")])
def test_a_side_that_the_trunk_cannot_take_is_refused(side: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build_networks(SegmentConfig(side=side))
