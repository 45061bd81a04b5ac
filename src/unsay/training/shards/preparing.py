"""`unsay prepare pairs`: downloaded shards -> prepared ones, a shard at a time on as many machines as there are.

A shard that was prepared with the same settings is not prepared again: its JSON, written last, says so, and how many
bytes each piece has.
"""

from __future__ import annotations

import io
import json
import logging
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from unsay.batch.engine import check_installed, records, workers
from unsay.batch.journal import drop_state
from unsay.batch.ledger import Item, Record
from unsay.batch.places import Entry, Place, alone, check_destination, open_place
from unsay.errors import BadInput, UnsayError
from unsay.training.nouns import NounConfig, counted
from unsay.training.pairs_readers import decode_photo
from unsay.training.segment_config import SegmentConfig, check_config
from unsay.training.segment_features import Look, View
from unsay.training.segment_files import fingerprint
from unsay.training.segment_networks import Networks, build_networks
from unsay.training.shards.contents import Prepared, Raw, Skipped, read_raw, write_prepared
from unsay.training.shards.told import INDEX, Told, read_shard

log = logging.getLogger(__name__)
PIECE = 1000
"""Pairs of a prepared shard: a training process holds a few of them at a time."""
AT_ONCE = 256
"""Pairs whose sentences are looked through together."""


