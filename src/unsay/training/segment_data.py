"""Photos and sentences -> the batches that the region encoder learns from, in an order that a step's number determines.

Legend: B photos of a batch, M nouns, E text channels; [h, w] the grid of the groups.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from unsay.errors import BadInput
from unsay.training.nouns import Embed, PhotoNouns, noun_embeddings, photo_nouns, read_nouns
from unsay.training.pairs_readers import PairReader, decode, open_pairs
from unsay.training.segment_batches import Sample, collate
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_features import Views
from unsay.training.segment_files import fingerprint, write_atomically
from unsay.training.segment_networks import Networks

log = logging.getLogger(__name__)
EMBEDDED = 1024
"""Sentences whose embeddings are computed between two writes."""


class Pairs(Dataset[Sample]):
    """The prepared pairs. An item is asked for by (epoch, photo) and depends on these and on the seed alone."""

    def __init__(
        self,
        config: SegmentConfig,
        networks: Networks,
        reader: PairReader,
        views: Views,
        nouns: PhotoNouns,
        sentences: npt.NDArray[np.float16] | None,
    ) -> None:
        self.config, self.networks, self.reader, self.views, self.nouns = config, networks, reader, views, nouns
        self.sentences = sentences
        self.photos = views.readable()
        """Numbers of the photos that can be read, in the order of the data."""
        self.ends = np.cumsum([len(reader.sentences(i)) for i in range(len(reader))]) if sentences is not None else None

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, item: tuple[int, int]) -> Sample:
        """Photo number `item[1]` of the readable ones, as epoch `item[0]` sees it."""
        epoch, photo = item[0], int(self.photos[item[1]])
        draw = np.random.default_rng((self.config.seed, epoch, photo)).random()
        mirrored = self.config.flip and bool(draw < 0.5)
        ids, counts = self.nouns.of(photo)
        inputs, groups = self._look(photo, mirrored)
        return Sample(inputs, groups, torch.from_numpy(ids), torch.from_numpy(counts), self._sentences(photo))

    def _look(self, photo: int, mirrored: bool) -> tuple[Tensor, Tensor]:
        view = self.views.view(photo, mirrored and self.views.flipped)
        if self.networks.pixels is None:
            return torch.from_numpy(np.array(view.patches)), torch.from_numpy(np.array(view.groups))
        rgb, groups = decode(self.reader, photo), view.groups
        if mirrored:
            rgb, groups = np.ascontiguousarray(rgb[:, ::-1]), groups[:, ::-1]
        return torch.from_numpy(self.networks.pixels(rgb)), torch.from_numpy(np.array(groups))

    def _sentences(self, photo: int) -> Tensor:
        if self.sentences is None or self.ends is None:
            return torch.zeros(0, 0)
        rows = self.sentences[self.ends[photo - 1] if photo else 0 : self.ends[photo]]
        return torch.from_numpy(np.asarray(rows, np.float32))


class Steps(Sampler[list[tuple[int, int]]]):
    """The (epoch, photo) items of every step from `first` on, for one of `ranks` processes.

    An epoch takes every photo once, in an order drawn from (seed, epoch), `batch` photos a process and step; what does
    not fill a step is left for other epochs. Lightning is told the number of all steps, as if the run were one long
    epoch: it counts those before `first` as done.
    """

    def __init__(self, photos: int, config: SegmentConfig, first: int = 0, rank: int = 0, ranks: int = 1) -> None:
        if photos < 2 * ranks:
            raise BadInput(f"{photos} photos for {ranks} processes: give each at least 2")
        self.photos, self.config, self.first, self.rank, self.ranks = photos, config, first, rank, ranks
        self.each = steps_an_epoch(photos, config, ranks)

    def __len__(self) -> int:
        """All steps of the run, those before `first` included."""
        return self.each * self.config.epochs

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Items step by step."""
        size = self.config.batch * self.ranks
        start, offset = divmod(self.first, self.each)
        for epoch in range(start, self.config.epochs):
            order = np.random.default_rng((self.config.seed, epoch)).permutation(self.photos)
            for place in range(offset if epoch == start else 0, self.each):
                chosen = order[place * size : (place + 1) * size][self.rank :: self.ranks]
                yield [(epoch, int(photo)) for photo in chosen]


