"""Jobs: each in a process of its own, at most so many at a time, the rest in a short line; timed, and stopped for good.

The pool is pebble's: a job that is cancelled or takes too long loses its process, and a new one takes its place.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from unsay.bundle import load_bundle
from unsay.errors import BundleError, UnsayError
from unsay.processes import THREADS, cores
from unsay.web import work
from unsay.web.settings import Settings

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
        """Start the processes and wait until one can work. Raises `BundleError` for a bundle that cannot be used."""
        load_bundle(self.settings.bundle)
        self._pool = self._new_pool()
        ready = self._pool.schedule(work.ready).result()
        if isinstance(ready, work.Refusal):
            self.stop()
            raise BundleError(ready.message)

    def stop(self) -> None:
        """End all processes, whatever they do."""
        pool, self._pool = self._pool, None
        if pool is not None:
            _end(pool)

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
            try:
                answer: T = await self._once(self._pool, gone, function, given)
            except RuntimeError:  # pebble gives up once all idle processes are dead
                answer = await self._once(self._renewed(), gone, function, given)
            return answer
        except (concurrent.futures.TimeoutError, asyncio.TimeoutError):
            limit = f"{self.settings.seconds:g}"
            advice = "use a smaller copy or another format"
            raise Refused(504, f"the work took more than {limit} s and was stopped: {advice}") from None
        except (ProcessExpired, RuntimeError) as error:
            raise Refused(500, "the work on this photo ended unexpectedly: use a smaller or another copy") from error
        finally:
            self.pending -= 1

    async def _once(self, pool: ProcessPool, gone: Any, function: Any, given: tuple[Any, ...]) -> Any:
        job = pool.schedule(function, args=given, timeout=self.settings.seconds)
        return await _first(asyncio.wrap_future(job), asyncio.ensure_future(gone()))

    def _renewed(self) -> ProcessPool:
        """A new pool in the place of one that broke; whoever finds out first makes it."""
        if self._pool is None or not self._pool.active:
            broken, self._pool = self._pool, self._new_pool()
            if broken is not None:
                threading.Thread(target=_end, args=(broken,), daemon=True).start()
        return self._pool

    def _new_pool(self) -> ProcessPool:
        settings = self.settings
        threads = max(1, cores() // settings.jobs)
        for (
            name
        ) in THREADS:  # libraries read these as a worker imports them; more threads than cores halve the work done
            os.environ.setdefault(name, str(threads))
        pool = ProcessPool(
            max_workers=settings.jobs,
            initializer=work.set_up,
            initargs=(settings.bundle, threads, settings.max_megapixels, settings.job_bytes),
            context=multiprocessing.get_context("spawn"),  # a fork would share the networks' threads
        )
        with _sigint_blocked():
            if not pool.active:  # asking starts it
                raise UnsayError("the processes that do the work cannot be started: see that memory is not short")
        return pool


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """The threads and processes begun inside never get Ctrl-C: it is for the server, which ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


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
