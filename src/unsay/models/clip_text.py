"""CLIP's text tower (Radford et al. 2021): token ids -> the embedding that region tokens are compared with.

Legend: N sentences, T tokens, D width, E channels of the space that words and photos share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.models.region_encoder import MASKED, Layer, TransformerConfig

LEGACY_END = 2
"""Early CLIP configurations name this as the end-of-text token; they mean the highest id of the sentence."""


@dataclass(frozen=True)
class ClipTextConfig:
    """Sizes of the tower; `end` is the id of the end-of-text token, at which a sentence is read off."""

    transformer: TransformerConfig
    vocabulary: int = 49408
    positions: int = 77
    end: int = 49407
    channels: int = 512


class ClipText(nn.Module):
    """A causal transformer over the tokens; the end-of-text token's last state, projected, is the sentence."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        width = config.transformer.width
        self.config = config
        self.words = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(config.positions, width))
        self.layers = nn.ModuleList(Layer(config.transformer) for _ in range(config.transformer.layers))
        self.norm = nn.LayerNorm(width, config.transformer.eps)
        self.projection = nn.Linear(width, config.channels, bias=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [N, T] int64 (mask 1 = token, 0 = padding, at the end, any id) -> [N, E], unit length.

        T is at most `positions`. Padding needs no mask of its own: no token sees what comes after it.
        """
        x = self.words(ids) + self.positions[: ids.shape[1]]
        order = torch.arange(ids.shape[1], device=ids.device)
        later = torch.where(order[None] > order[:, None], MASKED, 0.0).to(x.dtype)
        for layer in cast("list[Layer]", list(self.layers)):
            x = layer(x, later)
        end = F.one_hot(self._end(ids, mask), ids.shape[1]).to(x.dtype)
        return F.normalize(self.projection(self.norm((end[:, None] @ x)[:, 0])), dim=-1)

    def _end(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The first end-of-text token of each sentence, [N] int64; never one of the padding, whatever its id."""
        legacy = self.config.end == LEGACY_END
        marked = ids * mask if legacy else (ids == self.config.end).long() * mask
        return marked.to(torch.int32).argmax(dim=-1)
