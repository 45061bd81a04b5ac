"""A batch from its beginning to its end: list, see what is to be done, do it, keep the manifest."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from unsay.batch.engine import Workers, check_installed, records, workers
from unsay.batch.job import Job
from unsay.batch.journal import Journal, drop_state, read_kept, write_manifest
from unsay.batch.ledger import Ledger, Record
from unsay.batch.listing import Source, open_source
from unsay.batch.places import Place, alone, check_destination, open_place
from unsay.batch.planning import plan, settle, to_do
from unsay.batch.work import Setup
from unsay.errors import BadInput, UnsayError
from unsay.photo.read import shown


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
    """How far a batch is: photos in all, those that needed nothing, and by status those that were gone through now."""

    photos: int = 0
    unchanged: int = 0
    by_status: dict[int, int] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    @property
    def handled(self) -> int:
        """Photos that were gone through in this run."""
        return sum(self.by_status.values())

    @property
    def rate(self) -> float:
        """Photos a second, since the workers began."""
        return self.handled / max(1e-9, time.monotonic() - self.since)

    @property
    def seconds_left(self) -> float | None:
        """What the rest takes at that rate; None before the first photo."""
        rest = self.photos - self.unchanged - self.handled
        return rest / self.rate if self.handled else None

    @property
    def failed(self) -> int:
        """Photos of this run that failed or cannot be used."""
        return self.by_status.get(1, 0) + self.by_status.get(2, 0)

    def count(self, record: Record) -> None:
        """Take the record of a photo that was gone through."""
        if record.get("unchanged"):
            self.unchanged += 1
            return
        self.by_status[record["status"]] = self.by_status.get(record["status"], 0) + 1


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
    _check_apart(listed, place)
    check_destination(place)
    mask_place = None if masks is None else open_source(masks).place
    with alone(place), _ledger() as (ledger, scratch):
        read_kept(place, ledger)
        progress, tell = Progress(), tell or (lambda *_: None)
        for record in plan(ledger, job, listed, place, mask_place):
            _keep(ledger, record, progress, tell)
        progress.unchanged = settle(ledger, again=how.again, verify=how.verify)
        progress.photos = ledger.left() + progress.unchanged + progress.handled
        tell(progress, None)
        if ledger.left():
            threads = how.threads
            setup = Setup(job, listed.place.url, place.url, threads, job.digest)
            with workers(how.address, how.workers, threads) as use:
                _work(ledger, setup, use, how, progress, tell)
        write_manifest(place, ledger, scratch)
        drop_state(place)
    return progress


def _work(ledger: Ledger, setup: Setup, use: Workers, how: How, progress: Progress, tell: Tell) -> None:
    """Everything that is left, through the workers; what is done is kept even where it ends early."""
    journal = Journal(open_place(setup.destination))
    progress.since = time.monotonic()
    try:
        for record in records(to_do(ledger, again=how.again), setup, use):
            stop = record.pop("stop", None)
            if stop is not None:
                raise UnsayError(f"{stop}; make room, and run the same command to go on")
            _keep(ledger, record, progress, tell, journal)
    finally:
        journal.flush()


def _keep(ledger: Ledger, record: Record, progress: Progress, tell: Tell, journal: Journal | None = None) -> None:
    progress.count(record)
    record.pop("unchanged", None)
    ledger.know([record])
    if journal is not None:
        journal.add(record)
    tell(progress, record)


@contextmanager
def _ledger() -> Iterator[tuple[Ledger, Path]]:
    with tempfile.TemporaryDirectory(prefix="unsay-batch-") as scratch:
        ledger = Ledger(Path(scratch) / "ledger.sqlite")
        try:
            yield ledger, Path(scratch)
        finally:
            ledger.close()


def _check_apart(source: Source, destination: Place) -> None:
    """Results beside their photos would replace them. Raises `BadInput`."""
    if source.table is None and source.place.files == destination.files and source.place.root == destination.root:
        raise BadInput(f"{shown(destination.url)} is where the photos are: name another folder for the results")
