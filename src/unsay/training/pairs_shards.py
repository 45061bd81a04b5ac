"""WebDataset shards as img2dataset writes them: `00000.tar` ... with `KEY.jpg`, `KEY.txt`, `KEY.json` for every pair.

An index of where each photo lies makes the shards as good as a folder: the order of photos is then exact, whatever the
number of processes, and a stopped run goes on with the very next photo. (The `webdataset` package only streams.)
"""

from __future__ import annotations

import json
import logging
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.training.segment_files import fingerprint, write_atomically

log = logging.getLogger(__name__)
PHOTOS = ("jpg", "jpeg", "png", "webp")
Integers = npt.NDArray[np.int64]
Place = tuple[int, int]
"""Where a member's bytes begin in its shard, and how many they are."""


@dataclass
class _Sample:
    """The members of one key, while its shard is read."""

    key: str
    photo: Place | None = None
    text: bytes = b""
    record: bytes = b""

    def sentence(self) -> str:
        """From `.txt`, else the `caption` of `.json`; empty where neither can be read."""
        try:
            return (self.text.decode() if self.text else str(json.loads(self.record)["caption"] or "")).strip()
        except (ValueError, KeyError, TypeError):
            return ""


@dataclass(frozen=True, eq=False)
class ShardPairs:
    """Pairs by their place in the shards: `places` [N, 3] (shard, first byte, bytes) of the photos `keys` [N].

    The sentence of pair i is `text[ends[i - 1]:ends[i]]`, UTF-8.
    """

    shards: list[Path]
    places: Integers
    keys: npt.NDArray[np.str_]
    text: npt.NDArray[np.uint8]
    ends: Integers

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        """The shard's name and the key in it."""
        return f"{self.shards[self.places[index, 0]].name}/{self.keys[index]}"

    def sentences(self, index: int) -> Sequence[str]:
        """The one sentence of the pair."""
        start = self.ends[index - 1] if index else 0
        return (self.text[start : self.ends[index]].tobytes().decode(),)

    def photo(self, index: int) -> bytes:
        """The photo's bytes, from the middle of its shard."""
        shard, start, size = self.places[index].tolist()
        try:
            with open(self.shards[shard], "rb") as stream:
                stream.seek(start)
                return stream.read(size)
        except OSError as error:
            raise BadInput(f"cannot read the shard {self.shards[shard]}: {error.strerror}") from error


def open_shards(folder: Path, cache: Path) -> ShardPairs:
    """The pairs of all `*.tar` in `folder`; their index is kept in `cache` and made anew when a shard has changed.

    A key without a photo or a sentence, and what follows the place where a shard is damaged, is skipped; how many is
    logged. Raises `BadInput` if no pair is left.
    """
    shards = sorted(folder.glob("*.tar"))
    state = fingerprint([[s.name, s.stat().st_size, s.stat().st_mtime_ns] for s in shards])
    kept = cache / f"shards-{state}.npz"
    if not kept.is_file():
        arrays = _index(shards)
        if not len(arrays["places"]):
            raise BadInput(f"{folder} has no pairs: expected *.tar with KEY.jpg and KEY.txt (or KEY.json) for each")
        write_atomically(kept, lambda stream: np.savez(stream, allow_pickle=False, **arrays))
    with np.load(kept, allow_pickle=False) as stored:
        return ShardPairs(shards, stored["places"], stored["keys"], stored["text"], stored["ends"])


def _index(shards: list[Path]) -> dict[str, Any]:
    places: list[tuple[int, int, int]] = []
    keys: list[str] = []
    captions: list[bytes] = []
    skipped = 0
    for number, shard in enumerate(shards):
        for sample in _samples(shard):
            sentence = sample.sentence()
            if sample.photo is None or not sample.photo[1] or not sentence:
                skipped += 1
                continue
            places.append((number, *sample.photo))
            keys.append(sample.key)
            captions.append(sentence.encode())
    log.info("%d pairs in %d shards; %d skipped for want of a photo or a sentence", len(keys), len(shards), skipped)
    return {
        "places": np.array(places, np.int64).reshape(-1, 3),
        "keys": np.array(keys, np.str_),
        "text": np.frombuffer(b"".join(captions), np.uint8),
        "ends": np.cumsum([len(c) for c in captions], dtype=np.int64),
    }


def _samples(shard: Path) -> Iterator[_Sample]:
    """The shard's samples: members that follow one another and share the name up to its first dot."""
    sample = _Sample("")
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, _, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                key = f"{folder}/{stem}".removeprefix("./").lstrip("/")
                if not member.isfile() or not ending:
                    continue
                if key != sample.key:
                    if sample.key:
                        yield sample
                    sample = _Sample(key)
                _add(sample, ending.lower(), member, archive)
    except (tarfile.TarError, OSError) as error:
        log.warning("%s is damaged (%s): what follows the pair %r is skipped", shard, error, sample.key)
    if sample.key:
        yield sample


def _add(sample: _Sample, ending: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    if ending in PHOTOS:
        sample.photo = (member.offset_data, member.size)
    elif ending in {"txt", "json"}:
        stream = archive.extractfile(member)
        data = stream.read() if stream else b""
        if ending == "txt":
            sample.text = data
        else:
            sample.record = data
