"""Jobs: each in a process of its own, at most so many at a time, the rest in a short line; timed, and stopped for good.

The pool is pebble's: a job that is cancelled or takes too long loses its process, and a new one takes its place.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from unsay.errors import UnsayError
from unsay.web import work
from unsay.web.settings import Settings, cores

T = TypeVar("T")


class Refused(UnsayError):
    """A request that is not done: the HTTP `status`, a sentence, and what else the answer says."""

    def __init__(self, status: int, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status, self.details = status, details or {}


class Gone(Exception):
    """The one who asked is no longer there."""


class Jobs:
    """The processes that do the work; `start` and `stop` them with the server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pending = 0
        self._pool: ProcessPool | None = None

    @property
    def running(self) -> int:
        """Jobs that are being done."""
        return min(self.pending, self.settings.jobs)

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn."""
        return self.pending - self.running

    @property
    def full(self) -> bool:
        """Whether one more job would be refused."""
        return self.pending >= self.settings.jobs + self.settings.queue

    def start(self) -> None:
        """Start the processes and wait until one can work. Raises `UnsayError` for a bundle that cannot be used."""
        settings = self.settings
        threads = max(1, cores() // settings.jobs)
        self._pool = ProcessPool(
            max_workers=settings.jobs,
            initializer=work.set_up,
            initargs=(settings.bundle, threads, settings.max_megapixels, settings.job_bytes),
            context=multiprocessing.get_context("spawn"),  # a fork would share the networks' threads
        )
        first = self._pool.schedule(work.ready).result()
        if isinstance(first, work.Refusal):
            self.stop()
            raise UnsayError(first.message)

    def stop(self) -> None:
        """End all processes, whatever they do."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None

    async def run(
        self, gone: Callable[[], Awaitable[None]], function: Callable[..., T | work.Refusal], *given: Any
    ) -> T:
        """What `function(*given)` gives in one of the processes.

        `gone` returns when the one who asked has left: then the work is stopped. Raises `Refused` (429 with a full
        line, 504 after the longest time, and what the function refuses), `Gone`.
        """
        if self.full or self._pool is None:
            raise busy(self.settings)
        self.pending += 1
        try:
            job = self._pool.schedule(function, args=given, timeout=self.settings.seconds)
            job.add_done_callback(lambda _: None)
            answer: T = await _first(asyncio.wrap_future(job), asyncio.ensure_future(gone()))
            return answer
        except concurrent.futures.TimeoutError:
            limit = f"{self.settings.seconds:g}"
            raise Refused(504, f"the work took more than {limit} s and was stopped: use a smaller copy") from None
        except ProcessExpired as error:
            raise Refused(500, "the work on this photo ended unexpectedly: use a smaller or another copy") from error
        finally:
            self.pending -= 1


def busy(settings: Settings) -> Refused:
    """The refusal while the line is full."""
    return Refused(429, f"{settings.jobs} jobs run and {settings.queue} wait: try again in a few seconds")


async def _first(job: asyncio.Future[Any], gone: asyncio.Future[None]) -> Any:
    """The job's result, unless the one who asked leaves first."""
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise Gone
        answer = job.result()
        if isinstance(answer, work.Refusal):
            raise Refused(answer.status, answer.message, answer.details)
        return answer
    finally:
        job.cancel()
        gone.cancel()