@dataclass(frozen=True)
class ShardTask:
    """What each worker does: one downloaded shard at a time."""

    config: SegmentConfig
    source: str
    destination: str
    recipe: str
    threads: int
    rows: int = 1
    build: Callable[[SegmentConfig], Networks] = field(default=build_networks)

    def prepare(self) -> Callable[[Item], Record]:
        """Open the frozen networks of this process."""
        torch.set_num_threads(self.threads)
        preparer = Preparer(self.config, self.build(self.config))
        return partial(self._record, preparer)

    def died(self, item: Item) -> Record:
        """The record of a shard over which three workers died."""
        return self._failed(item, "its worker died three times over it: out of memory, or a crash")

    def _record(self, preparer: Preparer, item: Item) -> Record:
        try:
            return prepare_shard(item, open_place(self.source), open_place(self.destination), preparer, self.recipe)
        except Exception as error:  # one shard never ends the work on the others
            return self._failed(item, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    def _failed(self, item: Item, reason: str) -> Record:
        return {"result": item["result"], "error": reason}


class Preparer:
    """The frozen networks of one process, and what they make of pairs."""

    def __init__(self, config: SegmentConfig, networks: Networks) -> None:
        self.config = config
        self.keep_photos = networks.pixels is not None
        self.mirrored = config.flip and not self.keep_photos
        self._look: Look = networks.look()
        self._embed = networks.embed() if config.loss.sentence else None

    def pairs(self, raw: Iterable[Raw], skipped: Skipped) -> Iterator[Prepared]:
        """Each pair prepared; those whose photo cannot be decoded are counted."""
        waiting: list[Raw] = []
        for pair in raw:
            waiting.append(pair)
            if len(waiting) == AT_ONCE:
                yield from self._some(waiting, skipped)
                waiting = []
        yield from self._some(waiting, skipped)

    def _some(self, pairs: list[Raw], skipped: Skipped) -> Iterator[Prepared]:
        nouns = counted((pair.sentences for pair in pairs), NounConfig(self.config.nouns.phrases))
        for pair, found in zip(pairs, nouns, strict=True):
            try:
                rgb = decode_photo(pair.photo, pair.key)
            except BadInput as error:
                log.warning("left out: %s", error)
                skipped.add("photo cannot be decoded")
                continue
            mirror = self._look(np.ascontiguousarray(rgb[:, ::-1])) if self.mirrored else None
            yield self._prepared(pair, dict(found), self._look(rgb), mirror)

    def _prepared(self, pair: Raw, nouns: dict[str, int], view: View, mirrored: View | None) -> Prepared:
        vectors = None
        if self._embed is not None:
            vectors = self._embed(list(pair.sentences)).numpy().astype(np.float16)
        photo = pair.photo if self.keep_photos else b""
        return Prepared(pair.key, pair.sentences, nouns, view, mirrored, photo, pair.suffix, vectors)


def prepare_shard(item: Item, source: Place, destination: Place, preparer: Preparer, recipe: str) -> Record:
    """Prepare one shard: its pieces, then its JSON (see `told`), each in one step. The record is what the JSON says."""
    skipped, pieces = Skipped(), []
    nouns: dict[str, int] = {}
    shapes: dict[str, list[int]] = {}
    with source.files.open(source.path(item["name"]), "rb") as stream:
        pairs = preparer.pairs(read_raw(stream, item["name"], skipped), skipped)
        for number, piece in enumerate(_pieces(pairs)):
            name = f"{item['stem']}-{number:04d}.tar"
            buffer = io.BytesIO()
            write_prepared(buffer, piece)
            destination.put(name, buffer.getvalue())
            pieces.append([name, len(piece), buffer.tell()])
            shapes = shapes or _shapes(piece[0])
            for pair in piece:
                for noun in pair.nouns:
                    nouns[noun] = nouns.get(noun, 0) + 1
    told: Record = {"result": item["result"], "stamp": item["stamp"], "recipe": recipe, "pieces": pieces}
    told |= {"skipped": dict(sorted(skipped.by_reason.items())), "nouns": dict(sorted(nouns.items())), "shapes": shapes}
    destination.put(item["result"], json.dumps(told).encode("ascii"))
    return {key: told[key] for key in ("result", "pieces", "skipped")}


@dataclass(frozen=True)
class Totals:
    """What was prepared: shards now and before, pairs, those passed over by reason; shards that failed, with why."""

    shards: int
    unchanged: int
    pairs: int
    skipped: dict[str, int]
    failed: dict[str, str]


def prepare_pairs(
    config: SegmentConfig,
    destination: str,
    *,
    address: str | None = None,
    number: int | None = None,
    threads: int = 1,
    tell: Callable[[int, int, Record], None] | None = None,
) -> Totals:
    """Prepare all shards of `config.data.path` into `destination`, a folder or a bucket's path, for `kind: shards`.

    Nouns, groups and what else frozen networks make of a pair are computed here, once; corrupt pairs are passed over
    and counted. `address`, `number`, `threads`: of the workers, as for `unsay batch`. `tell(done, of, record)` is
    called for each shard. Raises `BadInput` for a configuration or data that cannot be used.
    """
    check_installed()
    check_config(config)
    source, place = open_place(config.data.path), open_place(destination)
    if (source.files, source.root) == (place.files, place.root):
        raise BadInput(f"{destination} holds the downloaded shards: name another place for the prepared ones")
    shards = [entry for entry in source.walk(frozenset({place.root})) if entry.name.endswith(".tar")]
    if not shards:
        raise BadInput(f"{config.data.path} holds no shard: expected *.tar as img2dataset writes them")
    check_destination(place)
    if any(_item(entry)["result"] == INDEX for entry in shards):
        raise BadInput(f"a shard of {config.data.path} is called as the index {INDEX} is: give it another name")
    recipe = recipe_of(config, build_networks(config))
    with alone(place):
        sizes = {entry.name: entry.size for entry in place.walk()}
        items = [_item(entry) for entry in sorted(shards, key=lambda e: e.name)]
        items = [item for item in items if not _is_done(item, place, recipe, sizes)]
        failed: dict[str, str] = {}
        if items:
            task = ShardTask(config, source.url, place.url, recipe, threads)
            with workers(address, number, threads) as use:
                for done, record in enumerate(records(items, task, use), start=1):
                    if "error" in record:
                        failed[record["result"]] = record["error"]
                    if tell is not None:
                        tell(done, len(items), record)
        totals = write_index(place, shards, recipe, len(items), failed)
        drop_state(place)  # what a run that was killed left half written
    return totals


def recipe_of(config: SegmentConfig, networks: Networks) -> str:
    """What stands for all that enters a prepared pair."""
    keep = networks.pixels is not None
    return fingerprint(
        networks.identity,
        config.side,
        config.groups,
        config.flip and not keep,
        config.nouns.phrases,
        bool(config.loss.sentence),
    )


def write_index(place: Place, shards: list[Entry], recipe: str, done: int, failed: dict[str, str]) -> Totals:
    """Join what the shards' JSONs say into the index. Raises `UnsayError` where no shard could be prepared."""
    pieces: list[list[Any]] = []
    nouns: dict[str, int] = {}
    shapes: dict[str, list[int]] = {}
    skipped = Skipped()
    for item in map(_item, sorted(shards, key=lambda e: e.name)):
        told = _told(item, place)
        if told is None or told["recipe"] != recipe:
            continue
        pieces += [[name, pairs] for name, pairs, _ in told["pieces"]]
        shapes = shapes or told["shapes"]
        for reason, count in told["skipped"].items():
            skipped.add(reason, count)
        for noun, count in told["nouns"].items():
            nouns[noun] = nouns.get(noun, 0) + count
    if not pieces:
        why = next(iter(failed.values()), "they hold no pair")
        raise UnsayError(f"none of {len(shards)} shards could be prepared: {why}")
    pairs = sum(count for _, count in pieces)
    index = {"recipe": recipe, "pairs": pairs, "skipped": skipped.by_reason, "pieces": pieces, "nouns": nouns}
    index["shapes"] = shapes
    place.put(INDEX, json.dumps(index, sort_keys=True).encode("ascii"))
    return Totals(len(shards), len(shards) - done, pairs, skipped.by_reason, failed)


def _pieces(pairs: Iterator[Prepared]) -> Iterator[list[Prepared]]:
    piece: list[Prepared] = []
    for pair in pairs:
        piece.append(pair)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def _item(entry: Entry) -> Item:
    stem = posixpath.splitext(entry.name)[0]
    return {"name": entry.name, "stem": stem, "result": f"{stem}.json", "stamp": entry.stamp}


def _shapes(pair: Prepared) -> dict[str, list[int]]:
    """What every pair of these networks has; see `told`."""
    shapes = {"groups": list(pair.view.groups.shape)}
    if pair.view.patches is not None:
        shapes["patches"] = list(pair.view.patches.shape)
    if pair.vectors is not None:
        shapes["vectors"] = [pair.vectors.shape[1]]
    return shapes


def _is_done(item: Item, place: Place, recipe: str, sizes: dict[str, int]) -> bool:
    """Whether the shard was prepared so before, and all its pieces are whole. `sizes`: bytes of the place's files."""
    told = _told(item, place) if item["result"] in sizes else None
    if told is None or told["recipe"] != recipe or not item["stamp"] or told["stamp"] != item["stamp"]:
        return False
    return all(sizes.get(name) == size for name, _, size in told["pieces"])


def _told(item: Item, place: Place) -> Told | None:
    """What a shard's JSON says; None where there is none, or none of ours."""
    try:
        data = place.read(item["result"])
    except OSError:
        return None
    return read_shard(data, item["stem"])
