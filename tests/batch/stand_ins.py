from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2

from unsay.batch.engine import Workers
from unsay.batch.ledger import Item, Record
from unsay.batch.work import Setup, do
from unsay.bundle import load_bundle
from unsay.results import Pixels


class Here:
    """Ray's place taken by this process: what the workers would do, in the order `order` puts it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.order: Callable[[list[Item]], list[Item]] = list
        self.dies_before: int | None = None
        """After so many photos the run is cut off, as by a kill."""

    @contextmanager
    def workers(self, address: str | None, number: int | None, threads: int) -> Iterator[Workers]:
        yield Workers(number or 1, threads, address)

    def records(self, items: Iterable[Item], setup: Setup, use: Workers) -> Iterator[Record]:
        bundle = load_bundle(setup.job.bundle, threads=setup.threads)
        for item in self.order(list(items)):
            if self.dies_before is not None and len(self.done) >= self.dies_before:
                raise Cut
            record = do(item, setup, bundle)
            if not record.get("unchanged"):
                self.done.append(item["name"])
            yield record


class Cut(BaseException):
    """Nothing catches it: the run is over, whatever it was doing."""


def png(rgb: Pixels) -> bytes:
    return bytes(cv2.imencode(".png", rgb[..., ::-1])[1])


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def by_photo(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {record["photo"]: record for record in records}
