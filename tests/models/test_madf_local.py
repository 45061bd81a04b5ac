"""The graph that users run is the network, in every box and at every size, and does less work for a small hole."""

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from madf_literal import lively_network
from unsay.models.madf import MADF, FilterGenerator, MADFConfig
from unsay.models.madf_local import FIRST, LAST, LocalFiltering, LocalMADF, Region

Box = tuple[int, int, int, int]


def inputs(height: int, width: int, box: Box, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """An image, a mask with an irregular hole in `box`, and the box as the graph takes it."""
    y0, x0, y1, x1 = box
    mask = torch.ones(1, 1, height, width, dtype=dtype)
    mask[..., y0:y1, x0:x1] = (torch.rand(y1 - y0, x1 - x0) > 0.8).to(dtype)
    mask[..., y0, x0] = mask[..., y1 - 1, x1 - 1] = 0
    return torch.randn(1, 3, height, width, dtype=dtype), mask, torch.tensor(box)


def whole(network: MADF, image: torch.Tensor, mask: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    y0, x0, y1, x1 = box.tolist()
    return network(image, mask)[-1][..., y0:y1, x0:x1]


@pytest.mark.parametrize(
    ("levels", "refinements", "membrane"),
    [
        (5, 0, False),
        (5, 1, True),
        pytest.param(5, 2, False, marks=pytest.mark.slow),
        pytest.param(6, 2, False, marks=pytest.mark.slow),
        pytest.param(7, 1, False, marks=pytest.mark.slow),
    ],
)
def test_every_box_holds_what_the_network_puts_there(levels, refinements, membrane):
    """And what its pixels depend on: value and gradient."""
    torch.manual_seed(levels + refinements)
    network = lively_network(MADFConfig(0.04, levels, refinements, membrane=membrane)).double()
    local, (height, width) = LocalMADF(network), (2 * 2**levels, 2**levels)
    random = np.random.default_rng(levels)
    boxes = [(0, 0, height, width), (0, 0, 5, 3), (height - 1, width - 1, height, width), (7, 0, 9, width)]
    for _ in range(4):
        (y0, y1), (x0, x1) = (sorted(random.choice(side + 1, 2, replace=False)) for side in (height, width))
        boxes.append((y0, x0, y1, x1))
    for box in boxes:
        given = inputs(height, width, box)
        image = given[0].requires_grad_()
        found, expected = local(*given), whole(network, *given)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        weights = torch.randn_like(expected)
        ours, theirs = (torch.autograd.grad((y * weights).sum(), image)[0] for y in (found, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_holes_outside_the_box_are_seen():
    """What is wanted and what is missing need not be the same: padding is missing and not wanted."""
    network = lively_network(MADFConfig(width=0.04, levels=5, refinements=1)).double()
    image, mask, box = inputs(96, 96, (30, 40, 60, 70))
    mask[..., 80:], mask[..., :3, :] = 0, 0
    torch.testing.assert_close(LocalMADF(network)(image, mask, box), whole(network, image, mask, box))


def test_a_mask_without_a_hole_is_no_special_case():
    network = lively_network(MADFConfig(width=0.04, levels=5, refinements=1)).double()
    image, box = torch.randn(1, 3, 64, 64).double(), torch.tensor([10, 20, 40, 50])
    mask = torch.ones(1, 1, 64, 64).double()
    torch.testing.assert_close(LocalMADF(network)(image, mask, box), whole(network, image, mask, box))


def test_a_small_hole_costs_a_fraction_of_a_large_one():
    network = lively_network(MADFConfig(width=0.1, levels=5, refinements=2))
    local, work = LocalMADF(network), []
    for box in ((0, 0, 256, 256), (120, 120, 150, 150)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            local(*inputs(256, 256, box, torch.float32))
        work.append(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs(256, 256, (0, 0, 256, 256), torch.float32)[:2])
    assert work[0] < 1.02 * counter.get_total_flops()
    assert work[1] < 0.3 * work[0]


SIDES = st.integers(6, 24)


@settings(max_examples=40, deadline=None)
@for_all(kernel=st.sampled_from([3, 5, 7]), level=st.integers(1, 2), half=st.tuples(SIDES, SIDES), data=st.data())
def test_one_plain_convolution_does_what_sees_no_hole(kernel, level, half, data):
    """A level of the encoder, wherever the hole is: value and gradient."""
    torch.manual_seed(sum(half))
    channels, copies = (6, 3) if level == 1 else (4, 16)
    generator = FilterGenerator(channels, 5, copies, 16, kernel).double()
    m = torch.rand(16, dtype=torch.float64)  # the mask's features where all is known
    top, left = (data.draw(st.integers(0, n - 1)) for n in half)
    bottom, right = (data.draw(st.integers(start + 1, n)) for start, n in zip((top, left), half, strict=True))
    height, width = (2 * n for n in half)
    picture, mask = torch.randn(1, 3, height, width).double(), torch.randn(1, 1, height, width).double()
    mask = mask.expand(-1, copies, -1, -1)
    picture.requires_grad_()
    local = LocalFiltering(generator, m, level, local=True)
    region = Region(torch.tensor([top, left]), torch.tensor([bottom, right]))
    border = torch.ones(half, dtype=torch.bool)
    border[FIRST:-LAST, FIRST:-LAST] = False
    border[top:bottom, left:right] = True
    generator.conv = Steady(generator.conv, m, border)
    local.mask, local.constant = Steady(nn.Sequential(local.mask, nn.ReLU()), m, border), m[:, None, None]
    full = torch.cat([picture, mask[:, : channels - 3]], 1)
    expected, _ = generator(full, mask)
    found, _ = local(full[:, :4], mask[:, :1] if level == 1 else mask, region)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), picture)[0] for y in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


class Steady(nn.Module):
    """A mask branch whose features are the constant `m` [M] but where `other` [h, w] is true."""

    def __init__(self, branch, m, other):
        super().__init__()
        self.branch, self.m, self.other = branch, m, other

    def forward(self, mask):
        return torch.where(self.other, self.branch(mask), self.m[:, None, None])
