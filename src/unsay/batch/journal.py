"""What is kept in a batch's destination: the manifest, and while a run lasts the journal that it is made of.

The manifest, `unsay-batch.jsonl`, has one line of JSON for each photo, sorted by the results' names; it tells nothing
of when and where it was made: another run over the same files gives the same bytes. The journal's parts lie in the
state folder, each written whole, so that a run that was killed loses the last few seconds at most. Photos are entered
there as begun before anything is done with them: what a killed run may have left is known to be ours.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unsay.batch.job import TOLD
from unsay.batch.ledger import Ledger, Record, key, text
from unsay.batch.places import LOCK, STATE, Place
from unsay.errors import UnsayError

log = logging.getLogger(__name__)
MANIFEST = "unsay-batch.jsonl"
JOURNAL = f"{STATE}/journal"
PART_RECORDS = 256
PART_SECONDS = 5.0
TEXTS = ("result", "recipe", "stamp", "mask_stamp", "error", "input", "mask", "sha256")
FIELDS = {*TEXTS, "photo", "status", "bytes", "left", "scores", "nearest"}


class Journal:
    """Keeps the records of a run as they come."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._run, self._parts = time.time_ns(), 0
        self._waiting: list[Record] = []
        self._since = time.monotonic()

    def add(self, record: Record) -> None:
        """Take a record; every few seconds those taken are written."""
        self._waiting.append(record)
        if len(self._waiting) >= PART_RECORDS or time.monotonic() - self._since >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises `UnsayError` where the destination takes no more."""
        if self._waiting:
            self.write(self._waiting)
            self._waiting.clear()
        self._since = time.monotonic()

    def write(self, records: Iterable[Record]) -> None:
        """Write records at once, behind those that were written before. Raises as `flush` does."""
        name = f"{JOURNAL}/{self._run:020d}-{self._parts:08d}.jsonl"
        lines = "".join(f"{text(record)}\n" for record in records)
        try:
            self._place.put(name, lines.encode("ascii"))
        except Exception as error:  # each file system's library has its own
            raise UnsayError(f"the batch's journal cannot be written to {self._place.url}: {error}") from error
        self._parts += 1


def read_kept(place: Place, ledger: Ledger) -> None:
    """Take into the ledger what earlier runs did: the manifest, then the journals of those that did not end.

    Photos that could have no result are left out: whether they can now, this run tells. Lines that are no records (of a
    file that somebody edited, say) are passed over, and counted in the log: what they stood for is done again.
    """
    parts = [f"{JOURNAL}/{name}" for name in place.names(JOURNAL) if name.endswith(".jsonl")]
    for name in [MANIFEST, *parts]:
        if name != MANIFEST or place.has(MANIFEST):
            ledger.know(_records(place, name))


def write_manifest(place: Place, ledger: Ledger, scratch: Path) -> None:
    """Write the manifest anew, then drop the journal. `scratch`: a folder of this machine.

    Raises `UnsayError` where the destination takes no more; the journal is then still there.
    """
    with tempfile.NamedTemporaryFile("w", dir=scratch, encoding="ascii", suffix=".jsonl") as stream:
        for line in ledger.records():
            stream.write(f"{line}\n")
        stream.flush()
        try:
            place.put_file(MANIFEST, Path(stream.name))
        except Exception as error:
            raise UnsayError(f"the manifest cannot be written to {place.url}: {error}; run the batch again") from error


def drop_state(place: Place) -> None:
    """Delete what the state folder holds, the lock aside: the manifest has all of it."""
    place.clear(STATE, but=LOCK)


def _records(place: Place, name: str) -> Iterable[Record]:
    bad = 0
    with place.files.open(place.path(name), "rb") as stream:
        for line in stream:
            record = _record(line)
            if record is None:
                bad += 1
            elif record["result"] is not None:
                yield record
    if bad:
        log.warning("%d lines of %s are no records: what they stood for is done again", bad, name)


def _record(line: bytes) -> Record | None:
    """The record that a line holds, without what no record has; None for anything else."""
    try:
        value: Any = json.loads(line, parse_constant=_no_number)
        whole = isinstance(value, dict) and _is_record(value)
    except (ValueError, RecursionError):
        return None
    return {name: value[name] for name in value if name in FIELDS or name in TOLD} if whole else None


def _is_record(value: dict[str, Any]) -> bool:
    """Whether it has every field, each of its type, and where it is done all that stands for its result."""
    texts = all(name in value and isinstance(value[name], (str, type(None))) for name in TEXTS)
    if not texts or not isinstance(value.get("photo"), str) or type(value.get("bytes", "")) not in (int, type(None)):
        return False
    if not isinstance(value.get("left"), (str, type(None))) or value.get("status") not in (0, 1, 2, 3):
        return False
    key(value["result"] or "")  # no name at all raises a ValueError
    return type(value["status"]) is int and (value["status"] != 0 or None not in (value["bytes"], value["sha256"]))


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")
