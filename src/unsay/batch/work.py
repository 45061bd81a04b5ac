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
from unsay.batch.places import Place, open_place, split_url
from unsay.bundle import Bundle, load_bundle
from unsay.errors import BadInput, NotFound, UnsayError
from unsay.photo.read import most_bytes
from unsay.processes import make_ready

DIED = "its worker died three times over it: out of memory, or a crash; try it alone, on a machine with more memory"
HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors in writing after which nothing else can be written either."""


@dataclass(frozen=True)
class Setup:
    """What all workers of a run share. URLs of source and destination; `digest`: the job's, as the driver reckons it.

    `verify`: look at what a photo holds even where its listing has not changed.
    """

    job: Job
    source: str
    destination: str
    threads: int
    digest: str
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
        return blank(item) | {"status": 1, "error": DIED}


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
    except FileNotFoundError as error:
        record |= _failed(BadInput(f"{error.filename or item['name']} is not there"), BadInput.exit_status)
    except Exception as error:  # one photo never ends a batch
        record |= _failed(error, 1)
    if record["status"] in (BadInput.exit_status, NotFound.exit_status):
        _drop_old(item, open_place(setup.destination))
    return record


def blank(item: Item) -> Record:
    """The record of an item of which nothing is known yet."""
    kept = {key: item.get(key) for key in ("result", "recipe", "stamp", "mask_stamp")}
    unknown = dict.fromkeys(("error", "input", "mask", "bytes", "sha256"))
    return {"photo": item["name"], "status": 0, **kept, **unknown}


def is_done(known: Record | None, wanted: Record, there: int | None, *, stamps: bool) -> bool:
    """Whether nothing is to be done: the same photo, mask and recipe as in a record, and its result is there.

    `stamps`: by what listings told, which is quick; else by the content. What failed for a reason that lies in the
    photo fails again; what failed otherwise is tried again.
    """
    if known is None or known["status"] == 1:
        return False
    what = ("recipe", "stamp", "mask_stamp") if stamps else ("recipe", "input", "mask")
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
        mask = _read(item["mask"], "", "", record, "mask_stamp", limit)
        record["mask"] = hashlib.sha256(mask).hexdigest()
    known = item["known"]
    if is_done(known, record, item["there"], stamps=False):
        record |= known | {"stamp": record["stamp"], "mask_stamp": record["mask_stamp"], "unchanged": True}
        return
    data, told = setup.job.perform(photo, item["words"], mask, bundle, item["name"])
    _write(item["result"], data, setup, record)
    record |= told | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _read(url: str | None, name: str, source: str, record: Record, stamp: str, limit: float) -> bytes:
    """A file's content. Its stamp goes into the record, taken before the content: a change meanwhile shows later.

    Raises `BadInput` for more bytes than any photo has, `OSError` (or what the file system's library raises).
    """
    place, inner = (open_place(source), name) if url is None else _file_at(url)
    entry = place.entry(inner)
    record[stamp] = record[stamp] or entry.stamp
    if entry.size > limit:
        raise BadInput(f"{inner} has {entry.size} bytes, more than any photo: raise --max-megapixels if it is one")
    return place.read(inner)


def _file_at(url: str) -> tuple[Place, str]:
    folder, name = split_url(url)
    return open_place(folder), name


def _write(name: str, data: bytes, setup: Setup, record: Record) -> None:
    place = open_place(setup.destination)
    try:
        place.put(name, data)
    except Exception as error:
        told = " ".join(str(error).split())[:300] or type(error).__name__
        if isinstance(error, OSError) and error.errno in HOPELESS:
            record["stop"] = f"{setup.destination} takes no more: {told}"
        raise UnsayError(f"the result cannot be written: {told}") from error


def _drop_old(item: Item, place: Place) -> None:
    """Delete the result of what the photo was before, if it is still as it was written."""
    known = item["known"]
    if known is None or known["status"] or item["there"] is None:
        return
    try:
        if hashlib.sha256(place.read(item["result"])).hexdigest() == known["sha256"]:
            place.remove(item["result"])
    except OSError:  # it stays, and the record says that it is not this photo's
        return


def _failed(error: Exception, status: int) -> dict[str, Any]:
    told = " ".join(str(error).split())[:500].replace(" given as bytes", "")
    named = told if isinstance(error, UnsayError) else f"{type(error).__name__}: {told}"
    return {"status": status, "error": named, "bytes": None, "sha256": None}
