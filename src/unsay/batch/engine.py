"""The photos of a batch through Ray Data: here, or on a cluster that is joined. No scheduler of our own.

The items go through in waves, so that what Ray keeps of a run's past stays bounded; within a wave every worker has a
bundle open and takes the next few photos when it is free. Where a worker dies (memory, a power cut of its machine),
what it had in hand is given out once more, a photo at a time; a photo whose workers die three times is the reason.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

from unsay.batch.ledger import Item, Record, text
from unsay.errors import UnsayError
from unsay.leftovers import private_folder
from unsay.processes import THREADS, cores

WAVE = 256
"""Photos of a wave for each worker,"""
LEAST_WAVE = 2048
"""and at least so many: a wave's end leaves workers idle, and the next opens their bundles anew."""
ROWS = 4
"""Photos that a worker takes at a time; fewer where there are few, one in the passes over what dead workers left."""
SHARES = 8
"""Times at least that each worker is given something: the last one to end is then not long behind the others."""
PASSES = 3
SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Nothing reported to anybody, and no warnings from Ray's own processes on standard error."""
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
"""For a Ray of our own. Its processes listen on the loopback address alone, as they do by themselves on macOS and
Windows: on Linux they take 127.0.0.1 for a wish to be reached by others. Read as Ray is imported. And once the command
is killed they wait for its return for 5 seconds, not 60.
"""
PATIENCE = 10.0
"""Seconds in which a cluster has to answer."""
STORE_BYTES = 256 * 1024 * 1024
LONGEST_PLACE = 16
"""Bytes of the path in which Ray's folder may lie: its sockets' paths, some 87 longer, must have less than 104."""


@dataclass(frozen=True)
class Workers:
    """How many workers, and how many threads each has. `address`: of the cluster; None: this machine."""

    number: int
    threads: int
    address: str | None = None


class Task(Protocol):
    """What each worker is made of; it travels to the workers' machines."""

    @property
    def rows(self) -> int:
        """Items that a worker takes at a time."""
        ...

    def prepare(self) -> Callable[[Item], Record]:
        """Called once in each worker: what makes a record of an item, and never raises."""
        ...

    def died(self, item: Item) -> Record:
        """The record of an item whose workers died."""
        ...


@contextmanager
def workers(address: str | None, number: int | None, threads: int) -> Iterator[Workers]:
    """Start Ray on this machine, or join the cluster at `address` ("auto": the one that runs here).

    `number`: of workers; None: as many as there are cores for. Raises `UnsayError` where there is no such cluster.
    """
    if address is not None:
        _check_answers(address)
    os.environ.update(SILENT if address else SILENT | ALONE)
    if address is None:  # a token of this process's own; by itself Ray would keep one in the user's home
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()})
    import ray
    import ray.data

    before = signal.getsignal(signal.SIGTERM)
    scratch = str(private_folder("unsay-ray-", _short_place())) if address is None else None
    try:
        here = number or max(1, cores() // threads)
        own: dict[str, Any] = {
            "num_cpus": here * threads,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
        }
        own |= {"_node_ip_address": "127.0.0.1", "_temp_dir": scratch}
        joined = {"address": address} if address else own
        variables = {name: str(threads) for name in THREADS}
        try:
            with _no_standard_error():
                ray.init(
                    **joined, runtime_env={"env_vars": variables}, log_to_driver=False, logging_level=logging.CRITICAL
                )
        except (Exception, SystemExit) as error:  # it gives up by leaving the process
            told = "it gave up" if isinstance(error, SystemExit) else " ".join(str(error).split())[:300]
            if address is None:
                raise UnsayError(f"cannot start Ray on this machine: {told}") from error
            token = "" if os.environ.get("RAY_AUTH_MODE") else "; if it wants a token, set RAY_AUTH_MODE=token here too"
            raise UnsayError(f"cannot join the cluster at {address}: {told}{token}") from error
        try:
            _on_sigterm(before if callable(before) else _stop)
            _quiet(ray)
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call, unused-ignore]
            all_of_it = int(resources.get("CPU", 1)) // threads
            yield Workers(number or max(1, all_of_it), threads, address)
        finally:
            ray.shutdown()
            _on_sigterm(before)
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def records(items: Iterable[Item], task: Task, use: Workers) -> Iterator[Record]:
    """The record of each item, as they are done: in no certain order. Items and records are told by their `result`."""
    waiting = iter(items)
    size = max(LEAST_WAVE, WAVE * use.number)
    while wave := list(itertools.islice(waiting, size)):
        yield from _wave(wave, task, use)


