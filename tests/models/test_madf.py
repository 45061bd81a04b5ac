"""MADF against the paper's size, and against itself under the hole; test_madf_points.py proves its modules."""

import numpy as np
import pytest
import torch

from unsay.errors import BadInput
from unsay.models.madf import MADF, MADFConfig

TINY = MADFConfig(width=0.05, levels=5, refinements=2)


def test_the_papers_network_has_the_published_number_of_values():
    """The published 85,141,214 count the encoder's batch-norm (2 * 624 values), which is never used."""
    with torch.device("meta"):
        count = sum(p.numel() for p in MADF().parameters())
    assert count + 2 * (16 + 32 + 64 + 4 * 128) == 85_141_214


def test_what_lies_under_the_hole_changes_nothing():
    torch.manual_seed(0)
    network = MADF(TINY).eval()
    image, mask = torch.randn(1, 3, 64, 96), torch.ones(1, 1, 64, 96)
    mask[..., 20:40, 30:70] = 0
    other = torch.where(mask.bool(), image, torch.randn_like(image) * 9)
    for a, b in zip(network(image, mask), network(other, mask), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("levels", "refinements"), [(5, 0), (6, 1), (7, 2)])
def test_every_configuration_gives_one_output_a_decoder(levels, refinements):
    network = MADF(MADFConfig(width=0.03, levels=levels, refinements=refinements)).eval()
    side = 2**levels
    outputs = network(torch.randn(1, 3, side, 2 * side), torch.ones(1, 1, side, 2 * side))
    assert [tuple(o.shape) for o in outputs] == [(1, 3, side, 2 * side)] * (refinements + 1)


def test_later_outputs_see_earlier_ones():
    """The cascade is trained end to end: the last output's gradient reaches the recovery decoder's image layer."""
    network = MADF(TINY)
    outputs = network(torch.randn(2, 3, 32, 64), torch.ones(2, 1, 32, 64))
    outputs[-1].sum().backward()
    assert float(network.att_conv_1["conv"][0].weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("wrong", [{"levels": 8}, {"refinements": 3}, {"width": 0.0}])
def test_impossible_configurations_are_refused(wrong):
    with pytest.raises(BadInput):
        MADFConfig(**wrong)


def test_initial_outputs_are_finite():
    torch.manual_seed(1)
    outputs = MADF(TINY)(torch.randn(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).float())
    assert all(np.isfinite(o.detach().numpy()).all() for o in outputs)
