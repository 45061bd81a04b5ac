"""Region tokens with contextually aware masking (Zhang et al. 2023): all regions in one pass.

Legend: B photos, K regions, P patches, D width, E text channels, A attention heads, `L0` = `start`.
`coverage` [B, K, P] in [0, 1]: the share of patch p that lies in region k; it enters attention as the additive bias
log(coverage), so that a region smaller than a patch still counts. A region that covers nothing attends to itself alone.

One definition serves the starter (a light transformer on the maps of a CNN) and CLIP's vision tower (`models/vit.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

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
        return self._rest(x, self._attend(self.query(own), self.key(own), self.value(own), bias))

    def with_regions(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [B, 1 + P + K, D]: class token, patches, region tokens; bias [B, 1, K, P + K] of the latter -> the same.

        The class token and the patches attend to each other as in `forward`; no one but itself sees a region token.
        All share one set of projections: the patches' keys and values are computed once.
        """
        plain = x.shape[1] - bias.shape[2]
        own = self.norm1(x)
        query, key, value = self.query(own), self.key(own), self.value(own)
        seen = self._attend(query[:, :plain], key[:, :plain], value[:, :plain], None)
        by_regions = self._attend(query[:, plain:], key[:, 1:], value[:, 1:], bias)
        return self._rest(x, torch.cat([seen, by_regions], dim=1))

    def regions_only(self, x: Tensor, bias: Tensor) -> Tensor:
        """The region tokens [B, K, D] that `with_regions` would give, without the work that only patches need."""
        regions = bias.shape[2]
        own = self.norm1(x[:, 1:])
        seen = self._attend(self.query(own[:, -regions:]), self.key(own), self.value(own), bias)
        return self._rest(x[:, -regions:], seen)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        seen: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return seen.transpose(1, 2).flatten(2)

    def _rest(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self._scaled(self.mix(seen), self.scale1)
        y = self.up(self.norm2(x))
        y = y * torch.sigmoid(1.702 * y) if self.quick else F.gelu(y)
        added: Tensor = x + self._scaled(self.down(y), self.scale2)
        return added

    def _scaled(self, branch: Tensor, scale: Tensor | None) -> Tensor:
        dropped: Tensor = self.drop(branch if scale is None else branch * scale)
        return dropped


class RegionTransformer(nn.Module):
    """A stack of layers through which patches go as ever, and from layer L0 on region tokens beside them.

    At L0 every region token is a copy of the class token. A single region that covers every patch therefore ends as
    exactly what the class token would (tested). Raises `BadInput` for a start or an activation that does not exist.
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

        `context` False: nothing from outside a region reaches its token (an ablation, not the method); see `_alone`.
        """
        if not context:
            return self._alone(x, coverage)
        layers, start, regions = self._stack(), self.config.start, coverage.shape[1]
        for layer in layers[:start]:
            x = layer(x)
        x = torch.cat([x, x[:, :1].expand(-1, regions, -1)], dim=1)
        itself = torch.eye(regions, dtype=coverage.dtype, device=coverage.device).expand(len(coverage), -1, -1)
        bias = log_coverage(torch.cat([coverage, itself], dim=-1))[:, None]
        for layer in layers[start:-1]:
            x = layer.with_regions(x, bias)
        return layers[-1].regions_only(x, bias)

    def plain(self, x: Tensor) -> Tensor:
        """The stack without any region, x [B, T, D] -> [B, T, D]."""
        for layer in self._stack():
            x = layer(x)
        return x

    def last_keys(self, x: Tensor) -> Tensor:
        """What `plain` attends by in its last layer: the keys of all heads side by side, x [B, T, D] -> [B, T, D]."""
        *before, last = self._stack()
        for layer in before:
            x = layer(x)
        keys: Tensor = last.key(last.norm1(x))
        return keys

    def _alone(self, x: Tensor, coverage: Tensor) -> Tensor:
        """Every region as if the photo showed nothing else: its token, from layer 0 on, stands for the class token,
        patches see those that share a region with them and their regions' tokens.
        """
        regions = coverage.shape[1]
        alike = torch.eye(coverage.shape[2] + regions, dtype=coverage.dtype, device=coverage.device)
        shared = torch.cat([coverage.transpose(1, 2) @ coverage, coverage], dim=1)
        to_regions = torch.cat([coverage.transpose(1, 2), alike[-regions:, -regions:].expand(len(x), -1, -1)], dim=1)
        weight = torch.cat([shared, to_regions], dim=2).clamp(max=1).maximum(alike)
        x = torch.cat([x[:, 1:], x[:, :1].expand(-1, regions, -1)], dim=1)
        for layer in self._stack():
            x = layer(x, log_coverage(weight)[:, None])
        return x[:, -regions:]

    def _stack(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))


def log_coverage(coverage: Tensor) -> Tensor:
    """log(coverage), `MASKED` where it is 0; any shape."""
    return torch.where(coverage > 0, coverage.clamp(min=1e-6).log(), MASKED)
