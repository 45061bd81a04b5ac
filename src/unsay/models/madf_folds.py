"""Exact folds of MADF for running: each a function of its own, proven in tests/models/test_madf_folds.py. Source: ours.

Symbols as in `unsay.models.madf`: level l, C_in and C_out a convolution's channels, k its kernel, M the mask branch's
channels, m_l the mask's features at level l, p a point, h and w the height and width of a level's output.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from unsay.errors import BadInput
from unsay.models.madf import KERNELS, MADF, FilterGenerator, PointwiseNorm, RefinementBlock

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


class FixedFilters(nn.Module):
    """A `FilterGenerator` for running only: its bank laid out once; at level 1, the mask's equal channels folded."""

    def __init__(self, generator: FilterGenerator, *, first: bool) -> None:
        super().__init__()
        self.out_channels, self.kernel = generator.out_channels, generator.kernel
        self.conv, bank = generator.conv, generator.bank()
        branch = generator.conv[0]
        if first and isinstance(branch, nn.Conv2d):
            one = _conv(fold_equal_channels(branch.weight, slice(0, 3)), branch.bias, branch)
            self.conv, bank = nn.Sequential(one, nn.ReLU()), fold_equal_channels(bank, MASK)
        self.weight = nn.Parameter(bank.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `FilterGenerator.forward`; at level 1 with a mask of one channel and an input of four."""
        m: Tensor = self.conv(mask)
        y = F.conv2d(x, self.weight, stride=2, padding=self.kernel // 2).unflatten(1, (-1, self.out_channels))
        return F.relu((y[:, :-1] * m.unsqueeze(2)).sum(1) + y[:, -1]), m


class MergedNorm(nn.Module):
    """A `PointwiseNorm` for running only: batch-norm folded away, scale and bias maps from one convolution."""

    def __init__(self, norm: PointwiseNorm) -> None:
        super().__init__()
        self.mlp_shared = norm.mlp_shared
        self.maps = _conv(*merge_scale_and_bias(norm), norm.mlp_scale)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x [B, C, H, W] already normalised, guide [B, G, H, W] -> [B, C, H, W]."""
        scale, bias = self.maps(self.mlp_shared(guide)).chunk(2, 1)
        y: Tensor = x * scale + bias
        return y


def fold(network: MADF) -> MADF:
    """A copy of `network` in evaluation mode, for running only, with everything folded but uniform areas.

    It takes and gives what `network` does. Its weights no longer go by the published names.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for name, module in list(network.named_children()):
        if isinstance(module, FilterGenerator):
            setattr(network, name, FixedFilters(module, first=name == "filter_gen_1"))
        elif isinstance(module, RefinementBlock):
            _set(module.deconv, *fold_batch_norm(module.deconv, module.bn.batch_norm))
            module.bn = MergedNorm(module.bn)  # type: ignore[assignment]
        elif name.startswith("deconv_") and isinstance(module, nn.Sequential) and len(module) > 1:
            deconv, norm = module[0], module[1]
            if isinstance(deconv, nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                _set(deconv, *fold_batch_norm(deconv, norm))
                module[1] = nn.Identity()
    _fold_image_level(network)
    return network


def _fold_image_level(network: MADF) -> None:
    """The convolutions behind the first one that read the input's mask: recovery's and the refinements' last."""
    mix = network.get_submodule("att_conv_1.conv.0")
    lasts = [network.get_submodule(f"dec_ref{r}_1") for r in range(network.config.refinements)]
    for conv in (mix, *lasts):
        if isinstance(conv, nn.Conv2d):
            start = 3 if conv is mix else conv.in_channels - 3
            _set(conv, fold_equal_channels(conv.weight, slice(start, start + 3)), conv.bias)
    network.mask_copies = 1


def _set(conv: nn.Conv2d | nn.ConvTranspose2d, weight: Tensor, bias: Tensor | None) -> None:
    """Give `conv` other weights in place; its channel counts follow."""
    conv.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    conv.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    rows = weight.shape[:2] if isinstance(conv, nn.Conv2d) else (weight.shape[1], weight.shape[0])
    conv.out_channels, conv.in_channels = rows


def _conv(weight: Tensor, bias: Tensor | None, like: nn.Conv2d) -> nn.Conv2d:
    """A convolution with these weights and the kernel, stride and padding of `like`."""
    conv = copy.deepcopy(like)
    _set(conv, weight, bias)
    return conv


def uniform_points(mask: Tensor, value: float, levels: int) -> list[Tensor]:
    """Where m_l is a constant: points whose nested receptive field holds `value` alone and lies inside the image.

    mask [B, 1, H, W] -> for l = 1..levels bool [B, 1, h_l, w_l]. Padding is hole at level 1 and 0, not the constant,
    above it, so a window that reaches over the border is never uniform.
    """
    points, other = [], (mask != value).to(mask.dtype)
    for kernel in KERNELS[:levels]:
        padded = F.pad(other, [kernel // 2] * 4, value=1.0)
        other = F.max_pool2d(padded, kernel, 2)
        points.append(other == 0)
    return points


def uniform_constants(network: MADF, value: float) -> list[Tensor]:
    """The constants [M] that m_1..m_L are at the `uniform_points` of `value`."""
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
    return torch.tensordot(m, parts[:-1], 1) + parts[-1]


def filter_with_uniform(generator: FilterGenerator, x: Tensor, m: Tensor, constant: Tensor, where: Tensor) -> Tensor:
    """What `generator` makes of x [B, C_in, H, W], with 1 / (M + 1) of the work at the points of a uniform area.

    m [B, M, h, w]: the mask's features of this level, equal to `constant` [M] where the bool map `where` [B, 1, h, w]
    is true. One plain convolution does those points; the others take the general form, each by its window.
    Returns [B, C_out, h, w] after ReLU.
    """
    kernel, rest = generator.kernel, ~where[:, 0]
    y = F.conv2d(x, constant_filter(generator, constant), stride=2, padding=kernel // 2).permute(0, 2, 3, 1)
    windows = F.unfold(x, kernel, padding=kernel // 2, stride=2).transpose(1, 2)[rest.flatten(1)]
    parts = (windows @ generator.bank().flatten(1).T).unflatten(1, (-1, generator.out_channels))
    at_rest = (parts[:, :-1] * m.permute(0, 2, 3, 1)[rest].unsqueeze(2)).sum(1) + parts[:, -1]
    filled: Tensor = F.relu(y.index_put((rest,), at_rest).permute(0, 3, 1, 2))
    return filled
