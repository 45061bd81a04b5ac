"""`unsay batch erase`, `segment`, `inpaint`, `cutout`."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsay.commands.console import answering, note, one_line, print_json, print_path
from unsay.commands.photos import BundleOption, Grow, Limit, NoTexture, Precision, Threshold
from unsay.errors import NotFound, UnsayError
from unsay.options import MAX_MEGAPIXELS, EraseOptions, InpaintOptions, SegmentOptions

if TYPE_CHECKING:
    from unsay.batch import How, Job, Progress
    from unsay.batch.running import Tell

EVERY_SECONDS = 30.0
"""Between two lines about how far it is, where there is no terminal to draw a bar on."""
SHOWN = 20
"""Failures that are told as they come; the manifest has them all."""

Source = Annotated[
    str, typer.Argument(metavar="SRC", help="A folder, a glob in quotes, a bucket's path, or a .csv or .parquet table.")
]
Destination = Annotated[str, typer.Argument(metavar="DST", help="A folder or a bucket's path for the results.")]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="WORD", help="What to look for, where a table does not say it.")
]
Address = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="Of a Ray cluster to join; auto: the one here.")
]
Number = Annotated[int | None, typer.Option("--workers", metavar="N", help="Processes; default: one for each core.")]
Threads = Annotated[int, typer.Option("--threads", metavar="N", help="Threads of each worker.")]
Again = Annotated[bool, typer.Option("--again", help="Try photos once more that failed or showed nothing.")]
Verify = Annotated[bool, typer.Option("--verify", help="Read every photo, also those whose listing has not changed.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object about the batch at its end.")]


def erase(
    source: Source,
    destination: Destination,
    words: Words = None,
    grow: Grow = None,
    threshold: Threshold = None,
    no_texture: NoTexture = False,
    address: Address = None,
    workers: Number = None,
    threads: Threads = 1,
    again: Again = False,
    verify: Verify = False,
    bundle: BundleOption = "starter",
    precision: Precision = "fp32",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Erase what the words name from every photo."""
    options = EraseOptions(SegmentOptions(threshold), InpaintOptions(grow, None, texture=not no_texture))
    with answering(as_json, "batch"):
        job = _job("erase", words, options, bundle, max_megapixels, precision=precision)
        done = _run(job, source, destination, _how(address, workers, threads, again, verify), as_json)
    _raise_for(done, destination)


