"""The one-way noun-to-region loss (systems.md, part 1).

Legend: N nouns of the batch, B photos, K regions, E channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unsay.errors import BadInput

MAXIMA = ("hard", "soft")


def noun_scores(nouns: Tensor, regions: Tensor, present: Tensor, maximum: str = "soft", tau: float = 0.05) -> Tensor:
    """s(n, j) [N, B]: how well noun n [N, E] fits the best region of photo j, regions [B, K, E], both unit length.

    `present` [B, K] bool: False where a photo has fewer regions. "hard": the maximum over k of cos(t_n, R_jk);
    "soft": tau * log mean_k exp(cos / tau), which never exceeds it.
    """
    if maximum not in MAXIMA:
        raise BadInput(f"unknown maximum {maximum!r}; known: {', '.join(MAXIMA)}")
    cosine = torch.einsum("ne,bke->nbk", nouns, regions).masked_fill(~present, -torch.inf)
    if maximum == "hard":
        return cosine.amax(-1)
    count = present.sum(-1).clamp(min=1).to(cosine.dtype)
    return tau * (torch.logsumexp(cosine / tau, dim=-1) - count.log())


def one_way_loss(
    scores: Tensor, owner: Tensor, shares: Tensor, temperature: Tensor | float, weights: Tensor | None = None
) -> Tensor:
    """L = - mean_n log( exp(s(n, i_n)/T) / sum_j exp(s(n, j)/T) ), no region-to-noun term.

    scores [N, B]; owner [N] the photo i_n that noun n came from; shares [N, B] bool: the photos whose own sentences
    contain noun n, left out of the negatives (the owner itself stays). `weights` [N]: how often each noun counts in
    the mean, such as the number of the photo's sentences that have it.
    """
    logits = scores / temperature
    own = torch.zeros_like(shares).scatter_(1, owner[:, None], True)
    logits = logits.masked_fill(shares & ~own, -torch.inf)
    losses = torch.logsumexp(logits, dim=1) - logits.gather(1, owner[:, None])[:, 0]
    return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()
