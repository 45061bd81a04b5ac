"""Words -> masks on one photo: trunk, groups, region head, words, borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from unsay.bundle import Bundle
from unsay.errors import BadInput, BundleError
from unsay.options import SegmentOptions
from unsay.results import Pixels, Segmentation
from unsay.segmentation.borders import draw_borders
from unsay.segmentation.grouping import Agglomerative, Labels, patch_features
from unsay.segmentation.lexicon import Lexicon, load_lexicon
from unsay.segmentation.pieces import check_picks, pick_pieces
from unsay.segmentation.recognition import (
    Constants,
    Queries,
    Regions,
    background_evidence,
    calibrated,
    evidence,
    make_queries,
    presence,
    standing,
)
from unsay.segmentation.text import encode, load_tokenizer
from unsay.segmentation.trunk import Array, Maps, prepare, run_trunk, working_size
from unsay.segmentation.words import check_words

DRAWN = 640
"""Long side at which borders are drawn; larger photos get their masks from there, smoothly enlarged."""
NEAREST = 8


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo before any word is asked: `groups` [h, w] on the patch grid and what the networks say of each region."""

    groups: Labels
    regions: Regions


def segment_pixels(
    rgb: Pixels, words: Sequence[str], bundle: Bundle, options: SegmentOptions | None = None
) -> Segmentation:
    """Find each word in the photo. The same input gives the same result.

    rgb [H, W, 3] uint8 sRGB, any size from 1x1. Raises `BadInput` for words or options that cannot be used,
    `BundleError` for a bundle that cannot segment.
    """
    options = options or SegmentOptions()
    words = check_words(words)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise BadInput(f"the photo is {rgb.dtype} {rgb.shape}; expected uint8 [height, width, 3] of at least one pixel")
    check_picks(options, rgb.shape[0], rgb.shape[1])
    constants = read_constants(bundle)
    scene = look(rgb, bundle)
    queries = ask([*words, *unnamed_things(words, _lexicon(bundle), constants)], bundle, constants)
    rows = evidence(queries, scene.regions, constants)
    strength = presence(rows, constants)
    scores = calibrated(strength, constants)
    limits = np.full(len(scores), constants.threshold)
    limits[: len(words)] = thresholds(words, _lexicon(bundle), constants, options)
    present = (scores >= limits) & standing(strength, queries.animal, constants)
    background = background_rows(words, scene, bundle, constants)
    claims = rows[:, :-1].copy()
    claims[len(words) :] -= constants.thing_margin
    named = name_groups(claims, background[:, :-1], present)
    named[named > len(words)] = 0  # an unnamed thing won: the region is none of the user's words
    groups = at_size(scene.groups, rgb)
    labels = pick_pieces(enlarge(named[groups], rgb), options)
    seen = set(np.unique(labels).tolist())
    return Segmentation(
        words=words,
        labels=labels,
        scores={w: round(float(s), 4) for w, s in zip(words, scores, strict=False)},
        groups=enlarge(groups, rgb, smooth=False),
        found=tuple(w for i, w in enumerate(words, start=1) if i in seen),
        nearest=nearest_words(scene, bundle, constants),
    )


def read_constants(bundle: Bundle) -> Constants:
    """The constants that the bundle's manifest holds; what it leaves out keeps its default."""
    section = bundle.section("segment")
    known = {f.name for f in fields(Constants)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in section.items() if k in known}
    return Constants(**values)


def look(rgb: Pixels, bundle: Bundle) -> Scene:
    """Everything about a photo that no word changes: one pass of the trunk, the groups, all regions in one pass."""
    section = _section(bundle)
    size = working_size(rgb.shape[0], rgb.shape[1], int(section["side"]))
    maps = run_trunk(bundle.session(section["trunk"]), prepare(rgb, size))
    groups = Agglomerative(int(section["groups"]))(patch_features(maps))
    return Scene(groups, describe(groups, maps, bundle.session(section["head"])))


def describe(groups: Labels, maps: Maps, session: Any) -> Regions:
    """All regions and, last, the whole photo through the region head in one pass."""
    shares = coverage(groups, *maps.wide.shape[1:])
    wide = np.ascontiguousarray(maps.wide.reshape(len(maps.wide), -1).T)
    embeddings, logits = session.run(["embeddings", "logits"], {"wide": wide, "coverage": shares})
    logits = logits - logits.max(1, keepdims=True)
    return Regions(embeddings, logits - np.log(np.exp(logits).sum(1, keepdims=True)), shares.mean(1))


def coverage(groups: Labels, height: int, width: int) -> Array:
    """Groups on the fine grid -> share of each coarse patch in each group, and a last row of ones, [K + 1, P] fp32."""
    rows = [
        cv2.resize((groups == k).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA).reshape(-1)
        for k in range(int(groups.max()) + 1)
    ]
    return np.stack([*rows, np.ones(height * width, np.float32)])


