"""The one-way noun-to-region loss and what it is compared with (Zhang et al. 2023).

Legend: N noun-photo pairs of this process, U different nouns of all processes, B photos of this process, J photos of
all processes, K regions, S sentences, E channels; `T` temperature, `tau` of the soft maximum. t_n [E] is a noun's
embedding, R [B, K, E] are the regions'; all have unit length. A single process is the case J = B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unsay.errors import BadInput
from unsay.training.segment_gather import gather, mean_over_ranks, row_counts, world

MAXIMA = ("hard", "soft")
OBJECTIVES = ("one-way", "two-way", "image")


@dataclass(frozen=True)
class LossConfig:
    """What is learned from.

    `objective`: "one-way" (nouns find regions: the method), "two-way" (regions must find nouns too: an ablation) or
    "image" (nouns find whole photos, there are no regions: an ablation). `maximum`: "hard" or "soft" with `tau`.
    `temperature`: T at the start, learned from there. `sentence`: weight of the image-sentence term.
    """

    objective: str = "one-way"
    maximum: str = "soft"
    tau: float = 0.03
    temperature: float = 0.03
    sentence: float = 0.0


class Nouns(NamedTuple):
    """Which nouns stand in the sentences of which photo of the batch, a pair each.

    owner [N] int64: the photo's place in the batch; noun [N] int64: the noun's number, the same in every process;
    weight [N] float: how often the pair counts in the mean, such as the number of the photo's sentences that have it.
    """

    owner: Tensor
    noun: Tensor
    weight: Tensor


class Sentences(NamedTuple):
    """Embeddings [S, E] of the batch's sentences and the places [S] int64 of the photos that they belong to."""

    embedding: Tensor
    owner: Tensor


def check_loss(config: LossConfig) -> None:
    """Raise `BadInput` for a setting that no loss has."""
    if config.objective not in OBJECTIVES:
        raise BadInput(f"unknown objective {config.objective!r}; known: {', '.join(OBJECTIVES)}")
    if config.maximum not in MAXIMA:
        raise BadInput(f"unknown maximum {config.maximum!r}; known: {', '.join(MAXIMA)}")
    if config.tau <= 0 or config.temperature <= 0:
        raise BadInput(f"tau is {config.tau} and temperature {config.temperature}; both must be above 0")


def noun_loss(
    regions: Tensor, present: Tensor, nouns: Nouns, table: Tensor, config: LossConfig, temperature: Tensor | float
) -> Tensor:
    """This process's nouns against the photos of all processes; "two-way" adds the regions against all nouns.

    regions [B, K, E], present [B, K] bool (False: the photo has fewer regions), table [M, E]: t_n by number.
    """
    everywhere, owners = gather(regions), Nouns(gather(nouns.owner + _first(regions)), gather(nouns.noun), nouns.weight)
    used, place = torch.unique(nouns.noun, return_inverse=True)
    scores = noun_scores(table[used], everywhere, gather(present), config.maximum, config.tau)
    shares = _shares(owners, used, len(everywhere))
    losses = contrast((scores / temperature)[place], nouns.owner + _first(regions), shares[place])
    loss = mean_over_ranks(losses, nouns.weight)
    if config.objective == "two-way":
        loss = loss + region_to_noun_loss(regions, present, nouns, table, config, temperature)
    return loss


def noun_scores(nouns: Tensor, regions: Tensor, present: Tensor, maximum: str = "soft", tau: float = 0.03) -> Tensor:
    """s(n, j) [N, J]: how well noun n [N, E] fits the best region of photo j, regions [J, K, E].

    "hard": the maximum over k of cos(t_n, R_jk); "soft": tau * log mean_k exp(cos / tau), which never exceeds it. (The
    mean instead of the sum: a photo does not gain by having more regions.)
    """
    cosine = torch.einsum("ne,jke->njk", nouns, regions).masked_fill(~present, -torch.inf)
    return _maximum(cosine, present.expand_as(cosine), maximum, tau)


