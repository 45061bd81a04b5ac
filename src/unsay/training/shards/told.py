"""The JSONs beside prepared shards, checked before anything is made of them: somebody may have edited or cut them.

STEM.json         of a downloaded shard STEM.tar: {recipe, stamp, pieces, skipped, nouns, shapes}
unsay-pairs.json  the index, of all of them: {recipe, pairs, pieces, skipped, nouns, shapes}

pieces: [[name, pairs, bytes], ...], in the index [[name, pairs], ...]; skipped: reason -> pairs; nouns: noun -> in the
sentences of how many photos it stands; shapes: what every pair has of groups [h, w], patches [C, h', w'] (where maps
are kept) and vectors [E] (where sentences are embedded).
"""

from __future__ import annotations

import json
import re
from typing import Any

INDEX = "unsay-pairs.json"
MOST = 1 << 53
"""Larger numbers are no counts."""
SHAPES = {"groups": 2, "patches": None, "vectors": 1}
"""What has a shape, and of how many numbers; None: any."""
Told = dict[str, Any]


def whole(value: Any, least: int = 0, most: int = MOST) -> bool:
    """Whether it is an integer (no bool) from `least` to `most`."""
    return type(value) is int and least <= value <= most


def read_shard(data: bytes, stem: str) -> Told | None:
    """What the JSON of the downloaded shard `stem` says; None where it is none of ours."""
    told = _read(data)
    if told is None or not isinstance(told.get("stamp"), str) or not _pieces(told.get("pieces"), 2):
        return None
    names = [name for name, *_ in told["pieces"]]
    named = names == [f"{stem}-{number:04d}.tar" for number in range(len(names))]
    return told if named and _shapes(told.get("shapes"), bool(names)) else None


def read_index(data: bytes) -> Told | None:
    """What the index says; None where it is none of ours."""
    told = _read(data)
    if told is None or not _pieces(told.get("pieces"), 1) or not _shapes(told.get("shapes"), True):
        return None
    names = {name for name, _ in told["pieces"]}
    summed = whole(told.get("pairs"), 1) and told["pairs"] == sum(pairs for _, pairs in told["pieces"])
    apart = len(names) == len(told["pieces"]) and all(map(_inside, names))
    return told if summed and apart and max(told["nouns"].values(), default=0) <= told["pairs"] else None


def _read(data: bytes) -> Told | None:
    """What both have in common, checked."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):  # it is nested too deep
        return None
    if not isinstance(told, dict) or not isinstance(told.get("recipe"), str):
        return None
    nouns = told.get("nouns")
    printable = isinstance(nouns, dict) and all(noun.isprintable() for noun in nouns)
    return told if printable and _counts(nouns) and _counts(told.get("skipped")) else None


def _counts(value: Any) -> bool:
    return isinstance(value, dict) and all(whole(count, 1) for count in value.values())


def _pieces(value: Any, numbers: int) -> bool:
    """Whether it is a list of lists: a name, then so many numbers above 0."""
    return isinstance(value, list) and all(
        isinstance(piece, list)
        and len(piece) == 1 + numbers
        and isinstance(piece[0], str)
        and all(whole(number, 1) for number in piece[1:])
        for piece in value
    )


def _shapes(value: Any, needed: bool) -> bool:
    """Whether it is a mapping of names to shapes; `needed`: there is a pair, so it has groups."""
    if not isinstance(value, dict) or not value.keys() <= SHAPES.keys() or (needed and "groups" not in value):
        return False
    numbers = all(isinstance(shape, list) and all(whole(n, 1) for n in shape) for shape in value.values())
    return numbers and all(SHAPES[name] in (None, len(shape)) for name, shape in value.items())


def _inside(name: str) -> bool:
    """Whether a name leads to a file in the same place, on any system."""
    return "\0" not in name and not any(part in ("", ".", "..") for part in re.split(r"[\\/]", name))
