"""Region tokens against the definition written out: one explicit attention mask over all tokens."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unsay.errors import BadInput
from unsay.models.region_encoder import Layer, RegionTransformer, TransformerConfig

PATCHES, LAYERS = 12, 4


def transformer(start: int = 0, **settings: object) -> RegionTransformer:
    torch.manual_seed(3)
    config = TransformerConfig(width=24, heads=3, layers=LAYERS, hidden=40, start=start, **settings)  # type: ignore[arg-type]
    network = RegionTransformer(config).double().eval()
    for name, parameter in network.named_parameters():
        if "scale" in name:
            torch.nn.init.uniform_(parameter, 0.2, 2.0)
        elif parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.4)  # weights that make attention far from uniform
    return network


def photos(count: int = 2) -> Tensor:
    return torch.randn(count, 1 + PATCHES, 24, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def regions() -> Tensor:
    """Overlapping, soft, smaller than a patch, everything, and (last) nothing: [2, 6, P]."""
    chance = torch.Generator().manual_seed(7)
    coverage = torch.rand(2, 6, PATCHES, generator=chance, dtype=torch.float64)
    coverage[:, 1] = (coverage[:, 1] < 0.5).double()
    coverage[:, 2] = 0
    coverage[:, 2, 4] = 0.01
    coverage[:, 3] = 1
    coverage[:, 4, ::2] = 0
    coverage[:, 5] = 0
    return coverage


def attention(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """softmax(q k / sqrt(d) + log weight) v, head by head; weight [T, T] of one photo's tokens x [T, D]."""
    q, k, v = layer.query(x), layer.key(x), layer.value(x)
    size = x.shape[1] // layer.heads
    heads = [slice(i * size, (i + 1) * size) for i in range(layer.heads)]
    return torch.cat(
        [torch.softmax(q[:, h] @ k[:, h].T / math.sqrt(size) + weight.log(), 1) @ v[:, h] for h in heads], 1
    )


def literal(network: RegionTransformer, x: Tensor, coverage: Tensor) -> Tensor:
    """One photo x [1 + P, D], coverage [K, P]: K copies of the class token join at L0 under a [1 + P + K]^2 mask."""
    count = len(coverage)
    weight = torch.zeros(len(x) + count, len(x) + count, dtype=x.dtype)
    weight[: len(x), : len(x)] = 1
    weight[len(x) :, 1 : len(x)] = coverage
    weight[len(x) :, len(x) :] = torch.eye(count)
    for index, layer in enumerate(network.layers):
        assert isinstance(layer, Layer)
        if index == network.config.start:
            x = torch.cat([x, x[:1].repeat(count, 1)])
        x = x + layer.mix(attention(layer, layer.norm1(x), weight[: len(x), : len(x)]))
        x = x + layer.down(F.gelu(layer.up(layer.norm2(x))))
    return x[-count:]


@pytest.mark.parametrize("start", range(LAYERS))
def test_region_tokens_are_those_of_the_explicit_mask(start: int) -> None:
    network, x, coverage = transformer(start), photos(), regions()
    got = network(x, coverage)
    for photo in range(2):
        assert torch.allclose(got[photo], literal(network, x[photo], coverage[photo]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("start", range(LAYERS))
@pytest.mark.parametrize("context", [True, False])
def test_all_regions_in_one_pass_are_each_region_alone(start: int, context: bool) -> None:
    network, x, coverage = transformer(start), photos(), regions()
    if not context:  # there, patches mix what their regions share: alone only where regions do not overlap
        coverage = F.one_hot(torch.arange(PATCHES) % 5, 6).T.double().expand(2, -1, -1)
    together = network(x, coverage, context)
    for k in range(coverage.shape[1]):
        alone = network(x, coverage[:, k : k + 1], context)
        assert torch.allclose(together[:, k], alone[:, 0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("start", range(LAYERS))
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_a_region_of_everything_ends_as_the_class_token(start: int, activation: str) -> None:
    network, x = transformer(start, activation=activation, layer_scale=True), photos()
    whole = torch.ones(2, 1, PATCHES, dtype=torch.float64)
    assert torch.allclose(network(x, whole)[:, 0], network.plain(x)[:, 0], rtol=0, atol=1e-10)
    assert torch.allclose(network(x, whole, context=False)[:, 0], network.plain(x)[:, 0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("start", [0, LAYERS - 1])
def test_padding_regions_are_finite_and_change_no_other(start: int) -> None:
    network, x, coverage = transformer(start), photos(), regions()
    padded = torch.cat([coverage, torch.zeros(2, 3, PATCHES, dtype=torch.float64)], 1)
    for context in (True, False):
        got = network(x, padded, context)
        assert torch.isfinite(got).all()
        assert torch.allclose(got[:, :6], network(x, coverage, context), rtol=0, atol=1e-10)


def test_a_sliver_of_a_patch_counts_by_its_share() -> None:
    network, x, coverage = transformer(), photos(1), torch.zeros(1, 2, PATCHES, dtype=torch.float64)
    coverage[0, 0, 4], coverage[0, 1, 4] = 0.01, 1.0
    sliver, full = network(x, coverage)[0]
    nothing = network(x, torch.zeros(1, 1, PATCHES, dtype=torch.float64))[0, 0]
    assert 1e-6 < (sliver - nothing).norm() < (full - nothing).norm()


def test_what_lies_outside_a_region_reaches_it_only_as_context() -> None:
    network, x, coverage = transformer(), photos(1), torch.zeros(1, 1, PATCHES, dtype=torch.float64)
    coverage[..., :5] = 1
    other = x.clone()
    other[:, 6:] *= 1e6
    assert torch.equal(network(x, coverage, context=False), network(other, coverage, context=False))
    assert not torch.allclose(network(x, coverage), network(other, coverage))


def test_in_a_single_layer_nothing_from_outside_is_seen() -> None:
    torch.manual_seed(0)
    network = RegionTransformer(TransformerConfig(width=24, heads=3, layers=1, hidden=40)).double()
    x, coverage = photos(1), torch.zeros(1, 1, PATCHES, dtype=torch.float64)
    coverage[..., :5] = 1
    other = x.clone()
    other[:, 6:] *= 1e6
    assert torch.equal(network(x, coverage), network(other, coverage))


def test_gradients_reach_patches_coverage_and_every_layer() -> None:
    network, x, coverage = transformer(1).train(), photos().requires_grad_(), regions().requires_grad_()
    network(x, coverage).square().sum().backward()
    assert x.grad is not None
    assert coverage.grad is not None
    parameters = {n: p.grad for n, p in network.named_parameters() if not n.endswith("key.bias")}  # it cancels out
    for grad in (x.grad, coverage.grad, *parameters.values()):
        assert grad is not None
        assert torch.isfinite(grad).all()
        assert grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"), [({"start": 4}, "layer 0 to 3"), ({"activation": "relu"}, "quick_gelu")]
)
def test_settings_that_do_not_exist_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        transformer(**settings)  # type: ignore[arg-type]
