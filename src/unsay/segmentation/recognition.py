"""Regions and words -> evidence of each word in each region, and whether the photo has the word at all.

Legend: `K` regions (the last row of every table is the whole photo), `N` words, `E` text channels.
Evidence is on one scale for all words: the head's cosines, in units that grow with how far the word's cosines spread
over reference photos, and the log share of the trunk's own classes that the word covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unsay.segmentation.lexicon import Lexicon
from unsay.segmentation.regions import Regions
from unsay.segmentation.vision import Array

ANIMAL_CLASSES = 398
"""ImageNet's classes before this one are animals."""
MOSTLY = 0.5
"""A word whose head is trusted less than this is taken for its relatives among the classes too."""

_BACKGROUND = (
    "sky grass tree water road wall building ground field sand snow rock floor mountain dirt fence forest river "
    "street beach ocean sidewalk carpet bed hill window door leaf bush flower blanket background room cage hay mud"
)
_THINGS = "person dog cat horse cow sheep bird car bus truck bicycle motorcycle boat train chair sofa table ball"
BACKGROUND = tuple(_BACKGROUND.split())
"""What a region may be when it is none of the words: one list for every photo and every data set."""
THINGS = tuple(_THINGS.split())
"""Common things that compete with the words as if they had been named too."""


@dataclass(frozen=True)
class Constants:
    """One set for every photo and every data set; they lie in the bundle, docs/segmentation.md says how chosen."""

    unit: float = 0.1
    """Cosine that counts as one unit of evidence, for a word whose scores spread by as much over reference photos."""
    temperature: float = 0.01
    """CLIP's T: the unit of a bundle without a lexicon, whose evidence is read against that of the competing words."""
    kind_margin: float = 0.8
    """What a kind of the word ("girl" for "woman") has to beat the word itself by, where sentences use the word; less
    as they rather use its kinds ("man" for "person").
    """
    kind_photos: int = 100
    """Training photos from which a kind is known well enough to speak for a word."""
    trust_photos: float = 100.0
    """Of a noun of n training photos, n / (n + this) of the head's evidence counts where ImageNet's classes speak."""
    alone: float = 0.0
    """How much more the classes count where the head is not trusted at all."""
    whole_head: float = 0.5
    """The head's evidence for the whole photo: this much of the best region's, the rest the whole's own."""
    class_weight: float = 0.5
    class_floor: float = -6.0
    """Log share of the trunk's classes from which they count, and the units that each nat above it is worth."""
    similar: float = 0.03
    """Distance in text space (1 - cosine) over which a class name's share falls by e, where WordNet knows no more."""
    unseen_scale: float = 1.3
    unseen_bonus: float = 0.5
    """Scale and bonus of words that the trunk's classes do not cover, people above all: the head alone speaks."""
    worn_weight: float = 0.0
    worn_floor: float = -6.0
    """What each nat of the log share of garments and the like above the floor is worth for people, in units."""
    related_scale: float = 1.0
    related_weight: float = 0.5
    related_floor: float = -6.0
    related_similar: float = 0.05
    related_bonus: float = 0.0
    """Words without classes of their own, but with relatives among them ("giraffe": "gazelle"): the scale of the head's
    evidence; the units that each nat of the relatives' log share above the floor is worth; the distance in text space
    over which a class's share falls by e; and what is added.
    """
    background_classes: float = 0.4
    background_margin: float = 0.75
    """Weight of the classes in background words, and what a word must beat the best of them by in a region."""
    best_region: float = 0.4
    """How much the best region counts for the presence of a word; the rest is the photo as a whole."""
    behind_best: float = 2.0
    behind_rival: float = 0.15
    """Words with ImageNet classes whose presence lies further behind the best such word's, and animals that lie further
    behind the best animal's, are not in the photo: classes take each other's share. Others stand by themselves.
    """
    behind_here: float = -0.5
    """An animal that in its own best region lies further behind an animal that nobody named is not in the photo; below
    0 it has to lead by as much. Elsewhere the photo can hold both.
    """
    middle: float = 0.5
    lead: float = 0.0
    """In a region a word must lead the best background word by a limit: `middle` parts of the middle of the word's
    leads in this photo, the rest `lead`.
    """
    present_at: float = 3.0
    present_slope: float = 1.7
    unseen_at: float = 3.0
    unseen_slope: float = 1.7
    related_at: float = 3.0
    related_slope: float = 1.7
    """Presence at which a word is as likely there as not and the slope there, with ImageNet classes, without, and with
    relatives among them: the score of a word is its probability to be there, were it asked of as many photos that have
    it as of others.
    """
    threshold: float = 0.5
    unseen_threshold: float = 0.5
    related_threshold: float = 0.5
    unknown_threshold: float = 0.9
    """The score from which a word is found: with ImageNet classes, without, with relatives among them, and a word that
    no list knows.
    """
    background: tuple[str, ...] = BACKGROUND
    things: tuple[str, ...] = THINGS
    thing_margin: float = 0.75
    """Words that compete for regions in every photo, named or not. In a region a named word has to beat background
    words by `background_margin`; an unnamed thing has to beat a named word by `thing_margin`.
    """


