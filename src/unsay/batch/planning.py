"""What a run has to do: the photos asked for, against what earlier runs did and what lies in the destination."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import Any

from unsay.batch.job import Job
from unsay.batch.ledger import Item, Ledger, Record, key
from unsay.batch.listing import Asked, Source, is_photo
from unsay.batch.places import Place, file_at
from unsay.batch.work import blank, is_done
from unsay.errors import BadInput, UnsayError
from unsay.segmentation.words import check_words

AT_ONCE = 1000
"""Photos that are marked as done in one go."""


def plan(ledger: Ledger, job: Job, source: Source, destination: Place, masks: Place | None) -> Iterator[Record]:
    """Fill the ledger's plan; gives the records of those asked for that cannot be done at all."""
    ledger.see((entry.name, entry.size) for entry in destination.walk())
    if masks is not None:
        ledger.see_masks(_masks_in(ledger, masks, destination))
    refused: list[Record] = []
    without = [destination, *([] if masks is None else [masks])]
    items = _items(ledger, job, source, source.photos(without), masks, refused, destination)
    clashes = ledger.plan(items)
    yield from (_clash(item) for item in clashes)
    yield from (_overwrite(item) for item in ledger.overwrites())
    yield from refused


def settle(ledger: Ledger, *, again: bool, verify: bool) -> dict[int, int]:
    """Mark what needs nothing more, by what listings tell; gives how many that were, by status.

    `again`: photos that failed are tried again. `verify`: nothing is taken from listings.
    """
    done: list[bytes] = []
    by_status: dict[int, int] = {}
    if verify:
        return by_status
    for item, known, there in ledger.steps():
        if known and is_done(known, blank(item), there, stamps=True) and not (again and known["status"]):
            done.append(key(item["result"]))
            by_status[known["status"]] = by_status.get(known["status"], 0) + 1
    ledger.done(done)
    return by_status


def to_do(ledger: Ledger) -> Iterator[Item]:
    """The items for workers, by name, each with what is known of it."""
    for item, known, there in ledger.steps():
        yield item | {"known": known, "there": there}


def _items(
    ledger: Ledger,
    job: Job,
    source: Source,
    photos: Iterable[Asked],
    masks: Place | None,
    refused: list[Record],
    destination: Place,
) -> Iterator[Item]:
    recipes: dict[tuple[str, ...], str] = {}
    for asked in photos:
        words = () if job.verb == "inpaint" else asked.words or job.words
        if words not in recipes:
            if len(recipes) > AT_ONCE:
                recipes.clear()
            recipes[words] = job.recipe(words)
        item = _item(job, asked, words, recipes[words])
        ledger.reads(_within(destination, _read_by(source, asked)))
        try:
            item |= _checked(ledger, job, asked, item, masks)
        except UnsayError as error:
            refused.append(blank(item) | {"result": None, "status": error.exit_status, "error": str(error)})
            continue
        yield item


def _item(job: Job, asked: Asked, words: tuple[str, ...], recipe: str) -> Item:
    return {
        "name": asked.name,
        "url": asked.url,
        "stamp": asked.stamp,
        "words": list(words),
        "mask": asked.mask,
        "mask_stamp": None if asked.mask is None else "",
        "result": asked.output or job.output(asked.name),
        "recipe": recipe,
    }


def _checked(ledger: Ledger, job: Job, asked: Asked, item: Item, masks: Place | None) -> dict[str, Any]:
    """What is still to be added to an item. Raises `BadInput` for one that cannot be done."""
    if asked.error is not None:
        raise BadInput(asked.error)
    result = item["result"]
    if result.startswith(("/", ".")) or posixpath.normpath(result) != result or "/." in result or "\0" in result:
        raise BadInput(f"the result would be called {result!r}: name a file within the destination, none hidden")
    wanted = "." + job.suffix(asked.name).rpartition(".")[2]
    if posixpath.splitext(result)[1].lower() != wanted.lower():
        raise BadInput(f"the result is called {result!r}, and must end in {wanted}")
    if job.verb == "inpaint":
        return {} if asked.mask is not None else _mask(ledger, asked.name, masks)
    if not item["words"]:
        raise BadInput("no word says what to look for: give words, or fill the table's column words")
    check_words(item["words"])
    return {}


def _masks_in(ledger: Ledger, masks: Place, destination: Place) -> Iterator[tuple[str, str, str]]:
    for entry in masks.walk(frozenset({destination.root} - {masks.root})):
        if is_photo(entry):
            ledger.reads(_within(destination, [(masks, entry.name)]))
            yield posixpath.splitext(entry.name)[0], entry.name, entry.stamp


def _mask(ledger: Ledger, name: str, masks: Place | None) -> dict[str, Any]:
    if masks is None:
        raise BadInput("it has no mask: give --masks, or a table with a column mask")
    stem = posixpath.splitext(name)[0]
    found = ledger.mask_of(stem)
    if found is None:
        raise BadInput(f"it has no mask: expected {stem}.png or another picture of that name among the masks")
    return {"mask": masks.files.unstrip_protocol(masks.path(found[0])), "mask_stamp": found[1]}


def _read_by(source: Source, asked: Asked) -> Iterator[tuple[Place, str]]:
    """Where the photo lies, and the mask that a table names for it."""
    if asked.url is None:
        yield source.place, asked.name
    for url in filter(None, (asked.url, asked.mask)):
        try:
            yield file_at(url)
        except BadInput:  # a place that cannot be opened is told when it is read
            continue


def _within(destination: Place, files: Iterable[tuple[Place, str]]) -> Iterator[str]:
    """Of the files those that lie in the destination, by their names there."""
    for place, name in files:
        path = place.path(name)
        if place.files == destination.files and path.startswith(f"{destination.root}/"):
            yield path[len(destination.root) + 1 :]


def _overwrite(item: Item) -> Record:
    told = f"its result {item['result']} would replace a photo or a mask that is read: name another destination"
    return blank(item) | {"result": None, "status": BadInput.exit_status, "error": told}


def _clash(item: Item) -> Record:
    told = f"its result {item['result']} is that of {item['other']} too: name one of them otherwise, or give a table"
    return blank(item) | {"result": None, "status": BadInput.exit_status, "error": f"{told} with a column output"}
