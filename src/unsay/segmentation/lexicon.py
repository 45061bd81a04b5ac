"""What the bundle knows of words without looking at a photo: nouns it learned, ImageNet classes, what covers what.

Files (made by `unsay.training.segment_bundle`): `words.json` with `vocabulary` (the nouns of the training sentences,
most frequent first), `photos` (of how many training photos each is), `visible` (indices of those fit to be named to a
person), `narrower` (word -> indices of its kinds in the vocabulary), `classes` (word -> ImageNet classes that
it covers) and `related` (`families`, lists of classes; `words`, pairs of family numbers and of the words, joined by
"|", whose families those are; `worn`, the classes of what people wear; a bundle may lack it); `words.npz` with the text
embeddings of the vocabulary and of the class names, and the bank: mean and covariance of the region embeddings of
training photos, against which every score is read. Embeddings lie in the file as int8 with a scale a row (`vocabulary`
and `vocabulary_scale`), or as fp16 or fp32 without one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unsay.bundle import Bundle
from unsay.segmentation.lexicon_files import read_arrays, read_words
from unsay.segmentation.recipe import read_recipe
from unsay.segmentation.vision import Array
from unsay.segmentation.words import bare, singular

PERSON = "person"


@dataclass(frozen=True, eq=False)
class Lexicon:
    """`vectors` [V, E] of `vocabulary`, `class_vectors` [1000, E]: unit length; bank of mean [E], spread [E, E].

    `related`: for words that cover no class, the families of classes near them in WordNet's tree, small and large;
    `people`: the vocabulary's words for people; `worn`: the classes that show them.
    """

    vocabulary: list[str]
    photos: list[int]
    visible: list[int]
    narrower: dict[str, list[int]]
    classes: dict[str, list[int]]
    vectors: Array
    class_vectors: Array
    bank_mean: Array
    bank_spread: Array
    index: dict[str, int]
    related: dict[str, list[list[int]]] = field(default_factory=dict)
    people: frozenset[str] = frozenset()
    worn: list[int] = field(default_factory=list)

    def known(self, word: str) -> bool:
        """Whether a bare word is in any of the lists."""
        return any(word in names for names in (self.index, self.classes, self.narrower, self.related))

    def head(self, phrase: str) -> str:
        """The phrase itself where it is known, else its last word where that is ("rusty toolbox": "toolbox")."""
        last = phrase.rpartition(" ")[2]
        return phrase if self.known(phrase) or not self.known(last) else last

    def seen(self, word: str) -> int:
        """Of how many training photos a bare word is; 0 for one outside the vocabulary."""
        return self.photos[self.index[word]] if word in self.index else 0

    def normal(self, word: str) -> str:
        """The form under which a user's word is looked up: bare, singular where that is known."""
        return singular(bare(word), self.known)


def bundle_lexicon(bundle: Bundle) -> Lexicon:
    """The bundle's lexicon, opened once; an empty one where it has none (imported open weights).

    Raises `BundleError` for files that hold none.
    """
    files = read_recipe(bundle).lexicon
    return bundle.part("lexicon", lambda: _read(bundle, *files) if files else _empty())


def _read(bundle: Bundle, words: str, vectors: str) -> Lexicon:
    arrays = read_arrays(bundle.file(vectors))
    nouns, classes = arrays["vocabulary"], arrays["classes"]
    stored = read_words(bundle.file(words), len(nouns), len(classes))
    index = {w: i for i, w in enumerate(stored["vocabulary"])}
    lists = (stored["vocabulary"], stored["photos"], stored["visible"], stored["narrower"], stored["classes"])
    related = stored.get("related", {"families": [], "words": [], "worn": []})
    people = {PERSON, *(stored["vocabulary"][i] for i in stored["narrower"].get(PERSON, []))}
    bank = (arrays["bank_mean"], arrays["bank_spread"])
    return Lexicon(*lists, nouns, classes, *bank, index, _families(related), frozenset(people), related["worn"])


def _families(related: dict[str, Any]) -> dict[str, list[list[int]]]:
    lists = (([related["families"][i] for i in numbers], words) for numbers, words in related["words"])
    return {word: found for found, words in lists for word in words.split("|")}


def _empty() -> Lexicon:
    none = np.zeros((0, 0), np.float32)
    return Lexicon([], [], [], {}, {}, none, none, none, none, {})


def pack_rows(name: str, rows: Array) -> dict[str, Any]:
    """`rows` [N, E] as the arrays of `words.npz`: int8 codes [N, E] and scales [N, 1], rows = codes * scales; a quarter
    of their size in fp32, and a unit vector of 384 numbers turns by about half a degree.
    """
    scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / 127
    return {name: np.rint(rows / scales).astype(np.int8), name + "_scale": scales}