def steps_an_epoch(photos: int, config: SegmentConfig, ranks: int) -> int:
    """How many full steps of all processes there are in an epoch; one at least."""
    return max(1, photos // (config.batch * ranks))


def coverage(groups: Tensor, most: int, grid: tuple[int, int]) -> Tensor:
    """Groups [B, h, w] -> the share of each of the grid's P patches in each group, [B, `most`, P] fp32."""
    planes = F.one_hot(groups.long(), most).permute(0, 3, 1, 2).float()
    return F.adaptive_avg_pool2d(planes, grid).flatten(2)


class SegmentData(pl.LightningDataModule):
    """Prepares the pairs (once, whatever the number of processes) and gives their batches.

    `pairs`, `words` [M] and `nouns` [M, E] are there after `setup`.
    """

    def __init__(self, config: SegmentConfig, networks: Networks) -> None:
        super().__init__()
        self.config, self.networks = config, networks
        self.cache = Path(config.cache or config.out)
        self.prepare_data_per_node = False  # `cache` is a folder that all nodes share

    def prepare_data(self) -> None:
        """In one process: the index of the data, its nouns, and the embeddings of nouns and sentences."""
        reader = open_pairs(self.config.data, self.cache)
        nouns, table, sentences = self._kept(reader)
        if not nouns.is_file():
            log.info("finding the nouns of %d photos' sentences", len(reader))
            photo_nouns((reader.sentences(i) for i in range(len(reader))), self.config.nouns).save(nouns)
        if not table.is_file():
            words = read_nouns(nouns).words
            if not words:
                raise BadInput(f"no noun stands with {self.config.nouns.least_photos} photos: lower nouns.least_photos")
            vectors = noun_embeddings(words, self.config.nouns.templates, self.networks.embed()).numpy()
            write_atomically(table, lambda stream: np.save(stream, vectors))
        if self.config.loss.sentence and not sentences.is_file():
            log.info("embedding the sentences of %d photos", len(reader))
            rows = _embedded(reader, self.networks.embed())
            write_atomically(sentences, lambda stream: np.save(stream, rows))

    def setup(self, stage: str = "fit") -> None:
        """In every process: its share of looking at photos; then open what was prepared."""
        reader = open_pairs(self.config.data, self.cache)
        views = self._views(reader)
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        share = views.missing(rank, ranks)
        if share:
            views.prepare(reader, self.networks.look(), share)
        if self.trainer:
            self.trainer.strategy.barrier("views")
        nouns, table, sentences = self._kept(reader)
        rows = np.load(sentences, mmap_mode="r", allow_pickle=False) if self.config.loss.sentence else None
        found = read_nouns(nouns)
        self.pairs = Pairs(self.config, self.networks, reader, views, found, rows)
        self.words, self.nouns = found.words, torch.from_numpy(np.load(table, allow_pickle=False))

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches from the trainer's step on: a resumed run goes on with the very next one."""
        trainer: Any = self.trainer
        steps = Steps(len(self.pairs), self.config, trainer.global_step, trainer.global_rank, trainer.world_size)
        workers = self.config.machine.workers
        return DataLoader(self.pairs, batch_sampler=steps, collate_fn=collate, num_workers=workers)

    @property
    def steps(self) -> int:
        """How many steps make an epoch."""
        return steps_an_epoch(len(self.pairs), self.config, self.trainer.world_size if self.trainer else 1)

    @property
    def photos(self) -> int:
        """How many photos are trained on."""
        return len(self.pairs)

    def frequency(self) -> dict[str, int]:
        """Noun -> in the sentences of how many photos it stands."""
        ids = np.concatenate([self.pairs.nouns.of(int(photo))[0] for photo in self.pairs.photos])
        counts = np.bincount(ids, minlength=len(self.words))
        return dict(zip(self.words, counts.tolist(), strict=True))

    def some(self, count: int) -> list[Sample]:
        """So many photos, evenly spaced; all if there are no more."""
        return [self.pairs[0, photo] for photo in spaced(range(len(self.pairs)), count)]

    def _views(self, reader: PairReader) -> Views:
        """Kept under a name that stands for the photos and the networks that looked at them."""
        photos = fingerprint([reader.name(i) for i in range(len(reader))])
        folder = self.cache / f"views-{fingerprint(self.config.data.path, photos, self.networks.identity)}"
        return Views(folder, len(reader), self.config.flip and self.networks.pixels is None)

    def _kept(self, reader: PairReader) -> tuple[Path, Path, Path]:
        """Files of the photos' nouns, the nouns' embeddings and the sentences' embeddings."""
        settings = asdict(self.config.nouns)
        data = contents(reader)
        nouns = fingerprint(data, settings["phrases"], settings["least_photos"])
        table = fingerprint(nouns, settings["templates"], self.networks.identity)
        names = f"nouns-{nouns}.npz", f"noun-vectors-{table}.npy", f"sentences-{data}-{self.networks.identity}.npy"
        return self.cache / names[0], self.cache / names[1], self.cache / names[2]


def spaced(numbers: Sequence[int], count: int) -> list[int]:
    """`count` of the numbers, evenly spaced; all of them if there are no more."""
    return [numbers[i * len(numbers) // count] for i in range(count)] if count < len(numbers) else list(numbers)


def contents(reader: PairReader) -> str:
    """What stands for all names and sentences of a set in the names of kept files."""
    return fingerprint([[reader.name(i), list(reader.sentences(i))] for i in range(len(reader))])


def _embedded(reader: PairReader, embed: Embed) -> npt.NDArray[np.float16]:
    """The embeddings of all sentences, photo by photo, [S, E] fp16."""
    sentences = [s for i in range(len(reader)) for s in reader.sentences(i)]
    parts = [sentences[start : start + EMBEDDED] for start in range(0, len(sentences), EMBEDDED)]
    return np.concatenate([embed(part).numpy().astype(np.float16) for part in parts])
