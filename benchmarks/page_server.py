"""A real `unsay serve` in a process of its own, and the memory it holds; for page.py and page_load.py."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np

EXAMPLE = Path(__file__).parent.parent / "examples" / "sea.jpg"


class Server:
    """`address`, `process`, and `temp`, the folder in which it keeps photos."""

    def __init__(self, temp: Path) -> None:
        self.temp = temp
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unsay", "serve", "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(temp)},
        )
        assert self.process.stderr is not None
        self.address = next(word for word in self.process.stderr.readline().split() if word.startswith("http"))

    def client(self, **options: object) -> httpx.Client:
        """One who asks, one request after another."""
        return httpx.Client(base_url=self.address, timeout=120, **options)  # type: ignore[arg-type]

    def memory(self) -> float:
        """MiB that the server and its workers hold, shared pages counted once (PSS)."""
        return sum(_pss(process) for process in [self.process.pid, *_children(self.process.pid)]) / 1024

    def files(self) -> int:
        """Files that it keeps."""
        return sum(path.is_file() for path in self.temp.rglob("*"))


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A server for the time of the block; ended with SIGTERM. Fails if a file of it is left."""
    with tempfile.TemporaryDirectory() as folder:
        running = Server(Path(folder))
        try:
            yield running
        finally:
            running.process.send_signal(signal.SIGTERM)
            running.process.wait(30)
        if running.files():
            raise RuntimeError(f"{running.files()} files were left")


def publish(result: dict[str, object], path: Path | None) -> None:
    """Print the result with what it was measured on; also to the file `path`."""
    text = json.dumps(result | {"cores": os.cpu_count(), "python": platform.python_version()}, indent=1)
    print(text)
    if path:
        path.write_text(text + "\n", encoding="utf-8")


def enlarged(width: int, height: int) -> bytes:
    """The example photo at another size, as a JPEG."""
    photo = cv2.resize(cv2.imread(str(EXAMPLE)), (width, height), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", photo)[1])


def square_mask(width: int, height: int, share: float = 0.02) -> bytes:
    """A mask with a square hole of that share of the photo in its middle, as a PNG."""
    mask = np.zeros((height, width), np.uint8)
    side = round((share * width * height) ** 0.5)
    top, left = (height - side) // 2, (width - side) // 2
    mask[top : top + side, left : left + side] = 255
    return bytes(cv2.imencode(".png", mask)[1])


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    direct = [int(number) for task in listed.parent.parent.glob("*/children") for number in task.read_text().split()]
    return direct + [deeper for child in direct for deeper in _children(child)]


def _pss(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
