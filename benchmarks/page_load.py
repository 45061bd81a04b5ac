"""The page's server under load and abuse: what is lost, refused, held and left. Prints one JSON object.

python benchmarks/page_load.py [--seconds 120] [--json FILE]

Load: jobs (erase by a word, 768 x 576) come at twice the rate that the server can do, whether or not earlier ones were
answered. Every job that was accepted must be done, the rest refused with 429. Then the time until single jobs take as
long as before. Abuse: half-open connections, slow senders, small requests by the thousand, jobs whose askers leave,
path tricks; a patient client asks all the while. Memory is that of the server and its workers together (PSS).
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from page_server import EXAMPLE, Server, enlarged, publish, server

WORD = "/api/erase?word=orca"
NORMAL = 1.5
"""Latency is normal again once a job takes at most this many times the median of before."""
CAP_MIB = 2048
"""What the server and two workers may hold under this load."""
TRICKS = [
    "/static/../../etc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd", "/static/..%5c..%5cwindows", "//etc/passwd",
    "/api/photos/../../etc/passwd", "/api/photos/%00/file", "/static/%00", "/api/photos/..%2f..%2f/picture",
]  # fmt: skip


class Meter:
    """Samples the server's memory until the block ends; `peak` in MiB."""

    def __init__(self, running: Server) -> None:
        self.running, self.peak = running, 0.0

    async def __aenter__(self) -> Meter:
        self.task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, await asyncio.to_thread(self.running.memory))
            await asyncio.sleep(1)


async def one(client: httpx.AsyncClient, photo: bytes) -> tuple[int, float]:
    """The status of a job and its seconds; 0 where the connection failed."""
    start = time.perf_counter()
    try:
        status = (await client.post(WORD, content=photo)).status_code
    except httpx.HTTPError:
        status = 0
    return status, time.perf_counter() - start


async def alone(client: httpx.AsyncClient, photo: bytes, count: int = 8) -> float:
    """Median seconds of single jobs."""
    return statistics.median([(await one(client, photo))[1] for _ in range(count)])


async def capacity(client: httpx.AsyncClient, photo: bytes, seconds: float) -> float:
    """Jobs a second with twice as many askers as the server has workers: it is never idle, and nobody is refused."""
    workers = (await client.get("/api/status")).json()["limits"]["jobs"]
    end, done = time.perf_counter() + seconds, 0

    async def asker() -> None:
        nonlocal done
        while time.perf_counter() < end:
            status, _ = await one(client, photo)
            done += status == 200

    await asyncio.gather(*(asker() for _ in range(2 * workers)))
    return done / seconds


async def overload(client: httpx.AsyncClient, photo: bytes, rate: float, seconds: float) -> dict[str, Any]:
    """What became of jobs that came at that rate."""
    start, jobs = time.perf_counter(), []
    while (elapsed := time.perf_counter() - start) < seconds:
        if len(jobs) < elapsed * rate:
            jobs.append(asyncio.create_task(one(client, photo)))
        await asyncio.sleep(0.01)
    answers = await asyncio.gather(*jobs)
    counts = collections.Counter(status for status, _ in answers)
    done = [s for status, s in answers if status == 200]
    return {
        "sent": len(answers),
        "done": counts[200],
        "refused_429": counts[429],
        "others": {str(k): v for k, v in counts.items() if k not in (200, 429)},
        "done_median_seconds": round(statistics.median(done), 2),
        "done_worst_seconds": round(max(done), 2),
        "refusal_median_seconds": round(statistics.median([s for status, s in answers if status == 429] or [0.0]), 3),
    }


async def recovery(client: httpx.AsyncClient, photo: bytes, normal: float) -> float:
    """Seconds until three single jobs in a row take no more than `NORMAL` times as long as before."""
    start, good = time.perf_counter(), 0
    while good < 3 and time.perf_counter() - start < 60:
        first = time.perf_counter() - start
        status, seconds = await one(client, photo)
        good = good + 1 if status == 200 and seconds <= NORMAL * normal else 0
        since = first if good == 1 else since if good else first  # noqa: F821  # set with the first of the three
    return since


@contextlib.asynccontextmanager
async def asked_meanwhile(client: httpx.AsyncClient, photo: bytes) -> AsyncIterator[list[tuple[int, float]]]:
    """One who erases all the while, patiently; what came of it."""
    answers: list[tuple[int, float]] = []

    async def asker() -> None:
        while True:
            answers.append(await one(client, photo))

    task = asyncio.create_task(asker())
    yield answers
    task.cancel()


