"""Every module of MADF against a literal form of it, point by point, and the network against the benchmark's.

The literal forms here are loops over output points that share nothing with ours but the stored tensors: a point's own
filter is made and applied to its own window; a transposed convolution lays down one kernel for each input point; a
normalisation is written out. Value and gradient agree to 1e-10 in fp64, over random shapes, borders and masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from madf_literal import LiteralMADF
from unsay.models.madf import MADF, FilterGenerator, MADFConfig, PointwiseNorm, RefinementBlock

SIDES = st.integers(1, 7)
FEW = st.integers(1, 3)
SEEDS = st.integers(0, 2**20)
LEAK = 0.2
proven = settings(max_examples=15, deadline=None)


def assert_same(found: Sequence[Tensor], expected: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
    """Values, and the gradients of a random projection of them all in every one of `inputs`."""
    weights = [torch.randn_like(y) for y in expected]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    sums = [sum((y * w).sum() for y, w in zip(ys, weights, strict=True)) for ys in (found, expected)]
    for a, b in zip(*(torch.autograd.grad(y, inputs) for y in sums), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def random_mask(shape: tuple[int, ...], share: float) -> Tensor:
    """1 = keep; a `share` of 0 or 1 gives an empty or a full mask."""
    return (torch.rand(shape, dtype=torch.float64) < share).double()


def window(x: Tensor, y: int, left: int, kernel: int) -> Tensor:
    """The window [B, C, kernel, kernel] whose top left point is (y, left); outside of x [B, C, H, W] it is 0."""
    rows = []
    for i in range(y, y + kernel):
        row = []
        for j in range(left, left + kernel):
            inside = 0 <= i < x.shape[2] and 0 <= j < x.shape[3]
            row.append(x[:, :, i, j] if inside else torch.zeros_like(x[:, :, 0, 0]))
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)


def points(height: int, width: int, at: Any) -> Tensor:
    """[B, C, height, width] of what `at(y, x)` gives, [B, C]."""
    return torch.stack([torch.stack([at(y, x) for x in range(width)], -1) for y in range(height)], -2)


def literal_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Stride 1 or 2, padding k // 2."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    height, width = (-(-side // stride) for side in x.shape[2:])
    assert conv.bias is not None

    def at(i: int, j: int) -> Tensor:
        seen = window(x, stride * i - kernel // 2, stride * j - kernel // 2, kernel)
        return torch.einsum("bcyx,ocyx->bo", seen, conv.weight) + conv.bias

    return points(height, width, at)


def literal_deconv(deconv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """4x4, stride 2, padding 1: each input point lays its kernel down, and one row and column are cut off around."""
    batch, _, height, width = x.shape
    canvas = torch.zeros(batch, deconv.out_channels, 2 * height + 2, 2 * width + 2, dtype=x.dtype)
    assert deconv.bias is not None
    for i in range(height):
        for j in range(width):
            kernel = torch.einsum("bc,coyx->boyx", x[:, :, i, j], deconv.weight)
            canvas = canvas + nn.functional.pad(kernel, (2 * j, 2 * (width - j - 1), 2 * i, 2 * (height - i - 1)))
    return canvas[:, :, 1:-1, 1:-1] + deconv.bias.view(1, -1, 1, 1)


def literal_batch_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    out = []
    for c in range(x.shape[1]):
        values = x[:, c]
        if norm.training:
            mean, variance = values.mean(), ((values - values.mean()) ** 2).mean()
        else:
            mean, variance = norm.running_mean[c], norm.running_var[c]  # type: ignore[index]
        normalised = (values - mean) / (variance + 1e-5) ** 0.5
        out.append(normalised * norm.weight[c] + norm.bias[c] if norm.affine else normalised)
    return torch.stack(out, 1)


def literal_filtering(module: FilterGenerator, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """m_l by a plain convolution; then, at each point, a filter made of m_l there and applied to the window there."""
    m = literal_conv(module.conv[0], mask).relu()  # type: ignore[arg-type]
    weight, bias = module.conv1[0].weight[:, :, 0, 0], module.conv1[0].bias  # [C_in k k C_out, M], [C_in k k C_out]
    kernel = module.kernel

    def at(i: int, j: int) -> Tensor:
        filters = (m[:, :, i, j] @ weight.T + bias).view(len(x), -1, kernel, kernel, module.out_channels)
        seen = window(x, 2 * i - kernel // 2, 2 * j - kernel // 2, kernel)
        return torch.einsum("bcyx,bcyxo->bo", seen, filters)

    return points(m.shape[2], m.shape[3], at).relu(), m


def literal_norm(module: PointwiseNorm, x: Tensor, guide: Tensor) -> Tensor:
    hidden = literal_conv(module.mlp_shared[0], guide).relu()  # type: ignore[arg-type]
    scale, bias = literal_conv(module.mlp_scale, hidden), literal_conv(module.mlp_bias, hidden)
    return literal_batch_norm(module.batch_norm, x) * (1 + scale) + bias


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, LEAK * x)


def lived_in(module: nn.Module, training: bool) -> None:
    """Running statistics and learned values of batch-norms as if of a training run; the mode."""
    module.double().train(training)
    with torch.no_grad():
        for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
            for positive in (norm.running_var, norm.weight):
                if positive is not None:
                    positive.copy_(torch.rand_like(positive) + 0.3)
            for value in (norm.running_mean, norm.bias):
                if value is not None:
                    value.copy_(torch.randn_like(value))


@proven
@given(
    channels=st.tuples(FEW, FEW, FEW, FEW),
    kernel=st.sampled_from([3, 5, 7]),
    size=st.tuples(SIDES, SIDES),
    share=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    seed=SEEDS,
)
def test_mask_aware_filtering_is_a_filter_of_its_own_at_every_point(
    channels: tuple[int, int, int, int], kernel: int, size: tuple[int, int], share: float, seed: int
) -> None:
    torch.manual_seed(seed)
    c_in, c_out, mask_in, mask_channels = channels
    module = FilterGenerator(c_in, c_out, mask_in, mask_channels, kernel).double()
    x, mask = noise(2, c_in, *size), random_mask((2, mask_in, *size), share).requires_grad_()
    assert_same(module(x, mask), literal_filtering(module, x, mask), [x, mask, *module.parameters()])


@proven
@given(channels=st.tuples(FEW, FEW, FEW), size=st.tuples(SIDES, SIDES), training=st.booleans(), seed=SEEDS)
def test_pointwise_normalization(
    channels: tuple[int, int, int], size: tuple[int, int], training: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    module = PointwiseNorm(*channels)
    lived_in(module, training)
    x, guide = noise(2, channels[0], *size), noise(2, channels[1], *size)
    assert_same([module(x, guide)], [literal_norm(module, x, guide)], [x, guide, *module.parameters()])


@proven
@given(channels=st.tuples(FEW, FEW, FEW), size=st.tuples(SIDES, SIDES), training=st.booleans(), seed=SEEDS)
def test_a_refinement_block(channels: tuple[int, int, int], size: tuple[int, int], training: bool, seed: int) -> None:
    torch.manual_seed(seed)
    module = RefinementBlock(*channels)
    lived_in(module, training)
    x, guide = noise(2, channels[0], *size), noise(2, channels[1], 2 * size[0], 2 * size[1])
    literal = leaky(literal_norm(module.bn, literal_deconv(module.deconv, x), guide))
    assert_same([module(x, guide)], [literal], [x, guide, *module.parameters()])


@settings(max_examples=6, deadline=None)
@given(level=st.integers(2, 5), size=st.tuples(FEW, FEW), training=st.booleans(), seed=SEEDS)
def test_a_level_of_the_recovery_decoder(level: int, size: tuple[int, int], training: bool, seed: int) -> None:
    torch.manual_seed(seed)
    network = MADF(MADFConfig(width=0.02, levels=5, refinements=0))
    lived_in(network, training)
    deconv, mix = network.get_submodule(f"deconv_{level}"), network.get_submodule(f"att_conv_{level}.conv")
    c_in, c_out = deconv[0].in_channels, deconv[0].out_channels  # type: ignore[index]
    x, skip = noise(2, c_in, *size), noise(2, mix[0].in_channels - c_out, 2 * size[0], 2 * size[1])  # type: ignore[index]
    up = leaky(literal_batch_norm(deconv[1], literal_deconv(deconv[0], x)))  # type: ignore[index]
    literal = literal_conv(mix[0], torch.cat([skip, up], 1)).relu()  # type: ignore[index]
    found = network.recover_level(level, x, skip)
    assert_same([found], [literal], [x, skip, *deconv.parameters(), *mix.parameters()])


@settings(max_examples=6, deadline=None)
@given(
    levels=st.integers(5, 6),
    refinements=st.integers(0, 2),
    size=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    share=st.sampled_from([0.0, 0.4, 0.9, 1.0]),
    training=st.booleans(),
    seed=SEEDS,
)
def test_the_whole_network(
    levels: int, refinements: int, size: tuple[int, int], share: float, training: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    config = MADFConfig(width=0.03, levels=levels, refinements=refinements)
    ours, literal = MADF(config), LiteralMADF(config)
    lived_in(ours, training)
    literal.double().train(training).load_state_dict(ours.state_dict())
    shape = (size[0] * 2**levels, size[1] * 2**levels)
    image, mask = noise(2, 3, *shape), random_mask((2, 1, *shape), share)
    other, named = image.detach().clone().requires_grad_(), dict(literal.named_parameters())
    found, expected = ours(image, mask), literal(other, mask)
    weights = [torch.randn_like(y) for y in expected]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    for outputs in (found, expected):
        sum((y * w).sum() for y, w in zip(outputs, weights, strict=True)).backward()
    pairs = [("image", image, other), *((name, p, named[name]) for name, p in ours.named_parameters())]
    for name, a, b in pairs:
        limit = 1e-10 * max(1.0, float(b.grad.abs().max()))  # type: ignore[union-attr]
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=limit, msg=lambda text, n=name: f"{n}: {text}")
