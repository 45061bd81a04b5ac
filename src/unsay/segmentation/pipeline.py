"""Words -> masks on one photo: look, ask, recognise, name the groups, draw their borders, cut along the colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.options import SegmentOptions
from unsay.results import Pixels, Segmentation
from unsay.segmentation.asking import ask, background_words, read_constants, thresholds, unnamed_things
from unsay.segmentation.grouping import Labels
from unsay.segmentation.lexicon import bundle_lexicon
from unsay.segmentation.outlines import colours_for, follow_colours
from unsay.segmentation.pieces import check_picks, pick_pieces
from unsay.segmentation.recognition import (
    Constants,
    background_evidence,
    calibrated,
    evidence,
    name_groups,
    presence,
    standing,
)
from unsay.segmentation.regions import Scene, look
from unsay.segmentation.sizes import at_size, enlarge
from unsay.segmentation.vision import Array
from unsay.segmentation.words import check_words

NEAREST = 8


@dataclass(frozen=True, eq=False)
class Seen:
    """A photo that was looked at: all that is needed to find words in it, none of its pixels at full size.

    `groups` [h, w] int32: the scene's, borders drawn, long side at most 640. `colours` [h', w', 3] uint8: the photo as
    outlines see it. `shape`: the photo's height and width. `nearest`: words of the bundle's own list that it contains.
    """

    scene: Scene
    groups: Labels
    colours: Pixels
    shape: tuple[int, int]
    nearest: tuple[str, ...]


def segment_pixels(
    rgb: Pixels, words: Sequence[str], bundle: Bundle, options: SegmentOptions | None = None
) -> Segmentation:
    """Find each word in the photo. The same input gives the same result.

    rgb [H, W, 3] uint8 sRGB, any size from 1x1. Without words, but with a point, the region there is found, whatever it
    is called. Raises `BadInput` for words or options that cannot be used, `BundleError` for a bundle that cannot
    segment.
    """
    options = options or SegmentOptions()
    words = _checked(words, options)
    _check_pixels(rgb)
    check_picks(options, rgb.shape[0], rgb.shape[1])
    return find(see(rgb, bundle), words, bundle, options)


def see(rgb: Pixels, bundle: Bundle) -> Seen:
    """Look at a photo [H, W, 3] uint8 sRGB once, so that any words can then be found in it. Raises as
    `segment_pixels` does.
    """
    _check_pixels(rgb)
    with bundle.answering("segment"):
        scene = look(rgb, bundle)
        nearest = nearest_words(scene, bundle, read_constants(bundle))
    groups = at_size(scene.groups, rgb)
    return Seen(scene, groups, colours_for(groups.shape, rgb), (rgb.shape[0], rgb.shape[1]), nearest)


def find(seen: Seen, words: Sequence[str], bundle: Bundle, options: SegmentOptions | None = None) -> Segmentation:
    """Find each word in a photo that was looked at: exactly what `segment_pixels` finds. Raises as it does."""
    options = options or SegmentOptions()
    words = _checked(words, options)
    check_picks(options, *seen.shape)
    if not words:
        return _region_at(seen, options)
    with bundle.answering("segment"):  # words, options and photo were checked
        named, scores = recognise(seen.scene, words, bundle, read_constants(bundle), options)
    drawn = named[seen.groups]
    if options.outlines:
        drawn = follow_colours(drawn, seen.colours)
    labels = pick_pieces(enlarge(drawn, seen.shape), options)
    counts = np.bincount(labels.ravel(), minlength=len(words) + 1)
    return Segmentation(
        words=words,
        labels=labels,
        scores={w: round(float(s), 4) for w, s in zip(words, scores, strict=False)},
        groups=enlarge(seen.groups, seen.shape, smooth=False),
        found=tuple(w for i, w in enumerate(words, start=1) if counts[i]),
        nearest=seen.nearest,
    )


def _checked(words: Sequence[str], options: SegmentOptions) -> tuple[str, ...]:
    """The words as they are looked for; none where a point stands for them."""
    return () if len(words) == 0 and options.point is not None else check_words(words)


def _region_at(seen: Seen, options: SegmentOptions) -> Segmentation:
    """The connected region under the options' point: one word for it, "what is at X,Y", found for certain."""
    x, y = options.point or (0, 0)
    word = f"what is at {x},{y}"
    groups = enlarge(seen.groups, seen.shape, smooth=False)
    smooth = enlarge(seen.groups, seen.shape)
    labels = pick_pieces((smooth == smooth[y, x]).astype(np.int32), options)
    found = (word,) if labels.any() else ()
    return Segmentation((word,), labels, {word: float(bool(found))}, groups, found, seen.nearest)


