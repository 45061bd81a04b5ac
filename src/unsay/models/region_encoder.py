"""Region tokens with contextually aware masking (Zhang et al. 2023; systems.md, part 1): all regions in one pass.

Legend: B photos, K regions, P patches, D width, E text channels, A attention heads, `L0` = `start`.
`coverage` [B, K, P] in [0, 1]: the share of patch p that lies in region k; it enters attention as the additive bias
log(coverage), so that a region smaller than a patch still counts. A region that covers nothing attends to itself alone.

One definition serves the starter (a light transformer on the maps of a CNN) and CLIP's vision tower (`models/vit.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.errors import BadInput

MASKED = -1e4
"""Stands for log(0): far enough that the weight is exactly 0 in fp32, near enough to stay finite."""


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a pre-norm transformer. `start`: the layer L0 from which region tokens exist and are masked, 0-based.

    `activation`: "gelu" or CLIP's "quick_gelu". `layer_scale`: each branch ends in a learned factor a channel (DINOv2).
    """

    width: int = 256
    heads: int = 4
    layers: int = 2
    hidden: int = 1024
    start: int = 0
    activation: str = "gelu"
    eps: float = 1e-5
    layer_scale: bool = False
    dropout: float = 0.0


class Layer(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and added to what entered (pre-norm)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.quick = config.heads, config.activation == "quick_gelu"
        self.norm1, self.norm2 = nn.LayerNorm(width, config.eps), nn.LayerNorm(width, config.eps)
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.drop = nn.Dropout(config.dropout)
        scales = [nn.Parameter(torch.ones(width)) if config.layer_scale else None for _ in range(2)]
        self.scale1, self.scale2 = scales

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [B, T, D], bias broadcastable to [B, A, T, T] or None -> [B, T, D]: every token attends to all."""
        own = self.norm1(x)
        scores = self._split(self.query(own)) @ self._split(self.key(own)).transpose(2, 3) / self._root(x)
        weights = torch.softmax(scores if bias is None else scores + bias, dim=-1)
        return self._rest(x, weights @ self._split(self.value(own)))

    def step(self, tokens: Tensor, x: Tensor, bias: Tensor) -> Tensor:
        """One layer of the region tokens [B, K, D]: each attends to itself and to the patches under bias [B, 1, K, P].

        x [B, 1 + P, D]: what enters the layer, the class token (left out) first.
        """
        own, patches = self.norm1(tokens), self.norm1(x[:, 1:])
        query, root = self._split(self.query(own)), self._root(x)
        others = query @ self._split(self.key(patches)).transpose(2, 3) / root + bias
        itself = (query * self._split(self.key(own))).sum(-1, keepdim=True) / root
        weights = torch.softmax(torch.cat([others, itself], dim=-1), dim=-1)
        seen = weights[..., :-1] @ self._split(self.value(patches)) + weights[..., -1:] * self._split(self.value(own))
        return self._rest(tokens, seen)

    def _rest(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self._scaled(self.mix(seen.transpose(1, 2).flatten(2)), self.scale1)
        y = self.up(self.norm2(x))
        y = y * torch.sigmoid(1.702 * y) if self.quick else F.gelu(y)
        added: Tensor = x + self._scaled(self.down(y), self.scale2)
        return added

    def _scaled(self, branch: Tensor, scale: Tensor | None) -> Tensor:
        dropped: Tensor = self.drop(branch if scale is None else branch * scale)
        return dropped

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.heads, -1))
        return split.transpose(1, 2)

    def _root(self, x: Tensor) -> float:
        return math.sqrt(x.shape[-1] / self.heads)


class RegionTransformer(nn.Module):
    """A stack of layers through which patches go as ever, and from layer L0 on region tokens beside them.

    At L0 every region token is a copy of the class token. A single region that covers every patch therefore ends as
    exactly what the class token would (tested).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if not 0 <= config.start < config.layers:
            raise BadInput(f"start is {config.start}; region tokens must start in layer 0 to {config.layers - 1}")
        if config.activation not in {"gelu", "quick_gelu"}:
            raise BadInput(f"unknown activation {config.activation!r}; known: gelu, quick_gelu")
        self.config = config
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, x: Tensor, coverage: Tensor, context: bool = True) -> Tensor:
        """x [B, 1 + P, D] (class token first), coverage [B, K, P] -> region tokens [B, K, D].

        `context` False: patches see only patches of their own regions (an ablation, not the method).
        """
        bias = log_coverage(coverage)[:, None]
        among = None if context else _own_regions(coverage)
        tokens = x[:, :1].expand(-1, coverage.shape[1], -1)
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            if index == self.config.start:
                tokens = x[:, :1].expand(-1, coverage.shape[1], -1)
            if index >= self.config.start and isinstance(layer, Layer):
                tokens = layer.step(tokens, x, bias)
            if index < last:
                x = layer(x, among)
        return tokens

    def plain(self, x: Tensor) -> Tensor:
        """The stack without any region, x [B, 1 + P, D] -> [B, 1 + P, D]."""
        for layer in self.layers:
            x = layer(x)
        return x


def log_coverage(coverage: Tensor) -> Tensor:
    """log(coverage), `MASKED` where it is 0; any shape."""
    return torch.where(coverage > 0, coverage.clamp(min=1e-6).log(), MASKED)


def _own_regions(coverage: Tensor) -> Tensor:
    """Bias [B, 1, 1 + P, 1 + P] under which patches see patches of their own regions only; the class token sees all."""
    shared = coverage.transpose(1, 2) @ coverage
    padded = F.pad(log_coverage(shared), (1, 0, 1, 0))
    return padded[:, None]
