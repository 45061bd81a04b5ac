from __future__ import annotations

import pytest
import torch

from unsay.models.region_head import HeadConfig, RegionHead


def head(layers: int, context: bool = True) -> RegionHead:
    torch.manual_seed(0)
    return RegionHead(HeadConfig(channels=40, width=32, text=16, heads=4, layers=layers, context=context)).eval()


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_all_regions_in_one_pass_are_each_region_alone(layers: int) -> None:
    network = head(layers)
    wide = torch.randn(1, 30, 40)
    shares = torch.rand(1, 7, 30) * (torch.rand(1, 7, 30) < 0.4)
    shares[:, :, 0] = 0.5
    together = network(wide, shares)
    for k in range(7):
        assert torch.allclose(together[:, k], network(wide, shares[:, k : k + 1])[:, 0], atol=1e-6)


@pytest.mark.parametrize("layers", [0, 2])
def test_a_patch_outside_the_region_is_not_seen_by_it(layers: int) -> None:
    network = head(layers, context=False)
    wide = torch.randn(1, 12, 40)
    shares = torch.zeros(1, 1, 12)
    shares[..., :5] = 1.0
    other = wide.clone()
    other[:, 5:] += 3.0
    assert torch.equal(network(wide, shares), network(other, shares))


def test_coverage_weighs_patches_by_their_share() -> None:
    network = head(2)
    wide = torch.randn(1, 6, 40)
    shares = torch.rand(1, 2, 6)
    twice = torch.cat([wide, wide], 1)
    halves = torch.cat([shares / 2, shares / 2], 2)
    scaled = network(twice, halves * 2)
    assert network(wide, shares).shape == scaled.shape == (1, 2, 16)
    assert torch.allclose(network(wide, shares).norm(dim=-1), torch.ones(1, 2))
