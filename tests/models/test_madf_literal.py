"""The benchmark's literal form of the method and the library's network are the same function."""

import pytest
import torch

from madf_literal import LiteralMADF
from unsay.models.madf import MADF, MADFConfig


def pair(config: MADFConfig) -> tuple[MADF, LiteralMADF]:
    """Both forms in fp64 with the same weights and batch statistics that are not the identity."""
    torch.manual_seed(0)
    fast, literal = MADF(config).double(), LiteralMADF(config).double()
    for name, buffer in fast.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    literal.load_state_dict(fast.state_dict())
    return fast, literal


@pytest.mark.parametrize(("levels", "refinements"), [(5, 0), (6, 1), pytest.param(7, 2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("training", [False, True])
def test_both_forms_put_out_the_same(levels, refinements, training):
    fast, literal = pair(MADFConfig(width=0.04, levels=levels, refinements=refinements))
    fast.train(training), literal.train(training)
    side = 2**levels
    image = torch.randn(2, 3, side, 2 * side, dtype=torch.float64)
    mask = (torch.rand(2, 1, side, 2 * side) > 0.3).double()
    ours, theirs = fast(image, mask), literal(image, mask)
    assert len(ours) == len(theirs) == refinements + 1
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_both_forms_have_the_same_gradients():
    fast, literal = pair(MADFConfig(width=0.03, levels=5, refinements=1))
    image, mask = torch.randn(1, 3, 32, 32, dtype=torch.float64), (torch.rand(1, 1, 32, 32) > 0.3).double()
    for network in (fast, literal):
        network.eval()
        sum(output.square().sum() for output in network(image, mask)).backward()
    for (name, a), (other, b) in zip(fast.named_parameters(), literal.named_parameters(), strict=True):
        assert name == other
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-10)
