"""The starter's region encoder: a frozen CNN's patches -> a light transformer with region tokens -> the nouns' space.

Legend: B photos, K regions, P patches, C channels of the trunk, E text channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.models.region_encoder import RegionTransformer, TransformerConfig


@dataclass(frozen=True)
class StarterConfig:
    """Sizes of the encoder. `start`: the layer L0 from which region tokens exist; `context` False is an ablation."""

    channels: int = 1280
    width: int = 256
    heads: int = 4
    layers: int = 2
    start: int = 0
    text: int = 384
    dropout: float = 0.2
    context: bool = True


class StarterEncoder(nn.Module):
    """Patches and their regions -> R, all regions in one pass."""

    def __init__(self, config: StarterConfig | None = None) -> None:
        super().__init__()
        config = config or StarterConfig()
        self.config = config
        self.norm, self.drop = nn.LayerNorm(config.channels), nn.Dropout(config.dropout)
        self.enter = nn.Linear(config.channels, config.width)
        self.token = nn.Parameter(torch.zeros(1, 1, config.width))
        sizes = TransformerConfig(
            config.width, config.heads, config.layers, 4 * config.width, config.start, dropout=config.dropout
        )
        self.transformer = RegionTransformer(sizes)
        self.leave, self.out = nn.LayerNorm(config.width), nn.Linear(config.width, config.text)

    def forward(self, patches: Tensor, coverage: Tensor) -> Tensor:
        """patches [B, P, C], coverage [B, K, P] in [0, 1] -> R [B, K, E] fp32 of unit length."""
        x = self.enter(self.drop(self.norm(patches)))
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        tokens = self.transformer(x, coverage, self.config.context)
        return F.normalize(self.out(self.leave(tokens)).float(), dim=-1)