def _wave(items: list[Item], task: Task, use: Workers) -> Iterator[Record]:
    left = {item["result"]: item for item in items}
    few = max(1, len(items) // (SHARES * use.number))
    for number in range(PASSES):
        try:
            for record in _pass(list(left.values()), task, use, 1 if number else min(few, task.rows), number == 0):
                del left[record["result"]]
                yield record
        except LostPass as error:
            if number == PASSES - 1:
                raise UnsayError(f"the workers cannot go on: {error}; run the same command to go on") from error
        if not left:
            return
    yield from (task.died(item) for item in left.values())


def _pass(items: Sequence[Item], task: Task, use: Workers, rows: int, ahead: bool) -> Iterator[Record]:
    """The records of the items whose workers lived. `ahead`: each has the next ones waiting, which are lost with it.

    Raises `UnsayError` where no worker can start, `LostPass` for what may have been a death at a bad moment.
    """
    import pyarrow as pa
    import ray.data

    lines = [text(item) for item in items]
    blocks = [pa.table({"item": lines[start : start + rows]}) for start in range(0, len(lines), rows)]
    pool = ray.data.ActorPoolStrategy(size=min(use.number, len(blocks)), max_tasks_in_flight_per_actor=1 + ahead)
    arguments: dict[str, Any] = {"fn_constructor_args": (task,), "compute": pool, "num_cpus": use.threads}
    arguments |= {"batch_size": None, "batch_format": "pyarrow", "max_restarts": -1, "max_task_retries": 0}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args")  # there is no other way to bound retries yet
        done = ray.data.from_arrow(blocks).map_batches(Worker, **arguments)
    try:
        tables: Iterable[Any] = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        for table in tables:
            yield from (json.loads(line) for line in table["record"].to_pylist())
    except ray.exceptions.RayError as error:
        told = _cause(error)
        if isinstance(getattr(error, "cause", None), UnsayError) or "creation task" in str(error):
            raise UnsayError(f"the workers cannot start: {told}") from error
        raise LostPass(told) from error


class LostPass(Exception):
    """Ray gave up a pass: what it had not done is left."""


class Worker:
    """A process that is ready for its task; Ray Data makes one for each actor and hands it blocks of items."""

    def __init__(self, task: Task) -> None:
        self.do = task.prepare()

    def __call__(self, batch: Any) -> Any:
        """A table of items, one line of JSON each -> a table of records."""
        import pyarrow as pa

        return pa.table({"record": [text(self.do(json.loads(item))) for item in batch["item"].to_pylist()]})


@cache
def _token() -> str:
    """The same for all runs of this process, as Ray reads it once."""
    return secrets.token_hex(32)


def _on_sigterm(handler: Any) -> None:
    """Ray's own handler would print its stack. Only the main thread may set one."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)


def _stop(*_: object) -> None:
    """As Ctrl-C."""
    raise KeyboardInterrupt


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """What Ray's core writes there as it starts is for Ray's authors: that it read RAY_BACKEND_LOG_LEVEL, say."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _short_place() -> str:
    """Where Ray's files go: the system's place for temporary files, unless its path is too long for sockets."""
    place = tempfile.gettempdir()
    return place if os.name != "posix" or len(os.fsencode(place)) <= LONGEST_PLACE else "/tmp"


def _check_answers(address: str) -> None:
    """Raise `UnsayError` where nothing answers at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UnsayError(f"no Ray cluster answers at {address} ({error}): start one there with `ray start`") from error


def check_installed() -> None:
    """Raise `UnsayError` where the extra is missing."""
    missing = [name for name in ("ray", "pyarrow", "fsspec") if find_spec(name) is None]
    if missing:
        raise UnsayError(f"this needs {', '.join(missing)}: pip install 'unsay[batch]'")


def _quiet(ray: Any) -> None:
    """Ray Data's own bars and reports off; a worker's death is no reason to stop."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _cause(error: BaseException) -> str:
    """The innermost reason in one line: Ray wraps errors in whole tracebacks."""
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
