"""Prepared shards -> batches, streamed: any number of pairs, none of them listed in memory.

Every process draws shards with replacement; the pairs of a few shards that are drawn together are shuffled. What a draw
is, is a matter of the seed, the rank, the stream (one for each reading process) and the draw's number alone: a run that
was stopped reads the shards of its last draw again, passes over what it had taken, and goes on with the same numbers.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from unsay.batch.places import Place, open_place
from unsay.errors import BadInput, UnsayError
from unsay.training.nouns import noun_embeddings
from unsay.training.pairs_readers import decode_photo
from unsay.training.segment_batches import Batch, Position, Sample, collate
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_features import View
from unsay.training.segment_files import fingerprint, write_atomically
from unsay.training.segment_gather import world
from unsay.training.segment_networks import Networks
from unsay.training.shards.contents import Prepared, Skipped, read_prepared
from unsay.training.shards.preparing import recipe_of
from unsay.training.shards.told import INDEX, Told, read_index

log = logging.getLogger(__name__)
EMPTY_DRAWS = 20
"""So many draws in a row without a single pair that can be used end a run."""
Positions = dict[int, tuple[int, int]]
"""Stream -> the draw it is in and how many of that draw's pairs were taken."""


class Stream(IterableDataset[Batch]):
    """The batches of one process, from step `first` on; `positions`: where each stream goes on."""

    def __init__(
        self,
        index: dict[str, Any],
        numbers: dict[str, int],
        config: SegmentConfig,
        networks: Networks,
        rank: int,
        steps: int,
        first: int = 0,
        positions: Positions | None = None,
    ) -> None:
        self.names = [str(name) for name, _ in index["pieces"]]
        self.sizes = {str(name): int(count) for name, count in index["pieces"]}
        self.shapes = {name: tuple(shape) for name, shape in index["shapes"].items()}
        self.numbers, self.config, self.networks, self.rank = numbers, config, networks, rank
        self.steps, self.first, self.positions = steps, first, positions or {}

    def __len__(self) -> int:
        """All steps of the run, those before `first` included: Lightning counts them as done."""
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        """Every stream's batches in turn; in a reading process, those of its own stream."""
        worker = get_worker_info()
        readers, mine = (1, 0) if worker is None else (worker.num_workers, worker.id)
        stream = (self.first + mine) % readers
        batches = self._batches(stream, *self.positions.get(stream, (0, 0)))
        for _ in range(self.first + mine, self.steps, readers):
            yield next(batches)

    def some(self, count: int) -> list[Sample]:
        """The first samples of the first stream."""
        return [sample for sample, *_ in itertools.islice(self._samples(0, 0, 0, Skipped()), count)]

    def _batches(self, stream: int, draw: int, start: int) -> Iterator[Batch]:
        samples: list[Sample] = []
        skipped, before = Skipped(), 0
        for sample, in_draw, taken in self._samples(stream, draw, start, skipped):
            samples.append(sample)
            if len(samples) == self.config.batch:
                yield collate(samples)._replace(position=Position(stream, in_draw, taken, skipped.total - before))
                samples, before = [], skipped.total

    def _samples(self, stream: int, draw: int, start: int, skipped: Skipped) -> Iterator[tuple[Sample, int, int]]:
        """Samples without end, each with its draw and how many of that draw's pairs were taken with it."""
        place = open_place(self.config.data.path)
        empty = 0
        while True:
            pairs = self._drawn(place, stream, draw, Skipped() if start else skipped)  # counted before a stop
            empty += 1
            for number in range(start, len(pairs)):
                sample = self._sample(pairs[number], (stream, draw, number), skipped)
                if sample is not None:
                    empty = 0
                    yield sample, draw, number + 1
            if empty == EMPTY_DRAWS:
                raise UnsayError(f"{empty} draws of shards of {place.url} gave no pair: see the warnings above")
            draw, start = draw + 1, 0

    def _drawn(self, place: Place, stream: int, draw: int, skipped: Skipped) -> list[Prepared]:
        """The pairs of one draw, shuffled; what is missing of its shards is counted."""
        rng = np.random.default_rng((self.config.seed, self.rank, stream, draw))
        pairs: list[Prepared] = []
        for name in rng.choice(self.names, self.config.data.mixed).tolist():
            found: list[Prepared] = []
            try:
                with place.files.open(place.path(name), "rb") as file:
                    found = read_prepared(file, name, Skipped())
            except Exception as error:  # each file system's library has its own
                log.warning("the shard %s cannot be read (%s): its pairs are passed over", name, error)
            if (lost := self.sizes[name] - len(found)) > 0:
                skipped.add("lost", lost)
            pairs += found
        return [pairs[i] for i in rng.permutation(len(pairs))]

    def _sample(self, pair: Prepared, place: tuple[int, ...], skipped: Skipped) -> Sample | None:
        """What a step reads of a pair; None for one that cannot be used, which is counted."""
        draw = np.random.default_rng((self.config.seed, self.rank, *place, 1)).random()
        mirrored = self.config.flip and bool(draw < 0.5)
        try:
            inputs, groups = self._look(pair, mirrored)
            vectors = self._vectors(pair)
        except (BadInput, TypeError, ValueError) as error:
            log.warning("the pair %r is left out: %s", pair.key, error)
            skipped.add("cannot be used")
            return None
        known = {self.numbers[noun]: count for noun, count in pair.nouns.items() if noun in self.numbers}
        ids, counts = (torch.tensor(list(column), dtype=torch.int64) for column in (known.keys(), known.values()))
        return Sample(inputs, groups, ids, counts, vectors)

    def _look(self, pair: Prepared, mirrored: bool) -> tuple[Tensor, Tensor]:
        """Raises `BadInput` for what a batch of the others has no place for: one such pair would end the run."""
        if self.networks.pixels is None:
            view = pair.mirrored if mirrored else pair.view
            if view is None or view.patches is None:
                raise BadInput("its maps are missing")
            self._check("patches", view.patches.shape)
            self._check_groups(view)
            return torch.from_numpy(np.array(view.patches)), torch.from_numpy(np.array(view.groups))
        self._check_groups(pair.view)
        rgb, groups = decode_photo(pair.photo, pair.key), pair.view.groups
        if mirrored:
            rgb, groups = np.ascontiguousarray(rgb[:, ::-1]), groups[:, ::-1]
        return torch.from_numpy(self.networks.pixels(rgb)), torch.from_numpy(np.array(groups))

    def _vectors(self, pair: Prepared) -> Tensor:
        """The sentences' embeddings [s, E] fp32; [0, 0] where the loss has no term for them."""
        if not self.config.loss.sentence:
            return torch.zeros(0, 0)
        if pair.vectors is None:
            raise BadInput("its sentences' embeddings are missing")
        self._check("vectors", pair.vectors.shape[1:])
        return torch.from_numpy(np.asarray(pair.vectors, np.float32))

    def _check_groups(self, view: View) -> None:
        self._check("groups", view.groups.shape)
        if view.groups.min() < 0 or view.groups.max() >= self.config.groups:  # `segment_data.coverage` has no others
            raise BadInput(f"its groups are {view.groups.min()} to {view.groups.max()}")

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        if shape != self.shapes[name]:
            raise BadInput(f"its {name} have the shape {shape}, others {self.shapes[name]}")


