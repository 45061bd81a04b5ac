"""A small sentence encoder that learned from a large one (ours): a table of tokens that is nearly right by itself, and
light layers that correct it for the words beside.

The table begins as the large encoder's own answers to every single token, in their first `width` principal directions
(static embeddings in the manner of Model2Vec, Tulkens and van Dongen 2024); the layers begin as nothing. What is
learned is the difference between a phrase and the sum of its words.

Legend: N phrases, T tokens, D = `width` channels, E = `embedding` channels of the large encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class StudentConfig:
    """Sizes; `vocabulary` is the number of tokens that the tokenizer knows (0: not known yet)."""

    vocabulary: int = 0
    positions: int = 48
    width: int = 192
    hidden: int = 384
    heads: int = 6
    layers: int = 2
    embedding: int = 384


class StudentLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each on normalised input and added (pre-norm); begins as nothing."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        for last in (self.mix, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [N, T, D], bias [N, 1, 1, T] added to the attention (large negative at padding) -> [N, T, D]."""
        n, t, width = x.shape
        q, k, v = self.read(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(width / self.heads) + bias, dim=-1)
        x = x + self.mix((weights @ v).transpose(1, 2).reshape(n, t, width))
        y: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return y


class TextStudent(nn.Module):
    """Token ids of a phrase, without marks of its beginning and end -> its embedding in the large encoder's space.

    Tokens are pooled by weights that each of them has learned: "of" says less than "dog".
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        nn.init.zeros_(self.positions.weight)
        self.layers = nn.ModuleList(StudentLayer(config) for _ in range(config.layers))
        self.weigh = nn.Linear(config.width, 1)
        nn.init.zeros_(self.weigh.weight)
        self.out = nn.Linear(config.width, config.embedding)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids [N, T] int64, mask [N, T] int64 (1 = token, 0 = padding) -> [N, E] fp32, unit length."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]]
        bias = (mask.to(x.dtype) - 1.0) * 1e4
        for layer in self.layers:
            x = layer(x, bias[:, None, None, :])
        weights = torch.softmax(self.weigh(x)[:, :, 0] + bias, dim=1)
        pooled = (weights[:, :, None] * x).sum(1)
        return F.normalize(self.out(pooled), dim=-1)

    @torch.no_grad()
    def begin(self, vectors: Tensor, shares: Tensor) -> None:
        """Set table and output to the large encoder's answers to every token, `vectors` [V, E], as well as `width`
        directions can; `shares` [V]: how much each token counts in choosing the directions.
        """
        shares = shares / shares.sum()
        mean = shares @ vectors
        centred = vectors - mean
        _, directions = torch.linalg.eigh((centred * shares[:, None]).T @ centred)
        chosen = directions[:, -self.config.width :]
        table = centred @ chosen
        scale = table.pow(2).mean().sqrt()
        self.words.weight.copy_(table / scale)
        self.out.weight.copy_(chosen * scale)
        self.out.bias.copy_(mean)
