"""Frozen networks behind the perceptual and style terms; which one is a setting (the paper: VGG-16, pool1 to pool3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.efficientnet_lite import MEAN as TRUNK_MEAN
from unsay.models.efficientnet_lite import SCALE, load_trunk

NAMES = ("efficientnet-lite0",)
BLOCKS = (0, 2, 4)
"""Blocks whose outputs are compared: the last at stride 2, 4 and 8 (16, 24 and 40 channels)."""
USUAL_SIZE = (4.60, 6.40, 5.60)
"""Mean absolute value of those outputs over 48 crops of BSDS500's training photos."""


def feature_network(name: str) -> nn.Module | None:
    """The frozen network called `name`, or None for "". Raises `BadInput` for another name."""
    if not name:
        return None
    if name not in NAMES:
        raise BadInput(f"unknown feature network {name!r}; known: {', '.join(NAMES)}, or leave it empty")
    return LiteFeatures()


class LiteFeatures(nn.Module):
    """EfficientNet-Lite0's first three stages; each map divided by its usual size to weigh the same (ours).

    The maps are linear bottlenecks, not ReLU outputs as VGG's: their usual size is the mean absolute value over photos.
    """

    def __init__(self) -> None:
        super().__init__()
        trunk = load_trunk()
        self.stem, self.norm = trunk._conv_stem, trunk._bn0
        self.blocks = nn.ModuleList(list(trunk._blocks)[: BLOCKS[-1] + 1])
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """image [B, 3, H, W], ImageNet-normalised -> maps at stride 2, 4 and 8."""
        pixels = (image * self.get_buffer("std") + self.get_buffer("mean")) * 255
        x = nn.functional.relu6(self.norm(self.stem((pixels - TRUNK_MEAN) / SCALE)))
        maps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in BLOCKS:
                maps.append(x / USUAL_SIZE[len(maps)])
        return maps