async def connect(address: str, begun: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which only the beginning of a request was sent."""
    place = urlsplit(address)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(begun)
    return reader, writer


async def cut_off(address: str, count: int, begun: bytes) -> dict[str, Any]:
    """Connections that stay silent after `begun`: how many the server ended, and how soon."""
    start = time.perf_counter()
    opened = await asyncio.gather(*(connect(address, begun) for _ in range(count)))

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            await asyncio.wait_for(reader.read(), 30)
        except (asyncio.TimeoutError, ConnectionError):
            return False
        finally:
            writer.close()
        return True

    ended = await asyncio.gather(*(end(*pair) for pair in opened))
    return {"connections": count, "ended": sum(ended), "seconds": round(time.perf_counter() - start, 1)}


async def small_requests(address: str, count: int) -> dict[str, Any]:
    """As many requests for the status, 50 at a time."""
    start = time.perf_counter()
    statuses: collections.Counter[int] = collections.Counter()
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:

        async def some() -> None:
            for _ in range(count // 50):
                statuses[(await client.get("/api/status")).status_code] += 1

        await asyncio.gather(*(some() for _ in range(50)))
    seconds = time.perf_counter() - start
    return {"statuses": dict(statuses), "seconds": round(seconds, 1), "a_second": round(count / seconds)}


async def leavers(address: str, count: int) -> dict[str, Any]:
    """Askers who leave after half a second, on a photo that takes longer; jobs that still wait 5 s later."""
    photo = enlarged(3000, 2250)
    async with httpx.AsyncClient(base_url=address, timeout=0.5) as client:
        for _ in range(count):
            await one(client, photo)
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        await asyncio.sleep(5)
        status = (await client.get("/api/status")).json()
    return {"left": count, "still_waiting": status["waiting"]}


async def tricks(address: str) -> dict[str, int]:
    """The statuses of requests for what is not the page's."""
    found = {}
    for path in TRICKS:
        reader, writer = await connect(
            address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        found[path] = int((await reader.read()).split(b" ")[1])
        writer.close()
    return found


async def abuse(running: Server, client: httpx.AsyncClient, photo: bytes) -> dict[str, Any]:
    """Every kind of it in turn, with what a patient asker got meanwhile."""
    head = b"POST /api/photos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
    kinds: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "half-open connections": lambda: cut_off(running.address, 300, b"GET / HTTP/1.1\r\nHost"),
        "slow senders": lambda: cut_off(running.address, 100, head + b"x" * 5000),
        "small requests": lambda: small_requests(running.address, 10_000),
        "jobs left": lambda: leavers(running.address, 20),
        "path tricks": lambda: tricks(running.address),
    }
    result = {}
    for name, kind in kinds.items():
        async with asked_meanwhile(client, photo) as answers:
            outcome = await kind()
        good = [seconds for status, seconds in answers if status == 200]
        result[name] = outcome | {
            "meanwhile_done": len(good),
            "meanwhile_not_done": len(answers) - len(good),
            "meanwhile_median_seconds": round(statistics.median(good), 2) if good else None,
        }
    return result


async def measure(running: Server, seconds: float) -> dict[str, Any]:
    """All of it."""
    photo = EXAMPLE.read_bytes()
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=running.address, timeout=120, limits=limits) as client,
        Meter(running) as meter,
    ):
        await alone(client, photo)
        before = await alone(client, photo)
        idle = running.memory()
        rate = await capacity(client, photo, min(20.0, seconds))
        load = await overload(client, photo, 2 * rate, seconds)
        back = await recovery(client, photo, before)
        peak = meter.peak
        attacked = await abuse(running, client, photo)
        attacked_peak = meter.peak
        await asyncio.sleep(2)
        status = (await client.get("/api/status")).json()
    return {
        "alone_median_seconds": round(before, 2),
        "capacity_jobs_a_second": round(rate, 2),
        "load_seconds": seconds,
        "load": load,
        "seconds_until_normal": round(back, 1),
        "memory_mib": {"idle": round(idle), "peak_load": round(peak), "peak_all": round(attacked_peak), "cap": CAP_MIB},
        "abuse": attacked,
        "left_running": status["running"] + status["waiting"],
        "files_kept_after": running.files(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with server() as running:
        result = asyncio.run(measure(running, args.seconds))
    result["files_left"] = 0  # else the block above would have failed
    publish(result, args.json)


if __name__ == "__main__":
    main()
