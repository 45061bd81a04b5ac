"""What a batch goes through: the photos of a folder, a glob or a bucket, or the rows of a table (Parquet, CSV)."""

from __future__ import annotations

import csv
import io
import math
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from unsay.batch.places import Entry, Place, open_place, split_url
from unsay.errors import BadInput
from unsay.photo.read import shown
from unsay.photo.write import SUFFIXES

TABLES = (".csv", ".parquet")
COLUMNS = ("photo", "words", "mask", "output")
ROWS = 1024
"""Rows of a Parquet file that are held at a time."""
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Asked:
    """One photo to go through.

    `name`: what it is called in the manifest, relative, with `/`. `url`: where it is, if not under that name in the
    source. `stamp`: see `Entry`. `words`: its own, if it has any. `mask`: the path or URL of its mask. `output`: the
    name that a table gives to its result. `error`: why it cannot be gone through at all.
    """

    name: str
    url: str | None = None
    stamp: str = ""
    words: tuple[str, ...] = ()
    mask: str | None = None
    output: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """Where photos come from: `place` is the folder, the glob's or the table's; `pattern` a glob within it."""

    place: Place
    pattern: str | None = None
    table: str | None = None

    def photos(self, without: Iterable[Place] = ()) -> Iterator[Asked]:
        """Every photo, in no certain order; what lies in the places `without` is passed over. Raises `BadInput`."""
        if self.table is not None:
            yield from _rows(self.place, self.table)
            return
        wanted = None if self.pattern is None else _matcher(self.pattern)
        others = frozenset(other.root for other in without if other.files == self.place.files)
        for entry in self.place.walk(others - {self.place.root}):
            if is_photo(entry) and (wanted is None or wanted.match(self.place.path(entry.name))):
                yield Asked(entry.name, stamp=entry.stamp)


def open_source(url: str) -> Source:
    """The source that a path or URL names: a folder, a glob (`photos/**/*.jpg`), a table (.csv, .parquet).

    Raises `BadInput` for one that is not there.
    """
    folder, name = split_url(url)
    if posixpath.splitext(name)[1].lower() in TABLES:
        place = open_place(folder)
        if not place.has(name):
            raise BadInput(f"no table {shown(url)}: check its path")
        return Source(place, table=name)
    place, magic = open_place(url), _MAGIC.search(url)
    if place.files.isdir(place.root):
        return Source(place)
    if magic is not None:
        fixed = url[: magic.start()].rpartition("/")[0]
        return Source(open_place(fixed or ("/" if url.startswith("/") else ".")), pattern=url)
    raise BadInput(
        f"{shown(url)} is {_what(place)}: give a folder, a glob in quotes, a bucket's path, or a .csv or .parquet"
    )


def open_folder(url: str) -> Place:
    """The folder or bucket's path that masks lie in. Raises `BadInput` for anything else."""
    place = open_place(url)
    if not place.files.isdir(place.root):
        raise BadInput(f"{shown(url)} is {_what(place)}: give the folder that the masks are in")
    return place


def is_photo(entry: Entry) -> bool:
    """Whether a file's name is a photo's."""
    return posixpath.splitext(entry.name)[1].lower() in SUFFIXES


def split_words(cell: Any) -> tuple[str, ...]:
    """The words in a cell of a table: a list, or text with commas or semicolons between them.

    Raises `BadInput` for a cell of another kind.
    """
    if _is_empty(cell):
        return ()
    parts = re.split(r"[,;]", cell) if isinstance(cell, str) else cell
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise BadInput(f"its words are {str(cell)[:60]!r}: give text, or a list of texts")
    return tuple(part.strip() for part in parts if part.strip())


def _is_empty(cell: Any) -> bool:
    """Nothing, or the NaN that data frames put in its place."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _text(row: dict[str, Any], column: str) -> str | None:
    """What a cell says; None for nothing. Raises `BadInput` for anything but text."""
    cell = row.get(column)
    if _is_empty(cell) or cell == "":
        return None
    if not isinstance(cell, str):
        raise BadInput(f"its {column} is {str(cell)[:60]!r}: give text")
    return cell


def _what(place: Place) -> str:
    return "a file" if place.files.exists(place.root) else "not there"


def _matcher(pattern: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(open_place(pattern).root))


def _rows(place: Place, table: str) -> Iterator[Asked]:
    suffix = posixpath.splitext(table)[1].lower()
    try:
        with place.files.open(place.path(table), "rb") as stream:
            rows = _csv_rows(stream) if suffix == ".csv" else _parquet_rows(stream)
            for number, row in enumerate(rows, start=1):
                yield _asked(place, number, row)
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's own errors are ValueErrors
        told = " ".join(str(error).split())[:300]
        raise BadInput(f"cannot read the table {shown(place.path(table))}: {told}") from error


def _asked(place: Place, number: int, row: dict[str, Any]) -> Asked:
    name = f"row {number}"
    try:
        photo = (_text(row, "photo") or "").strip()
        if not photo:
            return Asked(name, error="this row of the table names no photo: fill its column photo")
        name = output_name(photo)
        mask, output, words = _text(row, "mask"), _text(row, "output"), split_words(row.get("words"))
    except BadInput as error:
        return Asked(name, error=str(error))
    mask = None if mask is None else _within(place, mask)
    return Asked(name, url=_within(place, photo), words=words, mask=mask, output=output)


def output_name(photo: str) -> str:
    """A table's path or URL as a name within the destination: without scheme and leading slashes."""
    return posixpath.normpath(photo.partition("::")[0].rpartition("://")[2]).lstrip("/")


def _within(place: Place, path: str) -> str:
    """A path that a table gives: as it is if it is a URL or absolute, else within the table's folder."""
    if "://" in path or path.startswith("/"):
        return path
    return str(place.files.unstrip_protocol(place.path(path)))


def _csv_rows(stream: Any) -> Iterator[dict[str, Any]]:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        _check_columns(reader.fieldnames or ())
        yield from reader


def _parquet_rows(stream: Any) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    file = parquet.ParquetFile(stream)
    names = file.schema_arrow.names
    _check_columns(names)
    for batch in file.iter_batches(batch_size=ROWS, columns=[name for name in COLUMNS if name in names]):
        yield from batch.to_pylist()


def _check_columns(names: Sequence[str]) -> None:
    if "photo" not in names:
        has = ", ".join(str(name) for name in names)[:200] or "none"
        raise BadInput(f"the table has no column photo; it has {has}: name one of them photo")
