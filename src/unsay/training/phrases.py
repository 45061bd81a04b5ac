"""What people may ask for, as phrases to learn from: words, plurals, things with attributes, pieces of sentences."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unsay.errors import BadInput
from unsay.training.pairs_readers import read_captions
from unsay.training.wordnet import lower_case_things

WORDNET = Path(__file__).parent / "data" / "wordnet.json"
HELD_OUT = 6
"""A phrase whose sha256 begins with a byte below this is for choosing: 6 of 256."""
_ATTRIBUTES = (
    "red blue green yellow white black brown grey pink orange purple golden silver beige dark light bright big small "
    "large little tall short long wide thin thick round square old young new ancient modern broken dirty clean wet "
    "dry wooden metal plastic glass stone paper leather striped spotted furry fluffy shiny empty full open closed "
    "parked sleeping running sitting standing flying left right front distant blurry colourful colorful rusty cute "
    "sad happy angry male female wild toy stuffed electric folding outdoor indoor second other whole"
)
ATTRIBUTES = tuple(_ATTRIBUTES.split())
LINKS = ("in", "on", "with", "near", "behind", "of", "under", "beside", "holding", "and", "next to", "in front of")
SPAN = (2, 7)
"""Words of a piece of a sentence."""


@dataclass(frozen=True)
class PhraseConfig:
    """Where phrases come from and how many are drawn of each kind.

    `captions`: a table of sentences (columns `image` and `caption`); `wordnet`: WordNet's folder, for the names of all
    things (empty: only those that `training/data/wordnet.json` holds). `attributes`: attribute and thing; `links`: two
    things; `pieces` of sentences; `sentences`: whole ones.
    """

    captions: str = "../shared/data/flickr8k/captions-train.tsv"
    wordnet: str = ""
    attributes: int = 24000
    links: int = 5000
    pieces: int = 20000
    sentences: int = 4000
    seed: int = 0


def held_out(phrase: str) -> bool:
    """Whether a phrase is kept for choosing. It stands for itself alone, so that every program agrees."""
    return hashlib.sha256(phrase.encode()).digest()[0] < HELD_OUT


def collect(config: PhraseConfig, whole: Iterable[str]) -> dict[str, list[str]]:
    """Phrases in lower case by kind, none twice: `nouns` of the sentences, the most frequent first, other `words`,
    `plurals`, `attributes`, `links`, `pieces`, `sentences`.

    whole: the words that are one token of the teacher. Raises `BadInput` where the captions or WordNet cannot be read.
    """
    rng = np.random.default_rng(config.seed)
    stored = json.loads(WORDNET.read_text(encoding="utf-8"))
    listed = {*stored["classes"], *stored["above"], *(n.lower() for names in stored["names"] for n in names)}
    things = sorted(listed | (_all_things(config.wordnet) if config.wordnet else set()))
    plain = sorted({w for w in whole if w.isalpha() and w.isascii() and len(w) > 1})
    captions = [" ".join(c.lower().split()) for found in read_captions(Path(config.captions)).values() for c in found]
    counts = Counter(word for caption in captions for word in caption.split())
    nouns = sorted({w for w in things if counts[w] > 1}, key=lambda w: (-counts[w], w))
    common = [w for w in things if w in set(plain)]
    drawn = _Draw(rng, nouns, common, things)
    kinds = {
        "nouns": nouns,
        "words": [*things, *plain],
        "plurals": [plural(w) for w in dict.fromkeys((*nouns, *common))],
        "attributes": [f"{drawn.attribute()} {drawn.thing()}" for _ in range(config.attributes)],
        "links": [f"{drawn.thing()} {rng.choice(LINKS)} {drawn.thing()}" for _ in range(config.links)],
        "pieces": _pieces(captions, config.pieces, rng),
        "sentences": [captions[i] for i in rng.permutation(len(captions))[: config.sentences]],
    }
    left: dict[str, str] = {}
    for kind, phrases in kinds.items():
        for phrase in phrases:
            left.setdefault(phrase, kind)
    return {kind: [p for p, k in left.items() if k == kind] for kind in kinds}


def _all_things(folder: str) -> set[str]:
    try:
        return lower_case_things(Path(folder))
    except OSError as error:
        raise BadInput(
            f"cannot read WordNet in {folder}: {error.strerror}; Debian's wordnet-base has it, or leave `wordnet` empty"
        ) from error


def plural(word: str) -> str:
    """The regular plural of an English noun, by its last letters."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


class _Draw:
    """Things and attributes at random: mostly nouns of sentences, the frequent ones more often; else any thing."""

    def __init__(self, rng: np.random.Generator, nouns: Sequence[str], common: list[str], things: list[str]) -> None:
        self.rng, self.lists = rng, (list(nouns), common, things)
        rank = np.arange(1, len(nouns) + 1) ** -0.5
        self.shares = rank / rank.sum()

    def thing(self) -> str:
        kind = self.rng.choice(3, p=(0.55, 0.3, 0.15))
        shares = self.shares if kind == 0 else None
        return str(self.lists[kind][self.rng.choice(len(self.lists[kind]), p=shares)])

    def attribute(self) -> str:
        words = [str(w) for w in self.rng.choice(ATTRIBUTES, size=self.rng.choice([1, 2], p=(0.85, 0.15)))]
        return " ".join(words)


def _pieces(captions: list[str], count: int, rng: np.random.Generator) -> list[str]:
    found = []
    for number in rng.integers(0, len(captions), count):
        words = captions[number].rstrip(" .").split()
        length = int(rng.integers(SPAN[0], SPAN[1] + 1))
        start = int(rng.integers(0, max(1, len(words) - length + 1)))
        found.append(" ".join(words[start : start + length]))
    return found
