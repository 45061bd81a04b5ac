"""Recomputing changes what training keeps in memory, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from madf_literal import LiteralMADF, lively_network
from unsay.models.madf import MADF, MADFConfig
from unsay.models.recompute import recompute_all

CONFIG = MADFConfig(width=0.1, levels=5, refinements=2)


@pytest.fixture
def network() -> MADF:
    torch.manual_seed(0)
    return lively_network(CONFIG).double().train()


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 64, 96, dtype=torch.float64, generator=generator)
    return image, (torch.rand(2, 1, 64, 96, dtype=torch.float64, generator=generator) > 0.3).double()


def step(network: nn.Module, times: int = 1) -> dict[str, Tensor]:
    """Gradients by parameter and batch-norm's statistics after one step, its backward pass run so many times."""
    loss = torch.stack([output.square().mean() for output in network(*inputs())]).sum()
    for _ in range(times):
        loss.backward(retain_graph=True)
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return gradients | {name: value.clone() for name, value in network.named_buffers()}


def kept(network: nn.Module) -> int:
    """Bytes that the forward pass keeps for the backward one, beside the weights."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    found: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        outputs = network(*inputs())
    assert outputs
    return sum(found.values())


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_gradients_and_statistics_are_the_same(network: MADF, times: int) -> None:
    """A batch is counted once by batch-norm, however often its values are made."""
    other = copy.deepcopy(network)
    recompute_all(other, True)
    plain, recomputed = step(network, times), step(other, times)
    assert plain.keys() == recomputed.keys()
    for name, value in plain.items():
        assert torch.equal(recomputed[name], value), name


def test_it_keeps_a_fraction(network: MADF) -> None:
    """Of its own and of the literal form's."""
    literal = LiteralMADF(CONFIG).double().train()
    literal.load_state_dict(network.state_dict())
    before = kept(network)
    recompute_all(network, True)
    assert kept(network) < 0.5 * before
    assert kept(network) < 0.3 * kept(literal)
    recompute_all(network, False)
    assert kept(network) == before
