"""What a prepared shard holds for every pair, written and read by the webdataset package's own functions.

KEY.txt              its sentences, a line each
KEY.nouns.json       {noun: in how many of the sentences it stands}
KEY.groups.npy       [h, w] int8, the region of each cell
KEY.patches.npy      [C, h', w'] fp16, where the encoder reads the frozen network's map, else
KEY.jpg              the photo as it came (.png, .webp)
KEY.mirrored.*.npy   groups and patches of the mirror image, where the maps are kept and photos are mirrored
KEY.vectors.npy      [s, E] fp16, the sentences' embeddings, where the loss has a term for them
"""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from webdataset import TarWriter
from webdataset.tariterators import group_by_keys, tar_file_expander

from unsay.training.segment_features import View
from unsay.training.shards.told import whole

log = logging.getLogger(__name__)
PHOTOS = ("jpg", "jpeg", "png", "webp")
CUT = "shard cut off"
END = 1024
"""Bytes of zeros at an archive's end."""
LONGEST = 10_000
"""Characters of a sentence: more are no sentence about a photo, and spaCy refuses a million."""


@dataclass(frozen=True)
class Raw:
    """A pair as it lies in a shard that was downloaded: `photo` is empty or `sentences` are where it lacks them."""

    key: str
    photo: bytes
    suffix: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A pair with all that a step reads of it; `mirrored`: the view of the mirror image, if one is kept."""

    key: str
    sentences: tuple[str, ...]
    nouns: dict[str, int]
    view: View
    mirrored: View | None = None
    photo: bytes = b""
    suffix: str = "jpg"
    vectors: npt.NDArray[np.float16] | None = None


@dataclass
class Skipped:
    """How many pairs were passed over, by reason."""

    by_reason: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, count: int = 1) -> None:
        """Count some more."""
        self.by_reason[reason] = self.by_reason.get(reason, 0) + count

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_reason.values())


def read_raw(stream: BinaryIO, name: str, skipped: Skipped) -> Iterator[Raw]:
    """The pairs of a downloaded shard (`KEY.jpg` with `KEY.txt` or `KEY.json`), in its order.

    One without a photo or a sentence, or with one of over `LONGEST` characters, is counted, and what follows the place
    where the file is damaged is lost: once.
    """
    for sample in _samples(stream, name, skipped):
        suffix = next((suffix for suffix in PHOTOS if sample.get(suffix)), None)
        sentence = _sentence(sample)
        if suffix is None or not sentence:
            skipped.add("no photo" if suffix is None else "no sentence")
        elif len(sentence) > LONGEST:
            skipped.add("sentence too long")
        else:
            yield Raw(sample["__key__"], sample[suffix], suffix, (sentence,))


def write_prepared(stream: BinaryIO, pairs: Iterable[Prepared]) -> None:
    """A prepared shard; the same pairs give the same bytes."""
    with TarWriter(stream, encoder=False, mtime=0, compress=False) as tar:
        for pair in pairs:
            tar.write({"__key__": pair.key, **_members(pair)})


def read_prepared(stream: BinaryIO, name: str, skipped: Skipped) -> list[Prepared]:
    """The pairs of a prepared shard. What is damaged is counted and left out."""
    pairs = []
    for sample in _samples(stream, name, skipped):
        try:
            pairs.append(_pair(sample))
        except Exception as error:  # bytes that mean harm make NumPy and JSON raise whatever they like
            log.warning("%s: the pair %r is damaged (%s) and left out", name, sample.get("__key__"), error)
            skipped.add("damaged")
    return pairs


def _samples(stream: BinaryIO, name: str, skipped: Skipped) -> Iterator[dict[str, Any]]:
    before, stop = skipped.by_reason.get(CUT, 0), _count_damage(name, skipped)
    watched = _Watched(stream)
    files = tar_file_expander([{"url": name, "stream": watched}], handler=stop, eof_value=None)
    yield from group_by_keys(files, handler=stop)
    if skipped.by_reason.get(CUT, 0) == before and not watched.ended():
        stop(EOFError("its end is missing"))


class _Watched:
    """A stream that remembers the end of what was read: to tarfile a file that stops between two members is whole."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._last = stream, b""

    def read(self, size: int = -1) -> bytes:
        """What the stream gives."""
        data = self._stream.read(size)
        self._last = (self._last + data)[-END:]
        return data

    def ended(self) -> bool:
        """Whether the rest of the stream ends as archives do, with two blocks of zeros."""
        while self.read(1 << 20):
            pass
        return len(self._last) == END and not any(self._last)


