"""A smooth first guess of what is missing: the membrane of `unsay.inpainting.rim`, inside a network (ours).

The colours just outside the hole are carried inwards by a pull-push pyramid (Grossman and Dally 1998). Nothing in it is
learned. The number of levels is fixed, so that one graph serves every size; 11 reach across 2048 pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 11
EMPTY = 1e-6
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
SMOOTH = (0.00443185, 0.05400558, 0.24203623, 0.39905028, 0.24203623, 0.05400558, 0.00443185)
"""A Gaussian of deviation 1 pixel."""


def guess(image: Tensor, mask: Tensor) -> Tensor:
    """image [B, C, H, W], mask [B, 1, H, W] 1 = keep -> the image, its hole filled with the membrane.

    What the image holds under the hole is ignored. Without a hole, or with nothing else, the hole's part is 0.
    """
    hole, known = 1 - mask, image * mask
    near = _filtered(known, SMOOTH) / _filtered(mask, SMOOTH).clamp(min=1e-4)
    inner = -F.max_pool2d(-hole, 3, 1, 1)  # beyond the image nothing is known, and no rim
    rim = hole * (1 - inner)
    return known + hole * _pull_push(near * rim, rim)


def _pull_push(values: Tensor, weights: Tensor) -> Tensor:
    """A smooth field through `values`, already multiplied by their `weights`, of which 0 means unknown."""
    levels = []
    for _ in range(LEVELS):
        if max(values.shape[2:]) == 1 and not torch.onnx.is_in_onnx_export():
            break  # further levels change nothing
        levels.append((values, weights))
        values, share = _filtered(values, BINOMIAL, 2), _filtered(weights, BINOMIAL, 2)
        weights = (4 * share).clamp(max=1)
        values = values * (weights / share.clamp(min=EMPTY))
    field = values / weights.clamp(min=EMPTY)
    for values, weights in reversed(levels):
        below = F.interpolate(field, size=values.shape[2:], mode="bilinear", align_corners=False)
        field = values + (1 - weights) * below
    return field


def _filtered(x: Tensor, taps: tuple[float, ...], stride: int = 1) -> Tensor:
    """Every channel under a separable filter, the border repeated."""
    line, reach = torch.tensor(taps, dtype=x.dtype, device=x.device).view(1, 1, 1, -1), len(taps) // 2
    one = F.pad(x.reshape(-1, 1, *x.shape[2:]), [reach] * 4, mode="replicate")  # every channel an image of its own
    down = F.conv2d(F.conv2d(one, line, stride=(1, stride)), line.transpose(2, 3), stride=(stride, 1))
    return down.reshape(x.shape[0], x.shape[1], *down.shape[2:])
