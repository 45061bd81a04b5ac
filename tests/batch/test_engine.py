"""What the engine makes of passes over a wave in which workers die; Ray itself is in test_on_ray.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from unsay.batch import engine
from unsay.batch.engine import LostPass, Workers, records
from unsay.errors import UnsayError

ITEMS = [{"result": str(number)} for number in range(40)]


class Nothing:
    rows = 4

    def prepare(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return dict

    def died(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"result": item["result"], "died": True}


class Passes:
    """In Ray's place: each pass does so many of its items, then ends or is given up."""

    def __init__(self, *passes: tuple[int, bool]) -> None:
        self.passes, self.rows = list(passes), []

    def __call__(
        self, items: list[dict[str, Any]], task: Any, use: Any, rows: int, ahead: bool
    ) -> Iterator[dict[str, Any]]:
        done, lost = self.passes.pop(0)
        self.rows.append(rows)
        yield from items[:done]
        if lost:
            raise LostPass("an actor is gone")


def go(monkeypatch: pytest.MonkeyPatch, passes: Passes, items: list[dict[str, Any]] = ITEMS) -> list[dict[str, Any]]:
    monkeypatch.setattr(engine, "_pass", passes)
    return list(records(items, Nothing(), Workers(2, 1)))


def test_a_pass_that_is_given_up_is_taken_up_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes((10, True), (20, True), (10, False))
    assert sorted(int(record["result"]) for record in go(monkeypatch, passes)) == list(range(40))
    assert passes.rows == [2, 1, 1]


def test_a_third_one_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsayError, match="cannot go on: an actor is gone; run the same command"):
        go(monkeypatch, Passes((10, True), (0, True), (5, True)))


def test_what_three_workers_died_over_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = go(monkeypatch, Passes((39, False), (0, False), (0, False)))
    assert [record["result"] for record in told if record.get("died")] == ["39"]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (15, 1), (40, 2), (64, 4), (1000, 4)])
def test_few_photos_are_dealt_in_small_shares(monkeypatch: pytest.MonkeyPatch, count: int, rows: int) -> None:
    passes = Passes((count, False))
    go(monkeypatch, passes, [{"result": str(number)} for number in range(count)])
    assert passes.rows == [rows]
