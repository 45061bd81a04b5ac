"""Words -> patches: find what the words name, make one hole of it, fill the hole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unsay.bundle import Bundle
from unsay.errors import NotFound
from unsay.inpainting import fill_hole, grown_hole, settled
from unsay.options import EraseOptions, SegmentOptions
from unsay.results import Mask, Patch, Pixels, Segmentation
from unsay.segmentation import segment_pixels
from unsay.segmentation.asking import read_constants

EVERYTHING = EraseOptions()
"""Every region of each word, the rim chosen from the size."""
SHOWN = 8
"""Words listed in a message; the whole list is in `NotFound.scores`."""
NO_WORD_NEEDED = "or give a point on it in place of the word"


@dataclass(frozen=True, eq=False)
class Erased:
    """What is to be laid over the photo, and why. `hole` [H, W] bool: the grown hole, outside which nothing changes."""

    patches: list[Patch]
    hole: Mask
    segmentation: Segmentation


def erase_pixels(
    rgb: Pixels, words: Sequence[str], bundle: Bundle, options: EraseOptions = EVERYTHING, *, dry_run: bool = False
) -> Erased:
    """Erase the things that `words` name from `rgb` [H, W, 3] uint8.

    Words that are not found are left out and listed in the segmentation. With `dry_run` the hole is found, not filled.
    Raises `NotFound` if none was found, `BadInput` for words or options that cannot be used, or a hole that leaves
    nothing to fill from.
    """
    segmentation = found_pixels(rgb, words, bundle, options.segment)
    inpaint = settled(options.inpaint, rgb.shape)
    hole = grown_hole(np.asarray(segmentation.labels > 0), inpaint)
    patches = [] if dry_run else fill_hole(rgb, hole, bundle, replace(inpaint, grow=0))
    return Erased(patches, hole, segmentation)


def found_pixels(rgb: Pixels, words: Sequence[str], bundle: Bundle, options: SegmentOptions) -> Segmentation:
    """Where the words are in `rgb` [H, W, 3] uint8. Raises `NotFound`, with what would help, if none is anywhere."""
    found = segment_pixels(rgb, words, bundle, options)
    if found.found:
        return found
    own = read_constants(bundle)
    limit = max(own.threshold, own.unseen_threshold) if options.threshold is None else options.threshold
    lower = just_under(max((score for score in found.scores.values() if score < limit), default=0.0))
    easier = segment_pixels(rgb, words, bundle, replace(options, threshold=lower)).found if lower > 0 else ()
    raise nothing_found(found, options, limit, (lower, easier[0]) if easier else None)


def just_under(score: float) -> float:
    """The largest threshold of two places that the score reaches."""
    return math.floor(100 * score + 1e-9) / 100


def nothing_found(
    segmentation: Segmentation, options: SegmentOptions, limit: float, easier: tuple[float, str] | None
) -> NotFound:
    """The error for a photo that shows none of the words: what was looked for, how near it came, what is there.

    `limit`: the highest threshold for known words; `easier`: a threshold that was tried, and what is found with it.
    """
    ranked = sorted(segmentation.scores.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{word} ({score:.2f})" for word, score in ranked[:SHOWN])
    more = f" and {len(ranked) - SHOWN} more" if len(ranked) > SHOWN else ""
    where = " inside the box" if options.box else " at the point" if options.point else ""
    there = ", ".join(segmentation.nearest[:SHOWN])
    advice = f"the photo seems to show: {there}" if there else "try another word"
    beaten = ", ".join(word for word, score in ranked if score >= limit)
    why = f"; something else fits better wherever {beaten} may be" if beaten else ""
    way = f"a threshold of {easier[0]:g} takes something for {easier[1]}" if easier else NO_WORD_NEEDED
    message = f"not found{where}: {shown}{more}{why}; {advice}; {way}"
    return NotFound(message, dict(segmentation.scores), list(segmentation.nearest))