def segment(
    source: Source,
    destination: Destination,
    words: Words = None,
    kind: Annotated[
        str, typer.Option("--format", metavar="overlay|labels|coco|labelme", help="What to write.")
    ] = "overlay",
    threshold: Threshold = None,
    address: Address = None,
    workers: Number = None,
    threads: Threads = 1,
    again: Again = False,
    verify: Verify = False,
    bundle: BundleOption = "starter",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Show where the words are in every photo, or write their masks."""
    with answering(as_json, "batch"):
        job = _job("segment", words, EraseOptions(SegmentOptions(threshold)), bundle, max_megapixels, kind=kind)
        done = _run(job, source, destination, _how(address, workers, threads, again, verify), as_json)
    _raise_for(done, destination)


def inpaint(
    source: Source,
    destination: Destination,
    masks: Annotated[
        str | None, typer.Option("--masks", metavar="DIR", help="Where a mask of the same name is for every photo.")
    ] = None,
    grow: Annotated[int, typer.Option("--grow", metavar="PX", help="Pixels to fill around the mask.")] = 0,
    no_texture: NoTexture = False,
    address: Address = None,
    workers: Number = None,
    threads: Threads = 1,
    again: Again = False,
    verify: Verify = False,
    bundle: BundleOption = "starter",
    precision: Precision = "fp32",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Fill the white area of a mask in every photo."""
    options = EraseOptions(inpaint=InpaintOptions(grow, None, texture=not no_texture))
    with answering(as_json, "batch"):
        job = _job("inpaint", None, options, bundle, max_megapixels, precision=precision)
        done = _run(job, source, destination, _how(address, workers, threads, again, verify), as_json, masks)
    _raise_for(done, destination)


def cutout(
    source: Source,
    destination: Destination,
    words: Words = None,
    crop: Annotated[bool, typer.Option("--crop", help="Write only the box around the thing.")] = False,
    grow: Annotated[int, typer.Option("--grow", metavar="PX", help="Pixels to keep around the thing.")] = 0,
    threshold: Threshold = None,
    address: Address = None,
    workers: Number = None,
    threads: Threads = 1,
    again: Again = False,
    verify: Verify = False,
    bundle: BundleOption = "starter",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Keep what the words name of every photo, transparent elsewhere."""
    options = EraseOptions(SegmentOptions(threshold), InpaintOptions(grow))
    with answering(as_json, "batch"):
        job = _job("cutout", words, options, bundle, max_megapixels, crop=crop)
        done = _run(job, source, destination, _how(address, workers, threads, again, verify), as_json)
    _raise_for(done, destination)


def _job(
    verb: str, words: list[str] | None, options: EraseOptions, bundle: str, max_megapixels: float, **own: Any
) -> Job:
    from unsay.batch import Job

    return Job(verb, tuple(words or ()), options, bundle=bundle, max_megapixels=max_megapixels, **own)


def _how(address: str | None, workers: int | None, threads: int, again: bool, verify: bool) -> How:
    from unsay.batch import How

    return How(address, workers, threads, again, verify)


@contextmanager
def results_alone() -> Iterator[None]:
    """Standard output is for results: what Ray's threads print there meanwhile goes to standard error."""
    with redirect_stdout(sys.stderr if sys.stderr is not None else io.StringIO()):
        yield


def _run(job: Job, source: str, destination: str, how: How, as_json: bool, masks: str | None = None) -> Progress:
    from unsay.batch import run_batch

    start = time.monotonic()
    try:
        with results_alone(), _telling(quiet=as_json) as tell:
            progress = run_batch(job, source, destination, how, masks=masks, tell=tell)
    except KeyboardInterrupt:
        note("unsay: stopped; what was told as done is kept, the same command goes on from there")
        raise
    manifest, seconds = _manifest(destination), time.monotonic() - start
    if as_json:
        print_json(_summary(job, progress, manifest, seconds))
    else:
        note(_sentence(progress, seconds))
        print_path(manifest)
    return progress


def _manifest(destination: str) -> str:
    from unsay.batch.journal import MANIFEST

    return f"{destination.rstrip('/')}/{MANIFEST}"


def _summary(job: Job, progress: Progress, manifest: str, seconds: float) -> dict[str, Any]:
    done = {"done": progress.by_status.get(0, 0), "unchanged": progress.earlier.get(0, 0)}
    counts = done | {"not_found": progress.not_found, "failed": progress.failed}
    return {
        "verb": f"batch {job.verb}",
        "output": manifest,
        "photos": progress.photos,
        **counts,
        "seconds": round(seconds, 3),
    }


def _sentence(progress: Progress, seconds: float) -> str:
    as_they_were = progress.earlier.get(0, 0)
    parts = [f"{progress.by_status.get(0, 0)} done"]
    parts += [f"{as_they_were} as they were"] if as_they_were else []
    parts += [f"{progress.not_found} show none of the words"] if progress.not_found else []
    parts += [f"{progress.failed} failed"] if progress.failed else []
    return f"{_photos(progress.photos)}: {', '.join(parts)}, in {_span(seconds)}"


def _photos(number: int) -> str:
    return "1 photo" if number == 1 else f"{number} photos"


def _raise_for(progress: Progress, destination: str) -> None:
    """The exit status of the whole: 1 where photos failed, 3 where none showed anything, in this run or before it."""
    manifest = _manifest(destination)
    if progress.failed:
        raise UnsayError(f"{progress.failed} of {_photos(progress.photos)} failed: {manifest} says why")
    if progress.not_found == progress.photos:
        raise NotFound(f"none of {_photos(progress.photos)} shows what was asked for: see {manifest}", {})


@contextmanager
def _telling(*, quiet: bool) -> Iterator[Tell]:
    """A bar on a terminal, a line now and then elsewhere, and the first failures in words."""
    if quiet:
        yield lambda *_: None
    elif sys.stderr is not None and sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield _Lines()


class _Lines:
    """Progress for a log."""

    def __init__(self) -> None:
        self.told, self.failures = time.monotonic(), 0

    def __call__(self, progress: Progress, record: Any) -> None:
        if record is None:
            note(f"{_photos(progress.photos)}, {progress.unchanged} of them done already")
            return
        self.failures = _tell_failure(record, self.failures)
        if time.monotonic() - self.told >= EVERY_SECONDS:
            self.told = time.monotonic()
            note(_far(progress))


@contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, rate="looking at what is there")
        failures = 0

        def tell(progress: Any, record: Any) -> None:
            nonlocal failures
            if record is not None:
                failures = _tell_failure(record, failures)
            done = progress.handled + progress.unchanged
            bar.update(task, total=progress.photos or None, completed=done, rate=_pace(progress))

        yield tell


def _tell_failure(record: Any, told: int) -> int:
    """Say what is wrong with a photo, unless that was said of many already; gives how many were told."""
    if record["status"] not in (1, 2) or told > SHOWN:
        return told
    if told == SHOWN:
        note("further failures are in the manifest only")
    else:
        note(f"{record['photo']}: {one_line(Exception(record['error']))}")
    return told + 1


def _far(progress: Progress) -> str:
    return f"{progress.handled + progress.unchanged} of {_photos(progress.photos)}, {_pace(progress)}"


def _pace(progress: Progress) -> str:
    rate, left = progress.rate, progress.seconds_left
    return "the workers start" if rate is None or left is None else f"{rate:.2g} a second, {_span(left)} left"


def _span(seconds: float) -> str:
    """A time for a person: 42 s, 3 min, 5 h, 2 days."""
    for size, name in ((86400.0, " days"), (3600.0, " h"), (60.0, " min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{name}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
