"""The losses of the inpainting network (paper section 3.4), added from coarse to fine."""

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


def inpainting_loss(
    outputs: Sequence[Tensor], truth: Tensor, mask: Tensor, weights: LossWeights, features: nn.Module | None = None
) -> dict[str, Tensor]:
    """Every term, already weighted; their sum is the loss.

    outputs: raw outputs [B, 3, H, W] from coarse to fine; truth [B, 3, H, W]; mask [B, 1, H, W], 1 = keep. `features`
    maps an image to a list of feature maps; without it the perceptual and style terms are left out. L1 terms are means
    over all pixels and channels of the image, inside and outside the hole alike.

    The authors' release computes the style term on output 1 by an indexing slip; here it is the last output, as the
    paper says.
    """
    losses = {
        "hole": weights.hole * sum(((o - truth) * (1 - mask)).abs().mean() for o in outputs),
        "known": weights.known * sum(((o - truth) * mask).abs().mean() for o in outputs),
    }
    final = truth * mask + outputs[-1] * (1 - mask)
    if weights.variation:
        losses["variation"] = weights.variation * total_variation(final)
    if features is not None and (weights.perceptual or weights.style):
        losses |= _feature_losses(outputs, truth, mask, weights, features)
    return {name: torch.as_tensor(value) for name, value in losses.items()}


def _feature_losses(
    outputs: Sequence[Tensor], truth: Tensor, mask: Tensor, weights: LossWeights, features: nn.Module
) -> dict[str, Tensor]:
    with torch.no_grad():
        wanted = features(truth)
    perceptual, style = truth.new_zeros(()), truth.new_zeros(())
    refined = outputs[1:] or outputs
    for output in refined:
        last = output is refined[-1]
        for image in (output, truth * mask + output * (1 - mask)):
            for found, target in zip(features(image), wanted, strict=True):
                perceptual = perceptual + (found - target).abs().mean()
                if last and weights.style:
                    style = style + (gram(found) - gram(target)).abs().mean()
    return {"perceptual": weights.perceptual * perceptual, "style": weights.style * style}


def gram(features: Tensor) -> Tensor:
    """Gram matrices [B, C, C] of feature maps [B, C, H, W], divided by C * H * W."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, across plus down, of [B, C, H, W]."""
    return F.l1_loss(image[..., 1:], image[..., :-1]) + F.l1_loss(image[..., 1:, :], image[..., :-1, :])