def _check_pixels(rgb: Pixels) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise BadInput(f"the photo is {rgb.dtype} {rgb.shape}; expected uint8 [height, width, 3] of at least one pixel")


def recognise(
    scene: Scene, words: Sequence[str], bundle: Bundle, constants: Constants, options: SegmentOptions
) -> tuple[np.ndarray, Array]:
    """The label of each group [K] int32 (0, or i for the i-th word) and the score of each word [N] in [0, 1]."""
    lexicon = bundle_lexicon(bundle)
    asked = [*words, *unnamed_things(words, lexicon, constants)]
    queries = ask(asked, bundle, constants)
    reference = _reference(scene, bundle, constants)
    rows = evidence(queries, scene.regions, constants) - reference
    strength = presence(rows, constants)
    scores = calibrated(strength, queries, constants)
    limits = thresholds(asked, lexicon, queries, constants)
    if options.threshold is not None:
        limits[: len(words)] = options.threshold
    present = (scores >= limits) & standing(rows, strength, queries, len(words), constants)
    claims = rows[:, :-1].copy()
    claims[len(words) :] -= constants.thing_margin
    rivals = _background(words, scene, bundle, constants) - reference[:-1]
    named = name_groups(claims, rivals, present, constants)
    named[named > len(words)] = 0  # an unnamed thing won: the region is none of the user's words
    return named, scores[: len(words)]


def _background(words: Sequence[str], scene: Scene, bundle: Bundle, constants: Constants) -> Array:
    """Evidence of the background words in each group [B, K], without those that the user named."""
    kept = background_words(words, bundle_lexicon(bundle), constants)
    if not kept:
        return np.full((1, len(scene.regions.area) - 1), -np.inf, np.float32)
    return background_evidence(ask(kept, bundle, constants), scene.regions, constants)[:, :-1]


def _reference(scene: Scene, bundle: Bundle, constants: Constants) -> Array:
    """What evidence is read against, per region [K + 1]: nothing where a lexicon's bank gives it a scale; else the mean
    evidence of the words that always compete.
    """
    words = [*constants.things, *constants.background]
    if bundle_lexicon(bundle).vocabulary or not words:
        return np.zeros(len(scene.regions.area), np.float32)
    queries = bundle.part("competing words", lambda: ask(words, bundle, constants))
    return np.asarray(evidence(queries, scene.regions, constants).mean(0), np.float32)


def nearest_words(scene: Scene, bundle: Bundle, constants: Constants) -> tuple[str, ...]:
    """Words of the bundle's own list (its background and things where it has none) that the photo contains."""
    lexicon = bundle_lexicon(bundle)
    visible = [lexicon.vocabulary[i] for i in lexicon.visible]
    words = list(dict.fromkeys([*constants.things, *(visible or constants.background)]))
    if not words:
        return ()
    queries = bundle.part("own list", lambda: ask(words, bundle, constants))
    rows = evidence(queries, scene.regions, constants) - _reference(scene, bundle, constants)
    scores = calibrated(presence(rows, constants), queries, constants)
    limits = thresholds(words, lexicon, queries, constants)
    best = np.argsort(-scores, kind="stable")[:NEAREST]
    return tuple(words[i] for i in best if scores[i] >= limits[i])
