"""Regions and words -> evidence of each word in each region, and whether the photo has the word at all.

Legend: `K` regions (the last row of every table is the whole photo), `N` words, `E` text channels.
Evidence is in nats, the same scale for all words, since it is read against a bank of reference photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unsay.segmentation.lexicon import Lexicon
from unsay.segmentation.trunk import Array

SMALL = 0.05
"""Share of the photo under which a region's evidence counts less for the presence of a word."""


@dataclass(frozen=True)
class Constants:
    """One set for every photo and every data set; they lie in the bundle, docs/segmentation.md says how chosen."""

    head_weight: float = 1.0
    class_weight: float = 0.35
    class_floor: float = -7.0
    photo_weight: float = 0.5
    similar: float = 0.05
    narrower_margin: float = 0.3
    present_at: float = 1.0
    present_slope: float = 1.0
    behind_best: float = 3.0
    background_margin: float = 0.0
    threshold: float = 0.5
    background: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Regions:
    """What the networks say of a photo: `embeddings` [K + 1, E], `log_classes` [K + 1, 1000], `area` [K + 1] shares."""

    embeddings: Array
    log_classes: Array
    area: Array


@dataclass(frozen=True, eq=False)
class Queries:
    """N words as they are looked for.

    `vectors` [Q, E] of each word and its kinds, the word's own first, at `starts` [N]; each with its `mean` and `spread`
    [Q] over the reference photos and a `margin` [Q] that a kind has to pay. `classes` [N, 1000]: the share of each
    ImageNet class that counts for the word.
    """

    vectors: Array
    starts: npt.NDArray[np.int64]
    mean: Array
    spread: Array
    margin: Array
    classes: Array


def make_queries(words: Sequence[str], own: Array, lexicon: Lexicon, constants: Constants) -> Queries:
    """The queries of normalised words (at least one) whose own text embeddings are `own` [N, E]."""
    kinds = [lexicon.narrower.get(word, []) for word in words]
    starts = np.cumsum([0, *(1 + len(k) for k in kinds)])[:-1]
    vectors = np.concatenate([part for v, k in zip(own, kinds, strict=True) for part in (v[None], lexicon.vectors[k])])
    margin = np.full(len(vectors), constants.narrower_margin, np.float32)
    margin[starts] = 0.0
    mean = vectors @ lexicon.bank_mean
    spread = np.sqrt(np.maximum(np.einsum("qe,ef,qf->q", vectors, lexicon.bank_spread, vectors, optimize=True), 1e-8))
    return Queries(vectors, starts, mean, spread, margin, _class_shares(words, own, lexicon, constants))


def evidence(queries: Queries, regions: Regions, constants: Constants) -> Array:
    """How strongly each region (and the whole photo, last) speaks for each word, [N, K + 1] fp32."""
    scores = (queries.vectors @ regions.embeddings.T - queries.mean[:, None]) / queries.spread[:, None]
    head = np.maximum.reduceat(scores - queries.margin[:, None], queries.starts, axis=0)
    classes = np.log(queries.classes @ np.exp(regions.log_classes).T + 1e-9)
    classes = classes + constants.photo_weight * classes[:, -1:]
    known = np.maximum(classes - constants.class_floor, 0)
    return np.asarray(constants.head_weight * head + constants.class_weight * known, np.float32)


def presence(rows: Array, area: Array, constants: Constants) -> Array:
    """The calibrated scores [N] in [0, 1] that the photo has the words, from their evidence [N, K + 1]."""
    smallness = np.minimum(np.log(np.maximum(area[:-1], 1e-4) / SMALL), 0)
    strongest = (rows[:, :-1] + smallness).max(1)
    return np.asarray(1 / (1 + np.exp(-constants.present_slope * (strongest - constants.present_at))), np.float32)


def _class_shares(words: Sequence[str], own: Array, lexicon: Lexicon, constants: Constants) -> Array:
    shares = np.exp((own @ lexicon.class_vectors.T - 1) / constants.similar)
    for row, word in enumerate(words):
        shares[row, lexicon.classes.get(word, [])] = 1.0
    return np.asarray(shares, np.float32)
