"""The starter's frozen networks, wired: what they see in a photo and in a sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from unsay.errors import BadInput
from unsay.models.efficientnet_lite import MEAN, SCALE, load_trunk
from unsay.models.starter_encoder import StarterConfig
from unsay.segmentation.recipe import Network
from unsay.segmentation.vision import prepare
from unsay.training.config import load_config
from unsay.training.segment_config import MachineConfig, SegmentConfig, check_config
from unsay.training.segment_networks import build_networks, normalised

CONFIGS = Path(__file__).parents[2] / "src" / "unsay" / "training" / "configs"


@pytest.mark.slow
@pytest.mark.parametrize("tune", [True, False])
def test_the_starter_sees_what_its_trunk_sees(tune: bool) -> None:
    starter = StarterConfig(trunk="efficientnet-lite0", tune=tune)
    networks = build_networks(SegmentConfig(starter=starter, side=96, groups=5, machine=MachineConfig(threads=1)))
    photo = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    photo[:, :45] = 200
    view = networks.look()(photo)
    assert view.groups.shape == (6, 6)
    assert 1 <= view.groups.max() < 5
    assert view.patches is not None
    pixels = prepare(photo, Network("", 96, 96, (MEAN,) * 3, (SCALE,) * 3))
    fine, _, wide = load_trunk()(torch.from_numpy(pixels))
    expected = (fine if tune else wide)[0].numpy()
    assert view.patches.shape == expected.shape
    assert np.abs(view.patches - expected).max() < 0.05 * float(expected.max())  # both ways stored as fp16
    shares = torch.rand(1, 3, int(np.prod(networks.grid)))
    regions = networks.encoder()(torch.from_numpy(view.patches[None].astype(np.float32)), shares)
    assert regions.shape == (1, 3, 384)


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
