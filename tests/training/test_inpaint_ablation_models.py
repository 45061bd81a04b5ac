"""The networks that the inpainting ablation compares, each against its definition, point by point."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unsay.errors import BadInput
from unsay.models.madf import MADF, MADFConfig
from unsay.training.inpaint_ablation_config import METHOD, Setting, all_settings
from unsay.training.inpaint_ablation_models import (
    GatedConv,
    PartialConv,
    PlainConv,
    Sizes,
    UnguidedNorm,
    build_network,
    build_on_meta,
    count_values,
    matched_sizes,
)

TINY = MADFConfig(width=0.05, levels=5)
SMALL = MADFConfig(width=0.1875, levels=5)


def windows(x: torch.Tensor, kernel: int, i: int, j: int) -> torch.Tensor:
    """The window [B, C, k, k] that output point (i, j) of a stride of 2 sees; outside is 0."""
    padded = F.pad(x, [kernel // 2] * 4)
    return padded[:, :, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel]


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.sampled_from([3, 5, 7]),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    holes=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
@example(kernel=3, height=4, width=4, holes=1.0, seed=1)  # nothing known: not even the bias is left
def test_partial_convolution_is_its_equation(kernel: int, height: int, width: int, holes: float, seed: int) -> None:
    torch.manual_seed(seed)
    layer = PartialConv(3, 2, kernel).double()
    torch.nn.init.normal_(layer.bias)
    x, mask = torch.randn(1, 3, height, width, dtype=torch.float64), (torch.rand(1, 1, height, width) >= holes).double()
    y, after = layer(x, mask.expand(-1, 3, -1, -1))
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            seen, known = windows(x, kernel, i, j)[0], windows(mask, kernel, i, j)[0]
            expected = torch.zeros(2, dtype=torch.float64)
            if known.sum() > 0:
                total = torch.stack([(w * seen * known).sum() for w in layer.conv.weight])
                expected = F.relu(total * kernel**2 / known.sum() + layer.bias)
            assert torch.allclose(y[0, :, i, j], expected, atol=1e-10)
            assert after[0, 0, i, j] == float(known.sum() > 0)


def test_partial_convolution_never_looks_into_the_hole() -> None:
    layer, mask = PartialConv(3, 4, 3), torch.ones(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 0
    x = torch.randn(1, 3, 8, 8)
    other = torch.where(mask.bool(), x, 1e3 * torch.randn_like(x))
    assert torch.equal(layer(x, mask)[0], layer(other, mask)[0])


def test_gated_convolution_is_features_times_a_gate() -> None:
    torch.manual_seed(0)
    layer, x, mask = GatedConv(3, 4, 5).double(), torch.randn(1, 3, 6, 8, dtype=torch.float64), torch.ones(1, 3, 6, 8)
    y, after = layer(x, mask)
    for i in range(3):
        for j in range(4):
            seen = windows(x, 5, i, j)[0]
            feature, gate = (
                torch.stack([(w * seen).sum() for w in conv.weight]) + conv.bias for conv in (layer.feature, layer.gate)
            )
            expected = feature.clamp(min=0) / (1 + torch.exp(-gate))
            assert torch.allclose(y[0, :, i, j], expected, atol=1e-12)
    assert after is mask


def test_plain_convolution_takes_no_mask() -> None:
    layer, x = PlainConv(3, 4, 3), torch.randn(2, 3, 6, 8)
    y, _ = layer(x, torch.ones(2, 1, 6, 8))
    assert torch.equal(y, layer(x, torch.zeros(2, 1, 6, 8))[0])
    assert y.shape == (2, 4, 3, 4)
    assert float(y.detach().min()) == 0


def test_unguided_norm_looks_at_no_guide() -> None:
    layer, x = UnguidedNorm(3), torch.randn(4, 3, 6, 6) * 5 + 2
    y = layer(x, torch.randn(4, 3, 6, 6))
    assert torch.equal(y, layer(x, torch.zeros(4, 3, 6, 6)))
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(y.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-3)


def test_the_method_is_madf_itself() -> None:
    torch.manual_seed(0)
    ours = build_network(METHOD, TINY, Sizes(TINY.width))
    torch.manual_seed(0)
    plain = MADF(TINY)
    assert matched_sizes(METHOD, TINY) == Sizes(TINY.width)
    for a, b in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("setting", all_settings(), ids=lambda s: s.name)
def test_every_row_learns_with_nearly_as_many_values(setting: Setting) -> None:
    sizes = matched_sizes(setting, SMALL)
    whole = count_values(build_on_meta(METHOD, SMALL, Sizes(SMALL.width)))
    assert count_values(build_on_meta(setting, SMALL, sizes)) == pytest.approx(whole, rel=0.02)
    network = build_network(setting, SMALL, sizes)
    outputs = network(torch.randn(2, 3, 32, 64), (torch.rand(2, 1, 32, 64) > 0.4).float())
    assert [tuple(o.shape) for o in outputs] == [(2, 3, 32, 64)] * (setting.refinements + 1)
    sum(o.abs().mean() for o in outputs).backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing


@pytest.mark.parametrize("row", [{"convolution": "dynamic"}, {"normalization": "layer"}])
def test_a_part_that_does_not_exist_is_refused(row: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=f"there is no '{next(iter(row.values()))}'; known: "):
        build_network(Setting(**row), TINY, Sizes(TINY.width))
