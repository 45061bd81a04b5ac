"""Regions of the trunk's maps -> embeddings in the space of the nouns, all regions of a photo in one pass.

Legend: B photos, K regions, P patches, C = 1280 trunk channels, D width, E = 384 text channels.
`coverage` [B, K, P] in [0, 1]: the share of patch p that lies in region k. A region that covers nothing (padding in a
batch) attends to nothing; its embedding is meaningless and is masked out by the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASKED = -1e4
"""Stands for log(0): far enough that the weight is exactly 0 in fp32, near enough to stay finite."""


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the region head."""

    channels: int = 1280
    width: int = 384
    text: int = 384
    heads: int = 6
    layers: int = 0
    dropout: float = 0.2
    context: bool = True


class TokenLayer(nn.Module):
    """Contextually aware masking (systems.md, part 1): region token k attends to itself and to the patches of region k.

    The mask enters as an additive bias log(coverage). The patches keep their own features: the trunk's receptive field
    has already given each of them its context.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor, patches: Tensor, bias: Tensor) -> Tensor:
        """tokens [B, K, D], patches [B, P, D], bias [B, 1, K, P] -> tokens [B, K, D]."""
        own = self.norm1(tokens)
        q, k, v = self._split(self.query(own)), self._split(self.key(patches)), self._split(self.value(patches))
        own_k, own_v = self._split(self.key(own)), self._split(self.value(own))
        scale = math.sqrt(q.shape[-1])
        others = q @ k.transpose(2, 3) / scale + bias
        itself = (q * own_k).sum(-1, keepdim=True) / scale
        weights = torch.softmax(torch.cat([others, itself], dim=-1), dim=-1)
        seen = weights[..., :-1] @ v + weights[..., -1:] * own_v
        tokens = tokens + self.mix(seen.transpose(1, 2).flatten(2))
        y: Tensor = tokens + self.down(F.gelu(self.up(self.norm2(tokens))))
        return y

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.heads, -1))
        return split.transpose(1, 2)


class RegionHead(nn.Module):
    """Pools each region, adds the whole photo as context, refines with masked region tokens, projects to text space."""

    def __init__(self, config: HeadConfig | None = None) -> None:
        super().__init__()
        config = config or HeadConfig()
        self.config = config
        self.norm = nn.LayerNorm(config.channels)
        self.pooled = nn.Linear(config.channels, config.width)
        self.whole = nn.Linear(config.channels, config.width)
        self.patches = nn.Linear(config.channels, config.width) if config.layers else nn.Identity()
        self.layers = nn.ModuleList(TokenLayer(config.width, config.heads) for _ in range(config.layers))
        self.drop = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(2 * config.width, config.text)

    def forward(self, wide: Tensor, coverage: Tensor) -> Tensor:
        """wide [B, P, C] (the trunk's last maps, flattened), coverage [B, K, P] -> R [B, K, E] fp32, unit length."""
        share = coverage / coverage.sum(-1, keepdim=True).clamp(min=1e-6)
        return self.from_pooled(share @ wide, wide.mean(1), wide, coverage)

    def from_pooled(self, pooled: Tensor, whole: Tensor, wide: Tensor | None, coverage: Tensor | None) -> Tensor:
        """The same from the regions' means [B, K, C] and the photo's mean [B, C]; patches only with layers."""
        tokens = self.pooled(self.drop(self.norm(pooled)))
        if self.config.context:
            tokens = tokens + self.whole(self.drop(self.norm(whole)))[:, None]
        if self.config.layers and wide is not None and coverage is not None:
            patches = self.patches(self.norm(wide))
            bias = torch.where(coverage > 0, coverage.clamp(min=1e-6).log(), MASKED)[:, None]
            for layer in self.layers:
                tokens = layer(tokens, patches, bias)
        y: Tensor = self.out(self.drop(F.gelu(self.hidden(tokens))))
        return F.normalize(y, dim=-1)
