"""The networks that the ablation compares: MADF with one of its parts replaced, and (nearly) as many learned values.

Every encoder level takes and gives what `FilterGenerator` does, so that it stands in its place: features and a mask in,
features after ReLU and a mask out, at half the size. Legend as in `models/madf.py`; the mask is 1 = keep.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.madf import DECODER, ENCODER, KERNELS, LIFTED, MADF, MADFConfig
from unsay.training.inpaint_ablation_config import METHOD, Setting

T = TypeVar("T")
Convolution = Callable[[int, int, int], nn.Module]
"""Makes an encoder level from its channels in and out and its kernel."""
WIDEST = 16.0
"""Most that a part is widened to reach the method's number of values."""


class PlainConv(nn.Module):
    """An ordinary convolution that knows of the hole by its input alone."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, 2, kernel // 2)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C_in, H, W], mask [B, any, H, W] -> [B, C_out, H/2, W/2] and the mask as it came."""
        return F.relu(self.conv(x)), mask


class PartialConv(nn.Module):
    """Partial convolution (Liu et al. 2018, equations 1 and 2): known points alone, scaled by how many there are.

    With M the mask in the window, 1 a window of ones: y = W^T (x * M) * sum(1) / sum(M) + b where sum(M) > 0, else 0;
    the mask is 1 from there on where sum(M) > 0. Padding counts as unknown.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, 2, kernel // 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C_in, H, W], mask [B, 1 or 3 equal, H, W] -> [B, C_out, H/2, W/2], [B, 1, H/2, W/2]."""
        known = mask[:, :1]
        share = F.avg_pool2d(known, self.kernel, 2, self.kernel // 2)  # sum(M) / sum(1), padding unknown
        seen = (share > 0).to(x.dtype)
        y = self.conv(x * known) / share.clamp(min=1 / self.kernel**2) + self.bias.view(-1, 1, 1)
        return F.relu(y * seen), seen


class GatedConv(nn.Module):
    """Gated convolution (Yu et al. 2019, section 3.1): features times a gate in 0..1, each by a convolution.

    The paper leaves the activation of the features open; ReLU here, as in the other rows.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.feature = nn.Conv2d(in_channels, out_channels, kernel, 2, kernel // 2)
        self.gate = nn.Conv2d(in_channels, out_channels, kernel, 2, kernel // 2)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C_in, H, W], mask [B, any, H, W] -> [B, C_out, H/2, W/2] and the mask as it came."""
        return F.relu(self.feature(x)) * torch.sigmoid(self.gate(x)), mask


class UnguidedNorm(nn.Module):
    """Batch-norm with its own scale and bias, in the place of point-wise normalization; the guide is not looked at."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x [B, C, H, W], guide [B, any, H, W] -> [B, C, H, W]."""
        y: Tensor = self.batch_norm(x)
        return y


CONVOLUTIONS: dict[str, Convolution | None] = {
    "plain": PlainConv,
    "partial": PartialConv,
    "gated": GatedConv,
    METHOD.convolution: None,
}
"""What an encoder level is made of; None: what MADF has."""
UNGUIDED = {"batch-norm": True, METHOD.normalization: False}


@dataclass(frozen=True)
class Sizes:
    """How wide a setting's network is."""

    width: float
    """Factor on all channels, as in `MADFConfig`."""
    encoder: float = 1.0
    """Factor on the encoder's own channels, beside `width`; the decoders' stay."""


def build_network(setting: Setting, config: MADFConfig, sizes: Sizes) -> MADF:
    """The network of a row, with the framework's initial values; called as `MADF` is.

    `config`: the whole method's; its levels and mask branch are every row's. Raises `BadInput` for a part that
    does not exist.
    """
    config = dataclasses.replace(config, width=sizes.width, refinements=setting.refinements)
    network = MADF(config)
    convolution = _known(setting.convolution, CONVOLUTIONS)
    if convolution is not None:
        _replace_encoder(network, convolution, sizes.encoder)
    if _known(setting.normalization, UNGUIDED):
        for r in range(config.refinements):
            for level in range(2, config.levels + 1):
                network.get_submodule(f"dec_ref{r}_{level}").bn = UnguidedNorm(config.scaled(DECODER[level - 1]))
    return network


@functools.cache
def matched_sizes(setting: Setting, config: MADFConfig) -> Sizes:
    """The sizes with which a row has as near as possible as many learned values as the whole method of `config`.

    A convolution of another kind gets more encoder channels: mask-aware filtering holds M + 1 filters for each of
    its own. What is left out elsewhere widens the whole network.
    """
    target = count_values(build_on_meta(METHOD, config, Sizes(config.width)))

    def values(sizes: Sizes) -> int:
        return count_values(build_on_meta(setting, config, sizes))

    if setting.convolution != METHOD.convolution:
        return _nearest(lambda f: Sizes(config.width, f), values, target, 1.0, WIDEST)
    if (setting.normalization, setting.refinements) != (METHOD.normalization, METHOD.refinements):
        return _nearest(Sizes, values, target, config.width, min(4.0, WIDEST * config.width))
    return Sizes(config.width)


def count_values(network: nn.Module) -> int:
    """Number of learned values."""
    return sum(parameter.numel() for parameter in network.parameters())


def build_on_meta(setting: Setting, config: MADFConfig, sizes: Sizes) -> MADF:
    """The network without memory for its values: only to be counted."""
    with torch.device("meta"):
        return build_network(setting, config, sizes)


def _replace_encoder(network: MADF, convolution: Convolution, factor: float) -> None:
    config, c_in = network.config, 6
    for level, (channels, lifted, kernel) in enumerate(zip(ENCODER, LIFTED, KERNELS, strict=True), start=1):
        if level > config.levels:
            break
        c_out = max(1, round(channels * config.width * factor))
        network.add_module(f"filter_gen_{level}", convolution(c_in, c_out, kernel))
        lift = nn.Sequential(nn.Conv2d(c_out, config.scaled(lifted), 1), nn.ReLU())
        network.add_module(f"enc_up_{level}", lift)
        c_in = c_out


def _nearest(
    sizes: Callable[[float], Sizes], values: Callable[[Sizes], int], target: int, low: float, high: float
) -> Sizes:
    """Bisects for the factor whose number of values, which grows with it in steps, is nearest to `target`."""
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if values(sizes(middle)) < target else (low, middle)
    return min(sizes(low), sizes(high), key=lambda s: abs(values(s) - target))


def _known(name: str, choices: dict[str, T]) -> T:
    if name not in choices:
        raise BadInput(f"there is no {name!r}; known: {', '.join(choices)}")
    return choices[name]
