"""What a step reads, one photo and a batch of them.

Legend: B photos, S sentences, N noun-photo pairs, E text channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from unsay.training.segment_loss import Nouns, Sentences


class Sample(NamedTuple):
    """One photo: `inputs` [C, h', w'] fp16 maps or [3, H, W] fp32 pixels, `groups` [h, w] int8, the numbers and counts
    of its nouns, the embeddings [s, E] of its sentences.
    """

    inputs: Tensor
    groups: Tensor
    nouns: Tensor
    counts: Tensor
    sentences: Tensor


class Position(NamedTuple):
    """Where a stream of prepared shards stands behind a batch: its number, the draw of shards it is in, how many of
    that draw's pairs were taken; and how many pairs were passed over on the way from the batch before.
    """

    stream: int
    draw: int
    taken: int
    skipped: int


class Batch(NamedTuple):
    """The same for B photos: `inputs` [B, ...], `groups` [B, h, w]; all nouns and sentences with their photos.

    `position`: of a batch that was streamed.
    """

    inputs: Tensor
    groups: Tensor
    nouns: Nouns
    sentences: Sentences
    position: Position | None = None


def collate(samples: list[Sample]) -> Batch:
    """Samples of one size -> a batch; the weight of a noun is its number of sentences."""
    inputs, groups, nouns, counts, sentences = (list(column) for column in zip(*samples, strict=True))
    return Batch(
        torch.stack(inputs),
        torch.stack(groups),
        Nouns(_owners(nouns), torch.cat(nouns), torch.cat(counts).float()),
        Sentences(torch.cat(sentences), _owners(sentences)),
    )


def _owners(parts: list[Tensor]) -> Tensor:
    counts = torch.tensor([len(part) for part in parts])
    return torch.repeat_interleave(torch.arange(len(parts)), counts)