def _count_damage(name: str, skipped: Skipped) -> Callable[[Exception], bool]:
    def stop(error: Exception) -> bool:
        log.warning("the shard %s is damaged (%s): the rest of it is left out", name, error)
        skipped.add(CUT)
        return False

    return stop


def _sentence(sample: dict[str, Any]) -> str:
    """From `.txt`, else the `caption` of `.json`; empty where neither can be read, and for halves of characters."""
    try:
        found = sample["txt"].decode() if sample.get("txt") else str(json.loads(sample["json"])["caption"] or "")
        found.encode()  # JSON can name half a character, which no file holds
        return str(found.strip())
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _members(pair: Prepared) -> dict[str, bytes]:
    members = {"txt": "\n".join(" ".join(s.split()) for s in pair.sentences).encode()}
    members["nouns.json"] = json.dumps(pair.nouns, sort_keys=True).encode()
    if pair.photo:
        members[pair.suffix] = pair.photo
    for prefix, view in (("", pair.view), ("mirrored.", pair.mirrored)):
        if view is not None:
            members[f"{prefix}groups.npy"] = _npy(view.groups)
            if view.patches is not None:
                members[f"{prefix}patches.npy"] = _npy(view.patches)
    if pair.vectors is not None:
        members["vectors.npy"] = _npy(pair.vectors)
    return members


def _pair(sample: dict[str, Any]) -> Prepared:
    suffix = next((suffix for suffix in PHOTOS if suffix in sample), "")
    sentences = tuple(sample["txt"].decode().splitlines())
    vectors = _array(sample["vectors.npy"], np.float16) if "vectors.npy" in sample else None
    if not sentences or (vectors is not None and (vectors.ndim != 2 or len(vectors) != len(sentences))):
        raise ValueError("its sentences are none, or others than were embedded")
    return Prepared(
        key=sample["__key__"],
        sentences=sentences,
        nouns=_nouns(sample["nouns.json"], len(sentences)),
        view=_view(sample, ""),
        mirrored=_view(sample, "mirrored.") if "mirrored.groups.npy" in sample else None,
        photo=sample.get(suffix, b""),
        suffix=suffix or "jpg",
        vectors=vectors,
    )


def _nouns(data: bytes, sentences: int) -> dict[str, int]:
    """Raises `ValueError` for a noun that stands in none of the sentences, or in more than there are."""
    nouns = json.loads(data)
    if not isinstance(nouns, dict) or not all(whole(count, 1, sentences) for count in nouns.values()):
        raise ValueError("its nouns are none")
    return nouns


def _view(sample: dict[str, Any], prefix: str) -> View:
    patches = f"{prefix}patches.npy"
    groups = _array(sample[f"{prefix}groups.npy"], np.int8)
    if groups.ndim != 2 or groups.min() < 0:
        raise ValueError("its groups are none")
    return View(groups, _array(sample[patches], np.float16) if patches in sample else None)


def _npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _array(data: bytes, dtype: type) -> npt.NDArray[Any]:
    """Raises `ValueError` for anything but a filled, finite array of that type; before memory is asked for it."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("no array as they are written here")
    shape, _, found = np.lib.format.read_array_header_1_0(stream)
    size = math.prod(shape)
    if found != dtype or len(shape) < 2 or size < 1 or size * found.itemsize != len(data) - stream.tell():
        raise ValueError(f"an array of {found} with the shape {shape} in {len(data)} bytes")
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if not np.isfinite(array).all():
        raise ValueError("an array with numbers that are none")
    return np.asarray(array)