@dataclass(frozen=True, eq=False)
class Queries:
    """N words as they are looked for.

    `vectors` [Q, E] of each word and its kinds, the word's own first, at `starts` [N]; each with the cosine that is one
    `unit` of evidence [Q] and a `margin` [Q] that a kind has to pay. `classes` [N, 1000]: the share of each ImageNet
    class that counts for the word; `covered` [N]: whether WordNet puts any class under it; `animal` [N]: whether those
    are animals; `trust` [N] in 0..1: how much the head's evidence counts for a covered word; `related` [N, 1000]: the
    share of each class as a relative; `kin` [N]: whether a word that is not covered is taken for them; `people` [N]:
    whether it is a word for people that the head knows, `worn` [1000]: the classes that speak for it.
    """

    vectors: Array
    starts: npt.NDArray[np.int64]
    unit: Array
    margin: Array
    classes: Array
    covered: npt.NDArray[np.bool_]
    animal: npt.NDArray[np.bool_]
    trust: Array
    related: Array
    kin: npt.NDArray[np.bool_]
    people: npt.NDArray[np.bool_]
    worn: Array


def make_queries(words: Sequence[str], own: Array, lexicon: Lexicon, constants: Constants) -> Queries:
    """The queries of normalised words (at least one) whose own text embeddings are `own` [N, E]."""
    heads = [lexicon.head(word) for word in words]
    known = constants.kind_photos
    kinds = [[i for i in lexicon.narrower.get(head, []) if lexicon.photos[i] >= known] for head in heads]
    starts = np.cumsum([0, *(1 + len(k) for k in kinds)])[:-1]
    rows = [part for v, k in zip(own, kinds, strict=True) for part in ([v], [lexicon.vectors[i] for i in k])]
    vectors = np.array([row for part in rows for row in part], np.float32)
    margin = np.concatenate([_margins(head, k, lexicon, constants) for head, k in zip(heads, kinds, strict=True)])
    classes = [lexicon.classes.get(head, []) for head in heads]
    covered = np.array([bool(c) for c in classes])
    animal = np.array([bool(c) and min(c) < ANIMAL_CLASSES for c in classes])
    seen = np.array(
        [max([lexicon.seen(h), *(lexicon.photos[i] for i in k)]) for h, k in zip(heads, kinds, strict=True)]
    )
    trust = (seen / (seen + max(constants.trust_photos, 1e-6))).astype(np.float32)
    kin = ~covered & np.array([h in lexicon.related for h in heads]) & (trust < MOSTLY)
    shares, related = _class_shares(heads, own, lexicon, constants), _related_shares(heads, own, lexicon, constants)
    people = ~covered & ~kin & np.array([h in lexicon.people for h in heads])
    worn = np.zeros(shares.shape[1], np.float32)
    worn[lexicon.worn] = 1.0
    units = _units(vectors, lexicon, constants)
    return Queries(vectors, starts, units, margin, shares, covered, animal, trust, related, kin, people, worn)


