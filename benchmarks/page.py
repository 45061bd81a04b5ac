"""How long someone at the page waits: opening, a new word, erasing, the picture. Prints one JSON object.

python benchmarks/page.py [--repeats N] [--json FILE]

The times are those of whole HTTP requests over loopback, on a server that does nothing else, medians and worst of N.
A new word is a word not asked before, on a photo that is open.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from page_server import enlarged, publish, server, square_mask

SIZES = {"0.4 megapixels": (768, 576), "3 megapixels": (2000, 1500), "12 megapixels": (4000, 3000)}
WORDS = [  # no photo is asked twice for the same
    "orca",
    "boat",
    "moon",
    "bird",
    "dog",
    "whale",
    "ship",
    "sky",
    "kite",
    "seal",
    "duck",
    "car",
    "swan",
    "shark",
]


def waits(client: httpx.Client, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """Median and worst seconds of every step, on a photo of this size."""
    photo, mask = enlarged(*size), square_mask(*size)
    times: dict[str, list[float]] = {}

    def note(step: str, ask: Callable[[], httpx.Response]) -> httpx.Response:
        start = time.perf_counter()
        answer = ask().raise_for_status()
        times.setdefault(step, []).append(time.perf_counter() - start)
        return answer

    words = iter(WORDS)
    for _ in range(repeats):
        id = note("open", lambda: client.post("/api/photos?name=a.jpg", content=photo)).json()["id"]
        about = f"/api/photos/{id}"
        for word in (next(words), next(words)):
            note("new word", partial(client.post, f"{about}/find", json={"words": [word]}))
        note("erase 2%", partial(client.post, f"{about}/erase", content=mask))
        note("picture", partial(client.get, f"{about}/picture?step=1"))
        note("download", partial(client.get, f"{about}/file?step=1"))
        client.delete(about)
    return {
        name: {"median_seconds": round(statistics.median(seconds), 3), "worst_seconds": round(max(seconds), 3)}
        for name, seconds in times.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with server() as running, running.client() as client:
        waits(client, (768, 576), 2)  # both workers have opened their networks
        result = {
            "waits": {name: waits(client, size, args.repeats) for name, size in SIZES.items()},
            "repeats": args.repeats,
        }
    publish(result, args.json)


if __name__ == "__main__":
    main()
