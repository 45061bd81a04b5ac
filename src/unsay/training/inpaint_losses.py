"""The losses of the inpainting network (Zhu et al. 2021), added from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, the paper's; a term of weight 0 is not computed."""

    hole: float = 6.0
    """L1 inside the hole, every output."""
    known: float = 1.0
    """L1 outside the hole, every output."""
    perceptual: float = 0.05
    """L1 of a frozen network's features, from output 1 on, raw and composited."""
    style: float = 120.0
    """L1 of those features' Gram matrices, last output only, raw and composited."""
    variation: float = 0.1
    """Total variation of the composited last output."""
    squared: float = 0.0
    """Squared error inside the hole, every output (ours; 0 in the paper)."""
    last_only: bool = False
    """All terms on the last output and none on those before: what the paper's stage-by-stage losses are compared to."""


def inpainting_loss(
    outputs: Sequence[Tensor], truth: Tensor, mask: Tensor, weights: LossWeights, features: nn.Module | None = None
) -> dict[str, Tensor]:
    """Every term, already weighted; their sum is the loss.

    outputs: raw outputs [B, 3, H, W] from coarse to fine; truth [B, 3, H, W]; mask [B, 1, H, W], 1 = keep. `features`
    maps an image to a list of feature maps; without it the perceptual and style terms are left out. L1 terms and
    squares are means over all pixels and channels of the image, inside and outside the hole alike; perceptual and style
    terms are sums over the maps. A network without refinement decoders has the perceptual term on its only output.

    The authors' release computes the style term on output 1 by an indexing slip; here it is the last output, as the
    paper says.
    """
    shallow = outputs[-1:] if weights.last_only else outputs
    losses: dict[str, Tensor] = {}
    if weights.hole:
        losses["hole"] = weights.hole * _total([((o - truth) * (1 - mask)).abs().mean() for o in shallow])
    if weights.squared:
        losses["squared"] = weights.squared * _total([((o - truth) * (1 - mask)).square().mean() for o in shallow])
    if weights.known:
        losses["known"] = weights.known * _total([((o - truth) * mask).abs().mean() for o in shallow])
    if weights.variation:
        losses["variation"] = weights.variation * total_variation(composite(outputs[-1], truth, mask))
    if features is not None and (weights.perceptual or weights.style):
        losses |= _feature_losses(outputs, truth, mask, weights, features)
    return losses


def composite(output: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The output [B, 3, H, W] in the hole, the photo's own pixels elsewhere."""
    return truth * mask + output * (1 - mask)


def _feature_losses(
    outputs: Sequence[Tensor], truth: Tensor, mask: Tensor, weights: LossWeights, features: nn.Module
) -> dict[str, Tensor]:
    with torch.no_grad():
        wanted = features(truth)
    perceptual: list[Tensor] = []
    style: list[Tensor] = []
    refined = outputs[1:] or outputs
    for output in refined if weights.perceptual and not weights.last_only else outputs[-1:]:
        for image in (output, composite(output, truth, mask)):
            pairs = list(zip(features(image), wanted, strict=True))
            perceptual += [(found - target).abs().mean() for found, target in pairs]
            if output is outputs[-1] and weights.style:
                style += [(gram(found) - gram(target)).abs().mean() for found, target in pairs]
    terms = {"perceptual": (weights.perceptual, perceptual), "style": (weights.style, style)}
    return {name: weight * _total(parts) for name, (weight, parts) in terms.items() if weight}


def _total(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum()


def gram(features: Tensor) -> Tensor:
    """Gram matrices [B, C, C] of feature maps [B, C, H, W], divided by C * H * W."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, across plus down, of [B, C, H, W]."""
    return F.l1_loss(image[..., 1:], image[..., :-1]) + F.l1_loss(image[..., 1:, :], image[..., :-1, :])