def _margins(word: str, kinds: list[int], lexicon: Lexicon, constants: Constants) -> Array:
    """0 for the word itself, then what each of its kinds has to pay, [1 + kinds]."""
    own, theirs = lexicon.seen(word), sum(lexicon.photos[i] for i in kinds)
    used = own / max(1, own + theirs)
    return np.array([0.0, *(constants.kind_margin * used for _ in kinds)], np.float32)


def _units(vectors: Array, lexicon: Lexicon, constants: Constants) -> Array:
    """The cosine that is one unit of evidence, per query [Q]; see `Constants.unit` and `Constants.temperature`."""
    if not lexicon.bank_spread.size:
        return np.full(len(vectors), constants.temperature, np.float32)
    spread = np.sqrt(np.maximum(np.einsum("qe,qe->q", vectors @ lexicon.bank_spread, vectors), 1e-6))
    return np.asarray(np.sqrt(spread * constants.unit), np.float32)


def evidence(queries: Queries, regions: Regions, constants: Constants) -> Array:
    """How strongly each region (and the whole photo, last) speaks for each word, [N, K + 1] fp32."""
    head = _head_evidence(queries, regions)
    head[:, -1] += constants.whole_head * (head[:, :-1].max(1) - head[:, -1])
    classes = _class_evidence(queries, regions, constants) * constants.class_weight
    trust = queries.trust[:, None]
    both = trust * head + (1 + constants.alone * (1 - trust)) * classes
    other = constants.unseen_scale * head + constants.unseen_bonus
    if queries.people.any():
        worn = constants.worn_weight * _log_share(queries.worn[None], regions, constants.worn_floor)
        other += queries.people[:, None] * worn
    if queries.kin.any():
        relatives = constants.related_weight * _log_share(queries.related, regions, constants.related_floor)
        kin = constants.related_scale * head + relatives + constants.related_bonus
        other = np.where(queries.kin[:, None], kin, other)
    return np.asarray(np.where(queries.covered[:, None], both, other), np.float32)


def background_evidence(queries: Queries, regions: Regions, constants: Constants) -> Array:
    """The same for background words, which are no things that the trunk was taught: its classes count less."""
    classes = _class_evidence(queries, regions, constants) * constants.background_classes
    return np.asarray(_head_evidence(queries, regions) + classes + constants.background_margin, np.float32)


def presence(rows: Array, constants: Constants) -> Array:
    """How strongly the photo speaks for having each word, [N] fp32, from the evidence [N, K + 1]."""
    region = constants.best_region
    return np.asarray((1 - region) * rows[:, -1] + region * rows[:, :-1].max(1), np.float32)


def calibrated(strength: Array, queries: Queries, constants: Constants) -> Array:
    """Presence [N] as scores in [0, 1]; words with classes, with relatives and others each have their own curve."""
    at = _by_kind(queries, constants.present_at, constants.related_at, constants.unseen_at)
    slope = _by_kind(queries, constants.present_slope, constants.related_slope, constants.unseen_slope)
    return np.asarray(1 / (1 + np.exp(slope * (at - strength))), np.float32)


def limits(queries: Queries, known: npt.NDArray[np.bool_], constants: Constants) -> Array:
    """The score [N] from which each word counts as found; `known` [N]: whether any list has it."""
    own = _by_kind(queries, constants.threshold, constants.related_threshold, constants.unseen_threshold)
    return np.where(known, own, constants.unknown_threshold).astype(np.float32)


