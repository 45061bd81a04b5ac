"""Exact folds of MADF for running: each a function of its own, proven in tests/models/test_madf_folds.py. Source: ours.

Symbols as in `unsay.models.madf`: level l, C_in and C_out a convolution's channels, k its kernel, M the mask branch's
channels, m_l the mask's features at level l, p a point, h and w the height and width of a level's output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from unsay.errors import BadInput
from unsay.models.madf import MADF, FilterGenerator, PointwiseNorm

MASK = slice(3, 6)
"""Where the mask's three equal channels lie in the 6-channel input."""


def fold_equal_channels(weight: Tensor, equal: slice) -> Tensor:
    """Weight [C_out, C_in, k, k] for an input whose channels `equal` hold the same map, now given once.

    Returns [C_out, C_in - n + 1, k, k], n the length of `equal`: convolution is linear, so their weights add up.
    """
    return torch.cat([weight[:, : equal.start], weight[:, equal].sum(1, keepdim=True), weight[:, equal.stop :]], 1)


def merge_convolutions(*convolutions: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """One weight [sum C_out, C_in, k, k] and bias [sum C_out] for convolutions of one shape that read the same input.

    The merged output is theirs one after another along the channels. Raises `BadInput` if they differ in more than
    C_out.
    """
    shapes = {(c.weight.shape[1:], c.stride, c.padding, c.dilation, c.groups, c.bias is None) for c in convolutions}
    if len(shapes) != 1:
        raise BadInput(f"{len(convolutions)} convolutions of {len(shapes)} shapes cannot merge: they need one")
    weight = torch.cat([c.weight for c in convolutions])
    bias = [c.bias for c in convolutions if c.bias is not None]
    return weight, torch.cat(bias) if bias else weight.new_zeros(len(weight))


def fold_batch_norm(deconv: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight [C_in, C_out, k, k] and bias [C_out] of `deconv` with `norm`, in evaluation mode, behind it.

    Raises `BadInput` for a batch-norm that keeps no running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise BadInput("batch-norm without running statistics cannot be folded: train it with them")
    mean, variance = norm.running_mean, norm.running_var
    fused = fuse_conv_bn_weights(
        deconv.weight, deconv.bias, mean, variance, norm.eps, norm.weight, norm.bias, transpose=True
    )
    return fused[0].detach(), fused[1].detach()


def merge_scale_and_bias(norm: PointwiseNorm) -> tuple[Tensor, Tensor]:
    """Weight [2 C, hidden, 3, 3] and bias [2 C] of one convolution that gives 1 + scale, then bias, of `norm`."""
    weight, bias = merge_convolutions(norm.mlp_scale, norm.mlp_bias)
    channels = norm.mlp_scale.out_channels
    return weight, torch.cat([bias[:channels] + 1, bias[channels:]])


def uniform_constants(network: MADF, value: float) -> list[Tensor]:
    """The constants [M] that m_1..m_L are where the nested receptive field holds `value` alone, inside the image."""
    constants, m = [], None
    for level in range(1, network.config.levels + 1):
        conv = network.get_submodule(f"filter_gen_{level}.conv.0")
        weight, bias = conv.get_parameter("weight").sum((2, 3)), conv.get_parameter("bias")
        m = F.relu(weight @ (weight.new_full((weight.shape[1],), value) if m is None else m) + bias)
        constants.append(m)
    return constants


def constant_filter(generator: FilterGenerator, m: Tensor) -> Tensor:
    """The one filter [C_out, C_in, k, k] that `generator` makes wherever the mask's features are m [M]."""
    parts = generator.bank().unflatten(0, (-1, generator.out_channels))
    made: Tensor = torch.tensordot(m, parts[:-1], 1) + parts[-1]
    return made
