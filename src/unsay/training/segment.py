"""Trains the region head from photos and sentences alone: frozen trunk, frozen text encoder, one-way loss.

`unsay train segment --config src/unsay/training/configs/segment-starter.yaml`
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unsay.errors import BadInput
from unsay.models.region_head import HeadConfig, RegionHead
from unsay.training.config import load_config
from unsay.training.segment_data import Pairs, load_pairs
from unsay.training.segment_loss import noun_scores, one_way_loss

log = logging.getLogger(__name__)
CHECKPOINT = "head.pt"


@dataclass(frozen=True)
class SegmentConfig:
    """What the region head is trained on and how; see `configs/segment-starter.yaml`."""

    data: str = "../shared/data/flickr8k"
    trunk_weights: str = ""
    """EfficientNet-Lite0's state dictionary; empty: the installed package's."""
    text_weights: str = ""
    """Folder of the sentence encoder; empty: the installed package's."""
    out: str = "runs/segment-starter"
    side: int = 320
    groups: int = 14
    template: str = "a photo of a {}."
    least_photos: int = 4
    """Nouns of fewer photos are not trained on."""
    head: HeadConfig = field(default_factory=HeadConfig)
    maximum: str = "soft"
    tau: float = 0.05
    temperature: float = 0.03
    epochs: int = 12
    batch: int = 256
    rate: float = 1e-3
    decay: float = 0.05
    seed: int = 0
    threads: int = 2


def train_segment(
    config: SegmentConfig | str | os.PathLike[str], resume: bool = False, max_minutes: float | None = None
) -> Path:
    """Train the region head as `config`, or the YAML file of that name, says; gives the path of its checkpoint.

    Features, groups and nouns are computed once and kept under `out`. `resume` goes on after the last finished epoch;
    no epoch is begun after `max_minutes`. Raises `BadInput` for a configuration or data that cannot be used.
    """
    if not isinstance(config, SegmentConfig):
        config = load_config(config, SegmentConfig)
    if config.epochs < 1 or config.batch < 2:
        raise BadInput(f"epochs is {config.epochs} and batch {config.batch}; at least 1 and 2 are needed")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    pairs = load_pairs(config, "train")
    out = Path(config.out)
    run = _Run(config, pairs)
    checkpoint = out / CHECKPOINT
    if resume and checkpoint.is_file():
        run.restore(checkpoint)
    end = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    while run.epoch < config.epochs and time.monotonic() < end:
        loss = run.train_epoch()
        log.info("epoch %d of %d: loss %.4f", run.epoch, config.epochs, loss)
        run.keep(checkpoint)
    return checkpoint


def read_checkpoint(path: Path) -> tuple[SegmentConfig, RegionHead]:
    """The configuration and the trained head of a checkpoint, in evaluation mode; nothing in the file is executed."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    values = dict(stored["config"])
    values["head"] = HeadConfig(**values["head"])
    config = SegmentConfig(**values)
    head = RegionHead(config.head)
    head.load_state_dict(stored["head"])
    return config, head.eval()


class _Run:
    """One training run: what changes from step to step, and how it is kept and restored."""

    def __init__(self, config: SegmentConfig, pairs: Pairs) -> None:
        self.config, self.pairs = config, pairs
        self.pooled = None if config.head.layers else pairs.pooled()
        self.head = RegionHead(config.head)
        self.scale = torch.nn.Parameter(torch.tensor(-math.log(config.temperature)))
        groups = [
            {"params": list(self.head.parameters()), "weight_decay": config.decay},
            {"params": [self.scale], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate)
        self.steps = len(pairs.names) // config.batch or 1
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.rate, total_steps=self.steps * config.epochs + 1, pct_start=0.1
        )
        self.epoch = 0

    def train_epoch(self) -> float:
        """Every photo once, in an order that depends on the seed and the epoch only. Gives the mean loss."""
        self.head.train()
        torch.manual_seed(self.config.seed * 1000 + self.epoch)
        order = torch.randperm(len(self.pairs.names))
        total = 0.0
        size = min(self.config.batch, len(order))
        for step in range(self.steps):
            loss = self._loss(order[step * size : (step + 1) * size])
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            total += float(loss.detach())
        self.epoch += 1
        return total / self.steps

    def _loss(self, photos: Tensor) -> Tensor:
        if self.pooled is None:
            wide, coverage = self.pairs.batch(photos)
            regions, used_regions = self.head(wide, coverage), coverage.sum(-1) > 0
        else:
            pooled, whole, used_regions = (part[photos] for part in self.pooled)
            regions = self.head.from_pooled(pooled.float(), whole.float(), None, None)
        counts = self.pairs.counts[photos]
        used = counts.sum(0).nonzero()[:, 0]
        counts = counts[:, used]
        scores = noun_scores(self.pairs.nouns[used], regions, used_regions, self.config.maximum, self.config.tau)
        owner, noun = counts.nonzero(as_tuple=True)
        shares = (counts > 0).T
        weights = counts[owner, noun].float()
        return one_way_loss(scores[noun], owner, shares[noun], torch.exp(-self.scale), weights)

    def keep(self, path: Path) -> None:
        """Write everything that `restore` needs, atomically."""
        stored: dict[str, Any] = {
            "config": dataclasses.asdict(self.config),
            "head": self.head.state_dict(),
            "scale": self.scale.detach(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epoch": self.epoch,
        }
        scratch = path.with_suffix(".part")
        torch.save(stored, scratch)
        os.replace(scratch, path)

    def restore(self, path: Path) -> None:
        """Go on from what `keep` wrote."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        self.head.load_state_dict(stored["head"])
        self.scale.data = stored["scale"]
        self.optimizer.load_state_dict(stored["optimizer"])
        self.schedule.load_state_dict(stored["schedule"])
        self.epoch = stored["epoch"]