def name_groups(
    claims: Array, rivals: Array, present: npt.NDArray[np.bool_], constants: Constants
) -> npt.NDArray[np.int32]:
    """The label of each group [K] int32: 0, or i where the i-th word is present, wins, and stands out.

    claims [N, K] evidence of the words, rivals [B, K] that of the background, present [N] bool.
    A word stands out where its lead over the best background word passes a limit between 0 and the middle of its
    leads in this photo: how strongly a thing speaks differs more between photos than between its parts.
    """
    rival = rivals.max(0)
    lead = claims - np.where(np.isfinite(rival), rival, 0.0)
    middle = (lead.max(1) + lead.min(1)) / 2
    limit = constants.middle * middle + (1 - constants.middle) * constants.lead
    values = np.where(present[:, None] & (lead >= limit[:, None]), claims, -np.inf)
    return np.where(np.isfinite(values.max(0)), values.argmax(0) + 1, 0).astype(np.int32)


def standing(rows: Array, strength: Array, queries: Queries, named: int, constants: Constants) -> npt.NDArray[np.bool_]:
    """Which words [N] are not driven out by others: classes take each other's share.

    The first `named` words are the user's; the rest are things that only compete, each in the region in which a word is
    strongest. rows [N, K + 1]: the evidence; strength [N]: presence.
    """
    mine = strength[:named]
    best = mine[queries.covered[:named]].max(initial=-np.inf)
    rival = mine[queries.animal[:named]].max(initial=-np.inf)
    place = rows[:, :-1].argmax(1)
    here = rows[np.arange(len(rows)), place]
    other = rows[named:][queries.animal[named:]][:, place].max(0, initial=-np.inf)
    behind = queries.covered & (strength < best - constants.behind_best)
    behind |= queries.animal & (strength < rival - constants.behind_rival)
    behind[:named] |= queries.animal[:named] & (here < other - constants.behind_here)[:named]
    return np.asarray(~behind)


def _head_evidence(queries: Queries, regions: Regions) -> Array:
    scores = (queries.vectors @ regions.embeddings.T) / queries.unit[:, None] - queries.margin[:, None]
    return np.asarray(np.maximum.reduceat(scores, queries.starts, axis=0), np.float32)


def _class_evidence(queries: Queries, regions: Regions, constants: Constants) -> Array:
    return _log_share(queries.classes, regions, constants.class_floor)


def _log_share(shares: Array, regions: Regions, floor: float) -> Array:
    """Log of the classes' shares above the floor, [N, K + 1]; 0 where the bundle knows no classes."""
    if not regions.logits.shape[1]:
        return np.zeros((len(shares), len(regions.logits)), np.float32)
    return np.asarray(np.maximum(np.log(shares @ _softmax(regions.logits).T + 1e-9) - floor, 0), np.float32)


def _by_kind(queries: Queries, covered: float, kin: float, other: float) -> Array:
    return np.where(queries.covered, covered, np.where(queries.kin, kin, other)).astype(np.float32)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def _class_shares(words: Sequence[str], own: Array, lexicon: Lexicon, constants: Constants) -> Array:
    if not lexicon.class_vectors.size:
        return np.zeros((len(words), 0), np.float32)
    shares = np.exp((own @ lexicon.class_vectors.T - 1) / constants.similar)
    for row, word in enumerate(words):
        shares[row, lexicon.classes.get(word, [])] = 1.0
    return np.asarray(shares, np.float32)


def _related_shares(words: Sequence[str], own: Array, lexicon: Lexicon, constants: Constants) -> Array:
    """One over the size of the smallest family that a class shares with the word, and more for names alike."""
    if not lexicon.class_vectors.size:
        return np.zeros((len(words), 0), np.float32)
    shares = np.exp((own @ lexicon.class_vectors.T - 1) / constants.related_similar)
    for row, word in enumerate(words):
        near = np.zeros(shares.shape[1], np.float32)
        for family in lexicon.related.get(word, []):
            near[family] = np.maximum(near[family], 1 / len(family))
        shares[row] += near
    return np.asarray(shares, np.float32)
