"""One photo of a batch, in a worker: read it, see whether anything is to be done, do it, write the result, tell."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unsay.batch.engine import ROWS
from unsay.batch.job import Job
from unsay.batch.ledger import Item, Record
from unsay.batch.places import Place, file_at, open_place
from unsay.bundle import Bundle, load_bundle
from unsay.errors import BadInput, NotFound, UnsayError
from unsay.photo.read import most_bytes
from unsay.processes import make_ready

DIED = "its worker died three times over it: out of memory, or a crash; try it alone, on a machine with more memory"
ANY = "*"
"""In a record's `left`: whatever lies in the result's place is ours."""
HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors in writing after which nothing else can be written either."""


@dataclass(frozen=True)
class Setup:
    """What all workers of a run share. URLs of source and destination; `digest`: the job's, as the driver reckons it.

    `verify`: results that are there are read and compared too. `again`: what failed or showed nothing is tried again.
    """

    job: Job
    source: str
    destination: str
    threads: int
    digest: str
    verify: bool = False
    again: bool = False
    rows: int = ROWS

    def prepare(self) -> Callable[[Item], Record]:
        """Make this process ready, its bundle open. Raises `UnsayError` for a bundle unlike the driver's."""
        make_ready(self.threads)
        bundle = load_bundle(self.job.bundle, threads=self.threads, precision=self.job.precision)
        if self.job.digest != self.digest:
            raise UnsayError(f"this machine has another bundle {self.job.bundle!r}: give all machines the same")
        return lambda item: do(item, self, bundle)

    def died(self, item: Item) -> Record:
        """The record of a photo over which three workers died."""
        return unfinished(item, DIED)


def do(item: Item, setup: Setup, bundle: Bundle) -> Record:
    """The record of one item. `unchanged` in it: nothing was to be done; `stop`: why nothing more can be done at all.

    Whatever is wrong with the photo is in the record, not raised.
    """
    record = blank(item)
    try:
        _do(item, record, setup, bundle)
    except NotFound as error:
        scores = {word: round(float(score), 4) for word, score in error.scores.items()}
        record |= _failed(error, error.exit_status) | {"scores": scores, "nearest": error.nearest}
    except UnsayError as error:
        record |= _failed(error, error.exit_status)
    except Exception as error:  # one photo never ends a batch
        record |= _failed(error, 1)
    if record["status"] and "stop" not in record:
        _settle_old(item, record, open_place(setup.destination))
    return record


def blank(item: Item) -> Record:
    """The record of an item of which nothing is known yet."""
    kept = {key: item.get(key) for key in ("result", "recipe", "stamp", "mask_stamp")}
    unknown = dict.fromkeys(("error", "input", "mask", "bytes", "sha256"))
    return {"photo": item["name"], "status": 0, **kept, **unknown}


def unfinished(item: Item, error: str) -> Record:
    """The record of an item on which work was begun, or ended, without an answer."""
    known, there = item["known"], item["there"]
    ours = there is None or (known is not None and (known["bytes"] == there or known.get("left") == ANY))
    left = ANY if ours else _left_by(known)
    return blank(item) | {"status": 1, "error": error} | ({"left": left} if left else {})


def is_done(known: Record | None, wanted: Record, there: int | None, *, stamps: bool) -> bool:
    """Whether nothing is to be done: the same photo, mask and recipe as in a record, and its result is there.

    `stamps`: by what listings told, which is quick; else by the content. What failed for a reason that lies in the
    photo fails again; what failed otherwise is tried again.
    """
    if known is None or known["status"] == 1:
        return False
    what = ("photo", "recipe", *(("stamp", "mask_stamp") if stamps else ("input", "mask")))
    if any(known.get(key) != wanted[key] for key in what) or (stamps and not wanted["stamp"]):
        return False
    if stamps and wanted["mask_stamp"] == "":
        return False
    return known["status"] != 0 or (there is not None and there == known["bytes"])


def _do(item: Item, record: Record, setup: Setup, bundle: Bundle) -> None:
    limit = most_bytes(setup.job.max_megapixels)
    photo = _read(item["url"], item["name"], setup.source, record, "stamp", limit)
    record["input"] = hashlib.sha256(photo).hexdigest()
    mask = None
    if item["mask"] is not None:
        mask = _read(item["mask"], "", "", record, "mask_stamp", limit, "mask")
        record["mask"] = hashlib.sha256(mask).hexdigest()
    known = item["known"]
    if known and is_done(known, record, item["there"], stamps=False) and _stands(known, item, setup):
        record |= known | {"stamp": record["stamp"], "mask_stamp": record["mask_stamp"], "unchanged": True}
        return
    data, told = setup.job.perform(photo, item["words"], mask, bundle, item["name"])
    _write(item["result"], data, setup, record)
    record |= told | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _stands(known: Record, item: Item, setup: Setup) -> bool:
    """Whether what is known of the same work may stand."""
    if known["status"]:
        return not setup.again
    try:
        return not setup.verify or _digest(open_place(setup.destination), item["result"]) == known["sha256"]
    except FileNotFoundError:
        return False


def _read(
    url: str | None, name: str, source: str, record: Record, stamp: str, limit: float, kind: str = "photo"
) -> bytes:
    """A file's content. Its stamp goes into the record, taken before the content: a change meanwhile shows later.

    Raises `BadInput` for one that is not there or has more bytes than any photo, `OSError` (or what the file system's
    library raises).
    """
    place, inner = (open_place(source), name) if url is None else file_at(url)
    try:
        entry = place.entry(inner)
        record[stamp] = record[stamp] or entry.stamp
        if entry.size > limit:
            raise BadInput(f"the {kind} has {entry.size} bytes, more than any: raise --max-megapixels if it is one")
        return place.read(inner)
    except FileNotFoundError as error:
        raise BadInput(f"the {kind} is not there") from error


def _write(name: str, data: bytes, setup: Setup, record: Record) -> None:
    place = open_place(setup.destination)
    try:
        place.put(name, data)
    except Exception as error:
        told = " ".join(str(error).split())[:300] or type(error).__name__
        if isinstance(error, OSError) and error.errno in HOPELESS:
            record["stop"] = f"{setup.destination} takes no more: {told}"
        raise UnsayError(f"the result cannot be written: {told}") from error


def _settle_old(item: Item, record: Record, place: Place) -> None:
    """What an earlier run left in the result's place goes, if it is still as it was written; where this photo's end may
    be another the next time, it stays, and the record says whose it is.
    """
    left = _left_by(item["known"])
    if left is None or item["there"] is None:
        return
    try:
        digest = _digest(place, item["result"])
        if left not in (ANY, digest):
            return
        if record["status"] != 1:
            place.remove(item["result"])
            return
        left = digest
    except FileNotFoundError:
        return
    except Exception:  # it stays; each file system's library has errors of its own
        record["left"] = left
        return
    record["left"] = left


def _left_by(known: Record | None) -> str | None:
    """Of the result that an earlier run left: its sha256, `ANY` where it cannot be told."""
    return None if known is None else known.get("left") or known["sha256"]


def _digest(place: Place, name: str) -> str:
    return hashlib.sha256(place.read(name)).hexdigest()


def _failed(error: Exception, status: int) -> dict[str, Any]:
    told = " ".join(str(error).split())[:500].replace(" given as bytes", "")
    named = told if isinstance(error, UnsayError) else f"{type(error).__name__}: {told}"
    return {"status": status, "error": named, "bytes": None, "sha256": None}
