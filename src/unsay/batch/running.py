"""A batch from its beginning to its end: list, see what is to be done, do it, keep the manifest."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from unsay.batch.engine import Workers, check_installed, records, workers
from unsay.batch.job import Job
from unsay.batch.journal import Journal, drop_state, read_kept, write_manifest
from unsay.batch.ledger import Item, Ledger, Record
from unsay.batch.listing import Source, open_folder, open_source
from unsay.batch.places import Place, alone, check_destination, open_place
from unsay.batch.planning import AT_ONCE, plan, settle, to_do
from unsay.batch.work import Setup, unfinished
from unsay.errors import BadInput, UnsayError
from unsay.leftovers import private_folder
from unsay.photo.read import shown
from unsay.photo.write import SUFFIXES


@dataclass(frozen=True)
class How:
    """How a batch is run. `address`: of a Ray cluster to join; None: this machine.

    `workers`: processes with a bundle open each; None: as many as there are cores for. `threads`: of each. `again`:
    photos that failed are tried again. `verify`: every photo is read and compared, whatever its listing says.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    again: bool = False
    verify: bool = False

    def check(self) -> None:
        """Raise `BadInput` for numbers that cannot be."""
        if self.workers is not None and not 1 <= self.workers <= 100_000:
            raise BadInput(f"workers is {self.workers}; give 1 to 100000, or leave it out")
        if not 1 <= self.threads <= 256:
            raise BadInput(f"threads is {self.threads}; give 1 to 256")


@dataclass
class Progress:
    """How far a batch is: photos in all, and by status those that needed nothing and those gone through now.

    `since`: when the first record came, `before` how many had come until then: what a rate is reckoned from.
    """

    photos: int = 0
    earlier: dict[int, int] = field(default_factory=dict)
    by_status: dict[int, int] = field(default_factory=dict)
    since: float | None = None
    before: int = 0

    @property
    def handled(self) -> int:
        """Photos that were gone through in this run."""
        return sum(self.by_status.values())

    @property
    def unchanged(self) -> int:
        """Photos that needed nothing in this run, whatever their status."""
        return sum(self.earlier.values())

    @property
    def rate(self) -> float | None:
        """Photos a second; None until there is something to reckon it from."""
        if self.since is None or self.handled <= self.before:
            return None
        return (self.handled - self.before) / max(1e-9, time.monotonic() - self.since)

    @property
    def seconds_left(self) -> float | None:
        """What the rest takes at that rate."""
        rate = self.rate
        return None if rate is None else (self.photos - self.unchanged - self.handled) / rate

    @property
    def failed(self) -> int:
        """Photos that failed or cannot be used, in this run or before it."""
        return sum(counts.get(status, 0) for counts in (self.by_status, self.earlier) for status in (1, 2))

    @property
    def not_found(self) -> int:
        """Photos that show nothing of what was asked for, in this run or before it."""
        return self.by_status.get(3, 0) + self.earlier.get(3, 0)

    def begin(self) -> None:
        """The workers have something to tell: what was handled until now took no time of theirs."""
        self.since, self.before = time.monotonic(), self.handled

    def count(self, record: Record) -> None:
        """Take the record of a photo that was gone through."""
        counts = self.earlier if record.get("unchanged") else self.by_status
        counts[record["status"]] = counts.get(record["status"], 0) + 1


Tell = Callable[[Progress, Record | None], None]
"""Called as things go: with the record of a photo, or None where only the counts changed."""


def run_batch(
    job: Job, source: str, destination: str, how: How = How(), *, masks: str | None = None, tell: Tell | None = None
) -> Progress:
    """Go through the photos of `source`; results and the manifest go to `destination`. See docs/guides/many-photos.md.

    A photo that fails stops nothing: the manifest says why. What earlier runs did is not done again: the same photo,
    mask, words, bundle and options. A run that ends in whatever way is gone on with by running it again; the result is
    the same. Raises `BadInput` for what cannot be used, `UnsayError` where the destination is full or the cluster gone.
    """
    check_installed()
    job = job.settled()
    job.check()
    how.check()
    listed, place = open_source(source), open_place(destination)
    mask_place = None if masks is None else open_folder(masks)
    _check_asked(job, listed, mask_place)
    _check_apart(listed, place)
    check_destination(place)
    with alone(place), _ledger() as (ledger, scratch):
        read_kept(place, ledger)
        progress, tell = Progress(), tell or (lambda *_: None)
        for record in plan(ledger, job, listed, place, mask_place):
            _keep(ledger, record, progress, tell)
        progress.earlier = settle(ledger, again=how.again, verify=how.verify)
        progress.photos = ledger.left() + progress.unchanged + progress.handled
        if not progress.photos:
            raise BadInput(f"{shown(source)} holds no photo: {', '.join(sorted(SUFFIXES))} are gone through")
        tell(progress, None)
        if ledger.left():
            threads = how.threads
            setup = Setup(job, listed.place.url, place.url, threads, job.digest, how.verify, how.again)
            with workers(how.address, how.workers, threads) as use:
                _work(ledger, setup, use, progress, tell)
        write_manifest(place, ledger, scratch)
        drop_state(place)
    return progress


def _work(ledger: Ledger, setup: Setup, use: Workers, progress: Progress, tell: Tell) -> None:
    """Everything that is left, through the workers; what is done is kept even where it ends early."""
    journal = Journal(open_place(setup.destination))
    try:
        for record in records(_begun(to_do(ledger), journal), setup, use):
            stop = record.pop("stop", None)
            if stop is not None:
                raise UnsayError(f"{stop}; make room, and run the same command to go on")
            _keep(ledger, record, progress, tell, journal)
            if progress.since is None:
                progress.begin()
    finally:
        journal.flush()


def _begun(items: Iterator[Item], journal: Journal) -> Iterator[Item]:
    """The same items, once the journal says that they were begun: a run after a kill knows whose results are there."""
    while some := list(itertools.islice(items, AT_ONCE)):
        journal.write([unfinished(item, "it was begun and not finished") for item in some])
        yield from some


def _keep(ledger: Ledger, record: Record, progress: Progress, tell: Tell, journal: Journal | None = None) -> None:
    progress.count(record)
    record.pop("unchanged", None)
    ledger.know([record])
    if journal is not None:
        journal.add(record)
    tell(progress, record)


@contextmanager
def _ledger() -> Iterator[tuple[Ledger, Path]]:
    scratch = private_folder("unsay-batch-")
    try:
        ledger = Ledger(scratch / "ledger.sqlite")
        try:
            yield ledger, scratch
        finally:
            ledger.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_asked(job: Job, source: Source, masks: Place | None) -> None:
    """Raise `BadInput` for what no photo of the source could be done with; a table's rows may say it themselves."""
    if source.table is None and job.verb == "inpaint" and masks is None:
        raise BadInput("no masks: give --masks, the folder where every photo has a mask of its name, or a table")
    if source.table is None and job.verb != "inpaint" and not job.words:
        raise BadInput("no word says what to look for: give words after the destination, or a table with them")


def _check_apart(source: Source, destination: Place) -> None:
    """Results beside their photos would replace them. Raises `BadInput`."""
    if source.table is None and source.place.files == destination.files and source.place.root == destination.root:
        raise BadInput(f"{shown(destination.url)} is where the photos are: name another folder for the results")