class StreamData(pl.LightningDataModule):
    """The data of a run on prepared shards; as `SegmentData` it gives `words`, `nouns` [M, E], batches and `steps`."""

    def __init__(self, config: SegmentConfig, networks: Networks) -> None:
        super().__init__()
        self.config, self.networks = config, networks
        self.cache = Path(config.cache or config.out)
        self.prepare_data_per_node = False
        self.index = _read_index(config, networks)
        self.words = _words(self.index["nouns"], config.nouns.least_photos)
        self.positions: Positions = {}
        self.skipped = 0
        """Pairs that were passed over so far, in this process."""

    def prepare_data(self) -> None:
        """In one process: the embeddings of the nouns."""
        table = self._table()
        if not table.is_file():
            vectors = noun_embeddings(self.words, self.config.nouns.templates, self.networks.embed()).numpy()
            write_atomically(table, lambda stream: np.save(stream, vectors))

    def setup(self, stage: str = "fit") -> None:
        """In every process: the nouns' embeddings."""
        self.nouns = torch.from_numpy(np.load(self._table(), allow_pickle=False))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches from the trainer's step on."""
        trainer: Any = self.trainer
        stream = self._stream(trainer.global_rank, self.steps * self.config.epochs, trainer.global_step, self.positions)
        return DataLoader(stream, batch_size=None, num_workers=self.config.machine.workers)

    @property
    def steps(self) -> int:
        """How many steps take as many pairs as there are: an epoch."""
        ranks = self.trainer.world_size if self.trainer else 1
        return max(1, int(self.index["pairs"]) // (self.config.batch * ranks))

    @property
    def photos(self) -> int:
        """How many pairs the shards hold."""
        return int(self.index["pairs"])

    def frequency(self) -> dict[str, int]:
        """Noun -> in the sentences of how many photos it stands."""
        return {word: int(self.index["nouns"][word]) for word in self.words}

    def some(self, count: int) -> list[Sample]:
        """So many pairs of the first process's first draws, or as many as there are."""
        return self._stream(0, self.steps).some(min(count, self.photos))

    def passed(self, position: Position) -> None:
        """A batch was trained on: its stream goes on behind it."""
        self.positions[position.stream] = (position.draw, position.taken)
        self.skipped += position.skipped

    def state_dict(self) -> dict[str, Any]:
        """Where every process's streams are; every process has to call this."""
        own = {"positions": self.positions, "skipped": self.skipped}
        states: list[Any] = [own]
        ranks = world()[1]
        if ranks > 1:
            states = [None] * ranks
            torch.distributed.all_gather_object(states, own)
        return {"streams": states, "readers": max(1, self.config.machine.workers)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there. Raises `BadInput` where other processes read than those that were stopped."""
        readers = max(1, self.config.machine.workers)
        if state_dict["readers"] != readers:
            raise BadInput(
                f"the run was read by {state_dict['readers']} processes each, not {readers}: set machine.workers back"
            )
        own = state_dict["streams"][world()[0]]
        self.positions, self.skipped = dict(own["positions"]), int(own["skipped"])

    def _stream(self, rank: int, steps: int, first: int = 0, positions: Positions | None = None) -> Stream:
        numbers = {word: number for number, word in enumerate(self.words)}
        return Stream(self.index, numbers, self.config, self.networks, rank, steps, first, positions)

    def _table(self) -> Path:
        name = fingerprint(self.words, list(self.config.nouns.templates), self.networks.identity)
        return self.cache / f"noun-vectors-{name}.npy"


def _read_index(config: SegmentConfig, networks: Networks) -> Told:
    """Raises `BadInput` where there is none, or one that was damaged or made with other settings."""
    place = open_place(config.data.path)
    try:
        data = place.read(INDEX)
    except OSError as error:
        raise BadInput(f"{place.url} holds no prepared shards: make them with `unsay prepare pairs`") from error
    index, recipe = read_index(data), recipe_of(config, networks)
    if index is None or (index["recipe"] == recipe and not _needed(config, networks) <= index["shapes"].keys()):
        raise BadInput(f"{INDEX} of {place.url} is damaged: run `unsay prepare pairs` again, which writes it anew")
    if index["recipe"] != recipe:
        raise BadInput(
            f"the shards of {place.url} were prepared with other networks, side, groups, flip, phrases or sentences "
            "than this configuration has: prepare them with it"
        )
    return index


def _needed(config: SegmentConfig, networks: Networks) -> set[str]:
    """What a step reads of every pair, as `told` names it."""
    maps = {"patches"} if networks.pixels is None else set()
    return {"groups"} | maps | ({"vectors"} if config.loss.sentence else set())


def _words(nouns: dict[str, int], least: int) -> list[str]:
    """Nouns of at least `least` photos, by falling number of photos, then by name, as `nouns.photo_nouns` has them."""
    words = sorted((noun for noun, count in nouns.items() if count >= least), key=lambda noun: (-nouns[noun], noun))
    if not words:
        raise BadInput(f"no noun stands with {least} photos: lower nouns.least_photos")
    return words
