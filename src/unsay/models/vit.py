"""One vision transformer (Dosovitskiy et al. 2021) that holds the weights of CLIP, DINO and DINOv2, and its two uses.

Legend: B photos, K regions, P = h * w patches, R registers, G the side of the trained grid, D width, E text channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.errors import BadInput
from unsay.models.region_encoder import RegionTransformer, TransformerConfig

FEATURES = ("token", "key")
"""What of a patch is grouped: its last token, or the last layer's key (LOST, Simeoni et al. 2021; TokenCut, Wang et al.
2022: keys of DINO).
"""


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a vision transformer whose patches are `patch` x `patch` pixels, trained on `grid` x `grid` of them.

    `pre_norm`: a layer norm before the first layer (CLIP). `registers`: extra tokens (Darcet et al. 2024).
    `antialias`: how positions are brought to other grids, see `resampling`.
    """

    transformer: TransformerConfig
    patch: int
    grid: int
    registers: int = 0
    pre_norm: bool = False
    antialias: bool = False


class VisionTransformer(nn.Module):
    """Pixels -> tokens. Positions are interpolated to the photo's own grid, in the graph, so any size goes."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        if config.grid < 2:
            raise BadInput(f"a grid of {config.grid} patches a side has no positions to interpolate; at least 2 needed")
        width = config.transformer.width
        self.config = config
        self.patches = nn.Conv2d(3, width, config.patch, config.patch)
        self.class_token = nn.Parameter(torch.zeros(width))
        self.registers = nn.Parameter(torch.zeros(config.registers, width))
        self.positions = nn.Parameter(torch.zeros(1 + config.grid**2, width))
        self.pre_norm = nn.LayerNorm(width, config.transformer.eps) if config.pre_norm else nn.Identity()
        self.transformer = RegionTransformer(config.transformer)
        self.norm = nn.LayerNorm(width, config.transformer.eps)

    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, H, W] -> what enters the first layer, [B, 1 + R + P, D]: class token, registers,
        patches. What is left of H and W beyond whole patches is not seen.
        """
        patches = self.patches(pixels)
        height, width = patches.shape[2:]
        patches = patches.flatten(2).transpose(1, 2) + self._positions(height, width)
        first = torch.cat([(self.class_token + self.positions[0])[None], self.registers])
        embedded: Tensor = self.pre_norm(torch.cat([first.expand(len(pixels), -1, -1), patches], dim=1))
        return embedded

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] -> tokens behind the final norm [B, 1 + R + P, D]."""
        tokens: Tensor = self.norm(self.transformer.plain(self.embed(pixels)))
        return tokens

    def _positions(self, height: int, width: int) -> Tensor:
        """[h * w, D]: two matrix products, along the rows and along the columns."""
        grid = self.positions[1:].unflatten(0, (self.config.grid, -1))
        rows, columns = (resampling(n, self.config.grid, self.config.antialias, grid) for n in (height, width))
        by_rows = (rows @ grid.flatten(1)).view(height, self.config.grid, -1)
        return torch.flatten(columns @ by_rows, 0, 1)


class RegionViT(nn.Module):
    """CLIP's vision tower with masked region tokens (Zhang et al. 2023): every region in the space of the words."""

    def __init__(self, vit: VisionTransformer, projection: nn.Linear) -> None:
        super().__init__()
        self.vit, self.projection = vit, projection

    def forward(self, pixels: Tensor, coverage: Tensor) -> Tensor:
        """pixels [1, 3, H, W], coverage [K, P] in [0, 1], patches row by row -> R [K, E] of unit length.

        A region that covers everything gives CLIP's own embedding of the photo.
        """
        regions = self.vit.transformer(self.vit.embed(pixels), coverage[None])[0]
        return F.normalize(self.projection(self.vit.norm(regions)), dim=-1)


class GroupFeatures(nn.Module):
    """The map of patches, of a self-supervised transformer, that groups are made from; `feature` is of `FEATURES`."""

    def __init__(self, vit: VisionTransformer, feature: str = "token") -> None:
        super().__init__()
        if feature not in FEATURES:
            raise BadInput(f"unknown patch feature {feature!r}; known: {', '.join(FEATURES)}")
        self.vit, self.feature = vit, feature

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [1, 3, H, W] -> map [1, D, h, w]."""
        size, patch = pixels.shape[2:], self.vit.config.patch
        tokens = self.vit(pixels) if self.feature == "token" else self.vit.transformer.last_keys(self.vit.embed(pixels))
        patches = tokens[:, 1 + self.vit.config.registers :]
        mapped: Tensor = patches.transpose(1, 2).unflatten(2, (size[0] // patch, size[1] // patch))
        return mapped


def resampling(length: int, grid: int, antialias: bool, like: Tensor) -> Tensor:
    """The matrix [length, grid] that resamples `grid` values to `length` as `torch.nn.functional.interpolate` does
    (bicubic, corners not aligned): Keys (1981), a = -0.75 with repeated borders; with `antialias` a = -0.5, the kernel
    as wide as the step and cut at the borders.

    Written out because a traced graph has no antialiased Resize, and this way exports exactly. `like` gives the dtype.
    """
    step = torch.full_like(like[0, 0, :1], grid) / length
    centre = (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) * step
    if antialias:
        taps = torch.arange(grid, dtype=like.dtype, device=like.device) + 0.5
        weights = _cubic((taps - centre[:, None]) / step.clamp(min=1), -0.5)
        return weights / weights.sum(1, keepdim=True)
    taps = torch.arange(-2, grid + 2, dtype=like.dtype, device=like.device) + 0.5
    weights = _cubic(taps - centre[:, None], -0.75)
    ends = weights[:, :3].sum(1, keepdim=True), weights[:, -3:].sum(1, keepdim=True)
    return torch.cat([ends[0], weights[:, 3:-3], ends[1]], dim=1)


def _cubic(x: Tensor, a: float) -> Tensor:
    """Keys's cubic convolution kernel (1981, eq. 4), 0 from |x| = 2 on."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
