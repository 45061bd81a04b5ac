"""The starter's region encoder: the last stages of a CNN and a light transformer with region tokens.

Legend: B photos, K regions, P patches, F channels of the trunk's `fine` map, D width, E text channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.models.efficientnet_lite import FAMILY, EfficientNetLite
from unsay.models.region_encoder import RegionTransformer, TransformerConfig


@dataclass(frozen=True)
class StarterConfig:
    """Sizes of the starter's region encoder. `start`: the layer L0 from which region tokens are masked."""

    trunk: str = "efficientnet-lite2"
    """Whose last stages begin the encoder; they start from its ImageNet weights."""
    tune: bool = True
    """Whether these stages learn too; False: the encoder reads the maps that they give, `wide`."""
    channels: int = 1280
    """What they give."""
    width: int = 384
    heads: int = 6
    layers: int = 1
    start: int = 0
    text: int = 384
    dropout: float = 0.2
    context: bool = True
    """Whether patches attend to all patches; False is for the ablation."""


class StarterEncoder(nn.Module):
    """Patches of a CNN's map -> transformer with region tokens -> embeddings in the space of the words.

    There are no position embeddings: the padding of the CNN tells its maps where they are, and any size is taken.
    """

    def __init__(self, config: StarterConfig | None = None, top: nn.Module | None = None) -> None:
        """`top`: the last stages, [B, F, 2h, 2w] -> [B, channels, h, w]; None: those of `config.trunk`, untrained."""
        super().__init__()
        config = config or StarterConfig()
        self.config = config
        self.top = (EfficientNetLite(FAMILY[config.trunk]).top() if top is None else top).requires_grad_(config.tune)
        self.norm = nn.LayerNorm(config.channels)
        self.enter = nn.Linear(config.channels, config.width)
        self.token = nn.Parameter(torch.zeros(config.width))
        self.body = RegionTransformer(
            TransformerConfig(
                config.width, config.heads, config.layers, 2 * config.width, config.start, dropout=config.dropout
            )
        )
        self.drop = nn.Dropout(config.dropout)
        self.leave = nn.LayerNorm(config.width)
        self.hidden = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(2 * config.width, config.text)

    def forward(self, fine: Tensor, coverage: Tensor) -> Tensor:
        """fine [B, F, 2h, 2w] (or wide [B, C, h, w]), coverage [B, K, P = h * w] -> R [B, K, E] of unit length."""
        patches = self.top(fine).flatten(2).transpose(1, 2)
        x = self.enter(self.drop(self.norm(patches)))
        x = torch.cat([self.token.expand(len(x), 1, -1), x], dim=1)
        tokens = self.leave(self.body(x, coverage, self.config.context))
        y: Tensor = self.out(self.drop(F.gelu(self.hidden(tokens))))
        return F.normalize(y, dim=-1)
