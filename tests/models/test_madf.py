"""MADF against an independent literal form, against the paper's size, and against itself under the hole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from unsay.errors import BadInput
from unsay.models.madf import MADF, FilterGenerator, MADFConfig

TINY = MADFConfig(width=0.05, levels=5, refinements=2)


def literal_filtering(module: FilterGenerator, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The method as it is told: build every point's own filter, then apply it to the window there."""
    m = F.relu(module.conv[0](mask))
    filters = module.conv1[0](m)  # [B, C_in * k * k * C_out, h, w]
    k, c_in, c_out = module.kernel, module.in_channels, module.out_channels
    padded = F.pad(x, [k // 2] * 4)
    out = torch.zeros(x.shape[0], c_out, *m.shape[2:], dtype=x.dtype)
    for b in range(x.shape[0]):
        for i in range(m.shape[2]):
            for j in range(m.shape[3]):
                window = padded[b, :, 2 * i : 2 * i + k, 2 * j : 2 * j + k].reshape(-1)
                out[b, :, i, j] = window @ filters[b, :, i, j].view(c_in * k * k, c_out)
    return F.relu(out)


@settings(max_examples=15, deadline=None)
@given(
    c_in=st.integers(1, 4),
    c_out=st.integers(1, 4),
    kernel=st.sampled_from([3, 5, 7]),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    seed=st.integers(0, 10_000),
)
def test_fast_filtering_equals_the_literal_form_in_value_and_gradient(c_in, c_out, kernel, height, width, seed):
    torch.manual_seed(seed)
    module = FilterGenerator(c_in, c_out, 3, 4, kernel).double()
    x = torch.randn(2, c_in, height, width, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(2, 3, height, width) > 0.5).double()
    fast, slow = module(x, mask)[0], literal_filtering(module, x, mask)
    assert torch.allclose(fast, slow, atol=1e-10, rtol=1e-10)
    weights = torch.randn_like(fast)
    inputs = [x, *module.parameters()]
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), inputs) for y in (fast, slow)), strict=True):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10)


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
