"""A bundle's sentence encoder on choosing data: speed of a new phrase, presence and masks with and without the lexicon.

    python benchmarks/text_encoder.py BUNDLE... [--data ../shared/data] [--speed-only]

The first bundle is what others are compared with: cosines to its embeddings of the lexicon's nouns, and how many nouns
have the same nearest class name. "without": every vector that the lexicon keeps of a noun is made by the bundle's
encoder instead. One thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from unsay.bundle import Bundle, load_bundle
from unsay.evaluation.presence import evaluate_presence
from unsay.evaluation.segment import evaluate_segment
from unsay.segmentation.asking import _queries
from unsay.segmentation.lexicon import bundle_lexicon
from unsay.segmentation.text import word_vectors
from unsay.segmentation.vision import Array

COLOURS = ["red", "blue", "green", "yellow", "white", "black", "brown", "old", "small", "big", "wooden", "wet"]
THINGS = ["dog", "car", "tree", "umbrella", "otter"]


def speed(bundle: Bundle) -> float:
    """Median milliseconds of one phrase that was not asked before, tokenizer included, warm."""
    word_vectors(["warm", "warm water"], bundle)
    taken = []
    for phrase in (f"{colour} {thing}" for colour in COLOURS for thing in THINGS):
        since = time.perf_counter()
        word_vectors([phrase], bundle)
        taken.append(1000 * (time.perf_counter() - since))
    return statistics.median(taken)


def without_lexicon(bundle: Bundle) -> Array:
    """Put the encoder's own vectors of the nouns in the place of the lexicon's; returns them."""
    lexicon = bundle_lexicon(bundle)
    vectors = word_vectors(lexicon.vocabulary, bundle)
    bundle._parts["lexicon"] = replace(lexicon, vectors=vectors)
    _queries.cache_clear()  # else those of the words asked before are still the lexicon's
    return vectors


def judged(bundle: Bundle, data: Path) -> str:
    """mIoU-7 on `dev` and mean average precision on Flickr8k val, for a table."""
    miou = evaluate_segment(data / "voc-animals", bundle, split="dev")["miou7"]
    table = data / "flickr8k" / "presence-val.tsv"
    presence = evaluate_presence(data / "flickr8k", bundle, labels=table)["map"]
    return f"mIoU-7 {miou:.4f}, presence {presence:.4f}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", help="names or folders")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--speed-only", action="store_true")
    args = parser.parse_args()
    first: Array | None = None
    for name in args.bundles:
        bundle = load_bundle(name, threads=1)
        print(f"{Path(name).name}: {speed(bundle):.2f} ms a new phrase", flush=True)
        if args.speed_only:
            continue
        print(f"  with the lexicon: {judged(bundle, args.data)}", flush=True)
        classes = bundle_lexicon(bundle).class_vectors
        vectors = without_lexicon(bundle)
        first = vectors if first is None else first
        cosines = (vectors * first).sum(1)
        nearest = ((vectors @ classes.T).argmax(1) == (first @ classes.T).argmax(1)).mean()
        low = np.quantile(cosines, 0.05)
        print(f"  nouns: cosine {cosines.mean():.4f}, 5th percentile {low:.4f}, same nearest class {nearest:.3f}")
        print(f"  without: {judged(bundle, args.data)}", flush=True)


if __name__ == "__main__":
    main()
