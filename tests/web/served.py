"""Starts the real server in a process of its own, with limits small enough to be met in a test."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from unsay.web.server import serve
from unsay.web.settings import Settings
if __name__ == "__main__":
    serve(Settings(port=0, **{settings!r}), lambda address: print(address, flush=True))
"""
START_SECONDS = 60


class Served:
    """A running server: its `address`, its `process`, and the folder `temp` in which it keeps photos."""

    def __init__(self, temp: Path, **settings: Any) -> None:
        self.temp = temp
        program = temp / "program.py"
        program.write_text(PROGRAM.format(settings=settings))
        places = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in places if p), "TMPDIR": str(temp)}
        self.process = subprocess.Popen(
            [sys.executable, str(program)], stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
        )
        self.address = self._first_line()

    def _first_line(self) -> str:
        lines: queue.Queue[str] = queue.Queue()
        stream = self.process.stdout
        assert stream is not None
        threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
        return lines.get(timeout=START_SECONDS).strip()

    def client(self, **options: Any) -> httpx.Client:
        """Someone who asks it."""
        return httpx.Client(base_url=self.address, timeout=60, **options)

    @property
    def photos(self) -> list[Path]:
        """The folders of photos that it holds."""
        return list(self.temp.glob("unsay-page-*/*"))

    @property
    def workers(self) -> list[int]:
        """The processes that do its jobs."""
        found = subprocess.run(
            ["ps", "-ww", "--ppid", str(self.process.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return [int(line.split()[0]) for line in found.splitlines() if "spawn_main" in line]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; gives its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def served(temp: Path, **settings: Any) -> Iterator[Served]:
    """A server for the time of the block; nothing of it is left afterwards."""
    server = Served(temp, **settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        if server.process.stdout is not None:
            server.process.stdout.close()


def until(condition: Any, seconds: float = 15.0) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())