def contrast(logits: Tensor, target: Tensor, left_out: Tensor) -> Tensor:
    """-log( exp(l_target) / sum_j exp(l_j) ) [N] of logits [N, J], without the j that `left_out` [N, J] names.

    target [N] int64; the target itself always stays.
    """
    others = left_out.scatter(1, target[:, None], False)
    kept = logits.masked_fill(others, -torch.inf)
    return torch.logsumexp(kept, dim=1) - logits.gather(1, target[:, None])[:, 0]


def region_to_noun_loss(
    regions: Tensor, present: Tensor, nouns: Nouns, table: Tensor, config: LossConfig, temperature: Tensor | float
) -> Tensor:
    """The way back, for comparison only (ours): every region has to fit one of its photo's own nouns.

    -log( exp(o/T) / (exp(o/T) + sum_m exp(cos(t_m, R_ik)/T)) ), o the maximum over the photo's nouns, m over the nouns
    of all processes that its sentences do not have; the mean over all regions of photos that have a noun.
    """
    used = torch.unique(gather(nouns.noun))
    if not len(used):
        return regions.sum() * 0
    own = _shares(nouns, used, len(regions)).T[:, None].expand(-1, regions.shape[1], -1)
    counted = present & own.any(-1)
    own, cosine = own[counted], torch.einsum("bke,ue->bku", regions, table[used])[counted]
    best = _maximum(cosine.masked_fill(~own, -torch.inf), own, config.maximum, config.tau)
    others = (cosine / temperature).masked_fill(own, -torch.inf)  # after the division: -inf / T has no gradient to T
    logits = torch.cat([(best / temperature)[:, None], others], dim=1)
    losses = torch.logsumexp(logits, dim=1) - logits[:, 0]
    return mean_over_ranks(losses, torch.ones_like(losses))


def image_sentence_loss(whole: Tensor, sentences: Sentences, temperature: Tensor | float) -> Tensor:
    """Symmetric InfoNCE of whole photos [B, E] and sentences; a photo's other sentences are no negatives of it.

    For every sentence: which photo of all processes is its own, and which sentence of all processes is that photo's.
    """
    photos, texts = gather(whole), gather(sentences.embedding)
    own, owners = sentences.owner + _first(whole), gather(sentences.owner + _first(whole))
    to_photo = sentences.embedding @ photos.T / temperature
    to_text = whole[sentences.owner] @ texts.T / temperature
    itself = torch.arange(len(own), device=own.device) + _first(sentences.owner)
    losses = contrast(to_photo, own, torch.zeros_like(to_photo, dtype=torch.bool))
    losses = (losses + contrast(to_text, itself, owners == own[:, None])) / 2
    return mean_over_ranks(losses, torch.ones_like(losses))


def _maximum(cosine: Tensor, among: Tensor, maximum: str, tau: float) -> Tensor:
    """Over the last axis, where `among` holds; `cosine` is -inf elsewhere."""
    if maximum == "hard":
        return cosine.amax(-1)
    count = among.sum(-1).clamp(min=1).to(cosine.dtype)
    return tau * (torch.logsumexp(cosine / tau, dim=-1) - count.log())


def _shares(nouns: Nouns, used: Tensor, photos: int) -> Tensor:
    """[len(used), photos] bool: which of the nouns numbered `used` (sorted) stand in whose sentences."""
    place = torch.searchsorted(used, nouns.noun).clamp(max=len(used) - 1)
    known = used[place] == nouns.noun if len(used) else torch.zeros_like(nouns.noun, dtype=torch.bool)
    shares = torch.zeros(len(used), photos, dtype=torch.bool, device=used.device)
    shares[place[known], nouns.owner[known]] = True
    return shares


def _first(rows: Tensor) -> int:
    """How many rows the ranks before this one have."""
    return sum(row_counts(rows)[: world()[0]])