def ask(words: Sequence[str], bundle: Bundle, constants: Constants) -> Queries:
    """The queries of the words as given; those of the bundle's own vocabulary need no text encoder."""
    section, lexicon = _section(bundle), _lexicon(bundle)
    normal = [lexicon.normal(w) for w in words]
    vectors = {w: lexicon.vectors[lexicon.index[w]] for w in normal if w in lexicon.index}
    unknown = sorted(set(normal) - set(vectors))
    if unknown:
        tokenizer = load_tokenizer(bundle, section["tokenizer"])
        sentences = [section["template"].format(w) for w in unknown]
        vectors |= dict(zip(unknown, encode(sentences, bundle.session(section["text"]), tokenizer), strict=True))
    return make_queries(normal, np.stack([vectors[w] for w in normal]), lexicon, constants)


def thresholds(words: Sequence[str], lexicon: Lexicon, constants: Constants, options: SegmentOptions) -> Array:
    """The score [N] from which each word counts as found: the user's own, or the bundle's constants.

    A word that no list knows, in whole or by its last part, may be a slip of the finger: it has to be surer.
    """
    if options.threshold is not None:
        return np.full(len(words), options.threshold, np.float32)
    normal = [lexicon.normal(w) for w in words]
    known = [lexicon.known(w) or lexicon.known(w.rpartition(" ")[2]) for w in normal]
    return np.where(known, constants.threshold, constants.unknown_threshold).astype(np.float32)


def unnamed_things(words: Sequence[str], lexicon: Lexicon, constants: Constants) -> list[str]:
    """Common things that compete with the user's words as if they had been named too: a cat is no answer to "dog".

    Left out: those that the user named, and those that WordNet puts under a named word or a named word under (by the
    nouns that it knows, or by the ImageNet classes that both cover: a heron is a bird).
    """
    named = {lexicon.normal(w) for w in words}
    kinds = {lexicon.vocabulary[i] for w in named for i in lexicon.narrower.get(w, [])}
    covered = [classes for w in named if (classes := set(lexicon.classes.get(w, [])))]

    def above(thing: str) -> bool:
        known = any(lexicon.vocabulary[i] in named for i in lexicon.narrower.get(thing, []))
        return known or any(classes <= set(lexicon.classes.get(thing, [])) for classes in covered)

    return [t for t in constants.things if t not in named and t not in kinds and not above(t)]


def background_rows(words: Sequence[str], scene: Scene, bundle: Bundle, constants: Constants) -> Array:
    """Evidence of the background words [B, K + 1], without those that the user named."""
    lexicon = _lexicon(bundle)
    named = {lexicon.normal(w) for w in words}
    kept = [w for w in constants.background if w not in named]
    if not kept:
        return np.full((1, len(scene.regions.area)), -np.inf, np.float32)
    return background_evidence(ask(kept, bundle, constants), scene.regions, constants)


def name_groups(rows: Array, rivals: Array, present: np.ndarray) -> Labels:
    """The label of each group [K] int32: 0, or i where the i-th word is present, wins, and beats the background.

    rows [N, K] evidence of the words, rivals [B, K] that of the background, present [N] bool.
    """
    values = np.where(present[:, None], rows, -np.inf)
    wins = (values.max(0) >= rivals.max(0)) & present.any()
    return np.where(wins, values.argmax(0) + 1, 0).astype(np.int32)


def at_size(groups: Labels, rgb: Pixels) -> Labels:
    """Groups with drawn borders at the size at which borders are drawn: long side at most `DRAWN`."""
    height, width = rgb.shape[:2]
    scale = min(1.0, DRAWN / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    return draw_borders(groups, np.asarray(small, np.uint8))


def enlarge(labels: Labels, rgb: Pixels, smooth: bool = True) -> Labels:
    """Labels -> the photo's size [H, W] int32. Smooth: outlines are interpolated and have no steps."""
    size = (rgb.shape[1], rgb.shape[0])
    if labels.shape == rgb.shape[:2]:
        return np.asarray(labels, np.int32)
    values = np.unique(labels)
    if not smooth or len(values) == 1:
        return np.asarray(cv2.resize(labels.astype(np.int16), size, interpolation=cv2.INTER_NEAREST), np.int32)
    best = np.zeros(size[::-1], np.uint8)
    out = np.full(size[::-1], values[0], np.int32)
    for value in values:
        soft = cv2.resize((labels == value).astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR)
        wins = soft > best
        out[wins] = value
        np.copyto(best, soft, where=wins)
    return out


def nearest_words(scene: Scene, bundle: Bundle, constants: Constants) -> tuple[str, ...]:
    """Words of the bundle's own list that the photo contains, best first."""
    lexicon = _lexicon(bundle)
    words = [lexicon.vocabulary[i] for i in lexicon.visible]
    queries = bundle.part("own list", lambda: ask(words, bundle, constants))
    scores = calibrated(presence(evidence(queries, scene.regions, constants), constants), constants)
    best = np.argsort(-scores, kind="stable")[:NEAREST]
    return tuple(words[i] for i in best if scores[i] >= constants.threshold)


def _lexicon(bundle: Bundle) -> Lexicon:
    section = _section(bundle)
    return load_lexicon(bundle, section["words"], section["vectors"])


def _section(bundle: Bundle) -> dict[str, Any]:
    section = bundle.section("segment")
    missing = [k for k in ("trunk", "head", "text", "tokenizer", "words", "vectors", "template") if k not in section]
    if missing:
        raise BundleError(f"the bundle {bundle.name!r} has no {missing[0]!r} in its segment part: install it again")
    return section
