"""The user's words -> queries: looked up or encoded, with the background words and things that compete with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from unsay.bundle import Bundle
from unsay.checked import number, texts
from unsay.errors import BundleError
from unsay.options import MAX_WORDS
from unsay.segmentation.lexicon import Lexicon, bundle_lexicon
from unsay.segmentation.recipe import read_recipe
from unsay.segmentation.recognition import Constants, Queries, limits, make_queries
from unsay.segmentation.text import word_vectors
from unsay.segmentation.vision import Array

REMEMBERED = 4096
"""Words whose vectors an opened bundle keeps."""


def read_constants(bundle: Bundle) -> Constants:
    """The constants that the bundle's manifest holds; what it leaves out keeps its default.

    Raises `BundleError` for one that is no finite number, or no list of words.
    """
    section = read_recipe(bundle).recognition
    known = {f.name for f in fields(Constants)}
    try:
        return Constants(**{k: _constant(k, v) for k, v in section.items() if k in known})
    except ValueError as error:
        raise BundleError(
            f"the bundle {bundle.name!r} misstates {str(error)[:300]}: export or import it again"
        ) from error


def _constant(name: str, value: Any) -> Any:
    return texts(value, name, MAX_WORDS) if name in ("background", "things") else number(value, name)


def ask(words: Sequence[str], bundle: Bundle, constants: Constants) -> Queries:
    """The queries of the words as given (at least one).

    Those of the bundle's own vocabulary need no text encoder; the vectors of others are remembered, and so are the last
    queries: the same words are asked of many photos, and the words that compete of every one.
    """
    return _queries(tuple(words), bundle, constants)


@lru_cache(maxsize=64)
def _queries(words: tuple[str, ...], bundle: Bundle, constants: Constants) -> Queries:
    lexicon = bundle_lexicon(bundle)
    normal = [lexicon.normal(w) for w in words]
    memory: dict[str, Array] = bundle.part("word vectors", dict)
    unknown = sorted({w for w in normal if w not in lexicon.index and w not in memory})
    if unknown:
        if len(memory) + len(unknown) > REMEMBERED:
            memory.clear()
            unknown = sorted({w for w in normal if w not in lexicon.index})
        memory.update(zip(unknown, word_vectors(unknown, bundle), strict=True))
    vectors = [lexicon.vectors[lexicon.index[w]] if w in lexicon.index else memory[w] for w in normal]
    return make_queries(normal, np.stack(vectors), lexicon, constants)


def thresholds(words: Sequence[str], lexicon: Lexicon, queries: Queries, constants: Constants) -> Array:
    """The bundle's own score [N] from which each word counts as found.

    A word that no list knows, in whole or by its last part, may be a slip of the finger: it has to be surer.
    """
    known = np.array([not lexicon.vocabulary or lexicon.known(lexicon.head(lexicon.normal(w))) for w in words])
    return limits(queries, known, constants)


def unnamed_things(words: Sequence[str], lexicon: Lexicon, constants: Constants) -> list[str]:
    """Common things that compete with the user's words as if they had been named too: a cat is no answer to "dog".

    Left out: those that the user named ("red car" names a car), and those that WordNet puts under a named word or a
    named word under (by the nouns that it knows, or by the ImageNet classes that both cover: a heron is a bird).
    """
    named = _named(words, lexicon)
    kinds = {lexicon.vocabulary[i] for w in named for i in lexicon.narrower.get(w, [])}
    covered = [classes for w in named if (classes := set(lexicon.classes.get(w, [])))]

    def above(thing: str) -> bool:
        known = any(lexicon.vocabulary[i] in named for i in lexicon.narrower.get(thing, []))
        return known or any(classes <= set(lexicon.classes.get(thing, [])) for classes in covered)

    return [t for t in constants.things if t not in named and t not in kinds and not above(t)]


def background_words(words: Sequence[str], lexicon: Lexicon, constants: Constants) -> list[str]:
    """The background words without those that the user named: a word that the user names is never background."""
    named = _named(words, lexicon)
    return [w for w in constants.background if w not in named]


def _named(words: Sequence[str], lexicon: Lexicon) -> set[str]:
    normal = {lexicon.normal(w) for w in words}
    return normal | {lexicon.head(w) for w in normal}
