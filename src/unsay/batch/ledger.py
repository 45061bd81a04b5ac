"""What is to be done and what was done, in a database file of this run: memory stays the same for any number of photos.

A *record* is what the manifest says of one photo, as a dictionary:

    photo, result       the photo's name and its result's, within source and destination
    status, error       as the command line would end for it: 0 done, 1 failed, 2 bad input, 3 nothing found
    input, mask         sha256 of the photo and of its mask, null where it was not read
    stamp, mask_stamp   what a listing told of them then
    recipe              what stands for the words, the bundle and the options
    bytes, sha256       of the result
    left                where it failed or was not finished: sha256 of the result that an earlier run left there, or "*"
                        for whatever is there; missing where there is none
    and what the verb reports: words, found, scores ...
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]
Item = dict[str, Any]
"""A photo to do, for a worker: name, url, words, mask, result, recipe, stamp, mask_stamp, known (a record or null)."""
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE known (key BLOB PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE there (key BLOB PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE masks (stem BLOB PRIMARY KEY, name TEXT NOT NULL, stamp TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE inputs (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE plan (key BLOB PRIMARY KEY, item TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
"""


class Ledger:
    """The database; `path`: a file that does not exist yet. Keys are the results' names."""

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def know(self, records: Iterable[Record]) -> None:
        """Take records; later ones replace earlier ones of the same result."""
        rows = ((_key_of(record), text(record)) for record in records)
        with self._at_once():
            self._base.executemany("INSERT OR REPLACE INTO known VALUES (?, ?)", rows)

    def see(self, results: Iterable[tuple[str, int]]) -> None:
        """Take the names and sizes of the files that the destination holds."""
        with self._at_once():
            self._base.executemany("INSERT OR REPLACE INTO there VALUES (?, ?)", ((key(n), s) for n, s in results))

    def see_masks(self, masks: Iterable[tuple[str, str, str]]) -> None:
        """Take masks as (name of the photo without its ending, name, stamp); of two the first in order is kept."""
        rows = ((key(stem), name, stamp) for stem, name, stamp in masks)
        keep = "ON CONFLICT (stem) DO UPDATE SET name = excluded.name, stamp = excluded.stamp"
        keep += " WHERE excluded.name < masks.name"
        with self._at_once():
            self._base.executemany(f"INSERT INTO masks VALUES (?, ?, ?) {keep}", rows)

    def reads(self, names: Iterable[str]) -> None:
        """Take names, within the destination, of photos and masks that are read."""
        self._base.executemany("INSERT OR IGNORE INTO inputs VALUES (?)", ((key(name),) for name in names))

    def overwrites(self) -> list[Item]:
        """What is planned and would replace a photo or a mask that is read; it is planned no more."""
        found = self._base.execute("SELECT item FROM plan JOIN inputs USING (key) ORDER BY plan.key").fetchall()
        self._base.execute("DELETE FROM plan WHERE key IN (SELECT key FROM inputs)")
        return [json.loads(item) for (item,) in found]

    def mask_of(self, stem: str) -> tuple[str, str] | None:
        """The mask's name and stamp for a photo of this name without its ending."""
        found = self._base.execute("SELECT name, stamp FROM masks WHERE stem = ?", (key(stem),)).fetchone()
        return None if found is None else (str(found[0]), str(found[1]))

    def plan(self, items: Iterable[Item]) -> Iterator[Item]:
        """Take what is to be done; gives back those whose result is another one's too.

        Of two photos with one result the one whose name comes first has it, whatever the order they come in.
        """
        clashes: list[Item] = []
        with self._at_once():
            for item in items:
                own = (key(item["result"]), text(item))
                try:
                    self._base.execute("INSERT INTO plan (key, item) VALUES (?, ?)", own)
                except sqlite3.IntegrityError:
                    clashes += self._clash(item)
        yield from clashes

    def steps(self) -> Iterator[tuple[Item, Record | None, int | None]]:
        """Everything planned, by name, with what is known of it and the size of the result that is there."""
        query = """SELECT plan.item, known.record, there.bytes FROM plan
                   LEFT JOIN known USING (key) LEFT JOIN there USING (key) WHERE NOT plan.done ORDER BY plan.key"""
        for item, record, size in self._base.execute(query):
            yield json.loads(item), None if record is None else json.loads(record), size

    def done(self, keys: Iterable[bytes]) -> None:
        """Mark as done what needs nothing more in this run."""
        with self._at_once():
            self._base.executemany("UPDATE plan SET done = 1 WHERE key = ?", ((one,) for one in keys))

    def left(self) -> int:
        """How many are not done."""
        return int(self._base.execute("SELECT count(*) FROM plan WHERE NOT done").fetchone()[0])

    def record(self, name: str) -> Record | None:
        """What is known of one result."""
        found = self._base.execute("SELECT record FROM known WHERE key = ?", (key(name),)).fetchone()
        return None if found is None else json.loads(found[0])

    def records(self) -> Iterator[str]:
        """All records as lines of JSON, in the order of their keys."""
        for (record,) in self._base.execute("SELECT record FROM known ORDER BY key"):
            yield record

    def _clash(self, item: Item) -> Iterator[Item]:
        """Two want one result: the winner stays in the plan, the other comes back."""
        (there,) = self._base.execute("SELECT item FROM plan WHERE key = ?", (key(item["result"]),)).fetchone()
        mine, theirs = text(item), str(there)
        if mine == theirs:  # the same row twice
            return
        if (item["name"], mine) < (json.loads(theirs)["name"], theirs):
            self._base.execute("UPDATE plan SET item = ? WHERE key = ?", (mine, key(item["result"])))
            mine, theirs = theirs, mine
        yield json.loads(mine) | {"other": json.loads(theirs)["name"]}

    def _at_once(self) -> _Transaction:
        return _Transaction(self._base)


class _Transaction:
    """All statements of the block in one go: with a file's worth of rows that is a thousand times as fast."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base

    def __enter__(self) -> None:
        self._base.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        self._base.execute("COMMIT")


def text(value: dict[str, Any]) -> str:
    """One line of JSON, ASCII: names of files may hold bytes that no text has."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def key(name: str) -> bytes:
    """A result's name as the database sorts and compares it."""
    return name.encode("utf-8", "surrogateescape")


def _key_of(record: Record) -> bytes:
    """A photo that cannot have a result is known by its own name and the reason: a table may ask for it twice."""
    return key(record["result"]) if record["result"] is not None else key(f"\0{record['photo']}\0{record['error']}")
