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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from webdataset import TarWriter
from webdataset.tariterators import group_by_keys, tar_file_expander

from unsay.training.segment_features import View

log = logging.getLogger(__name__)
PHOTOS = ("jpg", "jpeg", "png", "webp")
CUT = "shard cut off"
END = 1024
"""Bytes of zeros at an archive's end."""


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

    One without a photo or a sentence is counted, and what follows the place where the file is damaged is lost: once.
    """
    for sample in _samples(stream, name, skipped):
        suffix = next((suffix for suffix in PHOTOS if sample.get(suffix)), None)
        sentence = _sentence(sample)
        if suffix is None or not sentence:
            skipped.add("no photo" if suffix is None else "no sentence")
            continue
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
        except (KeyError, ValueError, OSError, EOFError) as error:
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
    """From `.txt`, else the `caption` of `.json`; empty where neither can be read."""
    try:
        if sample.get("txt"):
            return str(sample["txt"].decode()).strip()
        return str(json.loads(sample["json"])["caption"] or "").strip()
    except (ValueError, KeyError, TypeError):
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
    nouns = json.loads(sample["nouns.json"])
    if not isinstance(nouns, dict) or not all(isinstance(count, int) for count in nouns.values()):
        raise ValueError("its nouns are none")
    return Prepared(
        key=sample["__key__"],
        sentences=tuple(sample["txt"].decode().splitlines()),
        nouns=nouns,
        view=_view(sample, ""),
        mirrored=_view(sample, "mirrored.") if "mirrored.groups.npy" in sample else None,
        photo=sample.get(suffix, b""),
        suffix=suffix or "jpg",
        vectors=_array(sample["vectors.npy"], np.float16) if "vectors.npy" in sample else None,
    )


def _view(sample: dict[str, Any], prefix: str) -> View:
    patches = f"{prefix}patches.npy"
    groups = _array(sample[f"{prefix}groups.npy"], np.int8)
    return View(groups, _array(sample[patches], np.float16) if patches in sample else None)


def _npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _array(data: bytes, dtype: type) -> npt.NDArray[Any]:
    """Raises `ValueError` for anything but an array of that type."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype != dtype or array.ndim < 2:
        raise ValueError(f"an array of {array.dtype} with {array.ndim} dimensions")
    return np.asarray(array)
