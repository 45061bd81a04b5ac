"""Each fold of MADF changes nothing: value and gradient to 1e-10 in fp64, over random shapes, borders and masks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models import madf_folds as folds
from unsay.models.madf import KERNELS, MADF, MADFConfig, PointwiseNorm

SIDES = st.integers(1, 11)
SEEDS = st.integers(0, 2**20)
KERNEL = st.sampled_from([1, 3, 5, 7])
proven = settings(max_examples=25, deadline=None)


def assert_same(found: Tensor, expected: Tensor, inputs: Sequence[Tensor]) -> None:
    """Value, and the gradient of a random projection in every one of `inputs`."""
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn_like(expected)
    ours, theirs = (
        torch.autograd.grad((y * weights).sum(), inputs, retain_graph=True, allow_unused=True)
        for y in (found, expected)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def lived_in(norm: nn.BatchNorm2d) -> None:
    """Running statistics, and what is learned, as if of a training run."""
    with torch.no_grad():
        for value in (norm.running_var, norm.weight):
            if value is not None:
                value.copy_(torch.rand_like(value) + 0.3)
        for value in (norm.running_mean, norm.bias):
            if value is not None:
                value.copy_(torch.randn_like(value))


@proven
@given(
    before=st.integers(0, 3), equal=st.integers(1, 4), after=st.integers(0, 3), kernel=KERNEL, size=SIDES, seed=SEEDS
)
def test_equal_channels_fold_into_one(before: int, equal: int, after: int, kernel: int, size: int, seed: int) -> None:
    torch.manual_seed(seed)
    weight = noise(4, before + equal + after, kernel, kernel)
    first, one, last = noise(2, before, size, 5), noise(2, 1, size, 5), noise(2, after, size, 5)
    full = torch.cat([first, one.expand(-1, equal, -1, -1), last], 1)
    expected = F.conv2d(full, weight, stride=2, padding=kernel // 2)
    folded = folds.fold_equal_channels(weight, slice(before, before + equal))
    assert folded.shape[1] == before + 1 + after
    found = F.conv2d(torch.cat([first, one, last], 1), folded, stride=2, padding=kernel // 2)
    assert_same(found, expected, [weight, one, first, last])


@proven
@given(
    outputs=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    kernel=KERNEL,
    stride=st.sampled_from([1, 2]),
    bias=st.booleans(),
    size=SIDES,
    seed=SEEDS,
)
def test_convolutions_of_one_input_merge(
    outputs: list[int], kernel: int, stride: int, bias: bool, size: int, seed: int
) -> None:
    torch.manual_seed(seed)
    convs = [nn.Conv2d(3, n, kernel, stride, kernel // 2, bias=bias).double() for n in outputs]
    x = noise(2, 3, size, 6)
    found = F.conv2d(x, *folds.merge_convolutions(*convs), stride=stride, padding=kernel // 2)
    assert_same(found, torch.cat([c(x) for c in convs], 1), [x, *(p for c in convs for p in c.parameters())])


def test_convolutions_that_differ_do_not_merge() -> None:
    with pytest.raises(BadInput, match="2 convolutions of 2 shapes"):
        folds.merge_convolutions(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 5, padding=1))


@proven
@given(channels=st.integers(1, 4), height=SIDES, width=SIDES, affine=st.booleans(), seed=SEEDS)
def test_batch_norm_folds_into_the_transposed_convolution(
    channels: int, height: int, width: int, affine: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    deconv = nn.ConvTranspose2d(3, channels, 4, 2, 1).double()
    norm = nn.BatchNorm2d(channels, affine=affine).double().eval()
    lived_in(norm)
    x = noise(2, 3, height, width)
    found = F.conv_transpose2d(x, *folds.fold_batch_norm(deconv, norm), stride=2, padding=1)
    assert_same(found, norm(deconv(x)), [x])


def test_batch_norm_without_statistics_is_refused() -> None:
    with pytest.raises(BadInput, match="running statistics"):
        folds.fold_batch_norm(nn.ConvTranspose2d(3, 4, 4), nn.BatchNorm2d(4, track_running_stats=False))


@proven
@given(channels=st.integers(1, 4), guide=st.integers(1, 4), height=SIDES, width=SIDES, seed=SEEDS)
def test_scale_and_bias_come_from_one_convolution(
    channels: int, guide: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    norm = PointwiseNorm(channels, guide, 5).double().eval()
    lived_in(norm.batch_norm)
    x, guides = noise(2, channels, height, width), noise(2, guide, height, width)
    weight, bias = folds.merge_scale_and_bias(norm)
    maps = F.conv2d(norm.mlp_shared(guides), weight, bias, padding=1)
    found = norm.batch_norm(x) * maps[:, :channels] + maps[:, channels:]
    assert_same(found, norm(x, guides), [x, guides, *norm.parameters()])


def spotted(size: tuple[int, int], value: float, spot: tuple[float, float]) -> Tensor:
    """A mask [1, 1, H, W] of `value` but for one square of the other value."""
    mask = torch.full((1, 1, *size), value, dtype=torch.float64)
    y, x = (int(s * n) for s, n in zip(spot, size, strict=True))
    mask[..., y : y + 3, x : x + 3] = 1 - value
    return mask


def uniform_points(mask: Tensor, value: float, levels: int) -> list[Tensor]:
    """Where m_l is a constant: bool [B, 1, h_l, w_l] for l = 1..levels, from the mask [B, 1, H, W].

    Padding is hole at level 1 and 0, not the constant, above it: a window that reaches over the border is not uniform.
    """
    points, other = [], (mask != value).to(mask.dtype)
    for kernel in KERNELS[:levels]:
        other = F.max_pool2d(F.pad(other, [kernel // 2] * 4, value=1.0), kernel, 2)
        points.append(other == 0)
    return points


PLACES = st.tuples(st.floats(0, 1), st.floats(0, 1))
SIZES = st.tuples(st.integers(20, 90), st.integers(20, 90))
VALUES = st.sampled_from([0.0, 1.0])


@proven
@given(size=SIZES, value=VALUES, spot=PLACES, seed=SEEDS)
def test_mask_features_are_constant_at_uniform_points(
    size: tuple[int, int], value: float, spot: tuple[float, float], seed: int
) -> None:
    torch.manual_seed(seed)
    network = MADF(MADFConfig(width=0.03, levels=5)).double()
    mask = spotted(size, value, spot)
    constants = folds.uniform_constants(network, value)
    m = mask.expand(-1, 3, -1, -1)
    for level, points in enumerate(uniform_points(mask, value, 5), 1):
        m = network.get_submodule(f"filter_gen_{level}.conv")(m)
        assert points.shape == (1, 1, *m.shape[2:])
        at = m.permute(0, 2, 3, 1)[points[:, 0]]
        torch.testing.assert_close(at, constants[level - 1].expand_as(at), rtol=1e-10, atol=1e-10)


@proven
@given(size=SIZES, value=VALUES, spot=PLACES)
def test_uniform_points_are_those_whose_nested_window_is_uniform_and_inside(
    size: tuple[int, int], value: float, spot: tuple[float, float]
) -> None:
    """None is missed, none too many: counted from the reach of every level, point by point."""
    mask = spotted(size, value, spot)
    reach, stride = 0, 1
    for points, kernel in zip(uniform_points(mask, value, 4), KERNELS, strict=False):
        reach, stride = reach + kernel // 2 * stride, 2 * stride
        for y in range(points.shape[2]):
            for x in range(points.shape[3]):
                top, left = y * stride - reach, x * stride - reach
                bottom, right = y * stride + reach + 1, x * stride + reach + 1
                inside = top >= 0 and left >= 0 and bottom <= size[0] and right <= size[1]
                uniform = inside and bool((mask[0, 0, top:bottom, left:right] == value).all())
                assert bool(points[0, 0, y, x]) == uniform
