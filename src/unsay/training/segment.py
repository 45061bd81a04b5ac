"""Trains the region encoder from photos and sentences alone, by PyTorch Lightning: `unsay train segment --config FILE`.

A step (B photos, K groups, N nouns): R = encoder(photos, coverage of the groups) [B, K, E]; s(n, j) of every noun
against every photo of all processes; the one-way loss. See docs/training-segmentation.md.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from unsay.training.checkpoints import CHECKPOINT, Checkpoints, Minutes, is_finished, read_stored, same_ranks
from unsay.training.config import config_from
from unsay.training.machine import fit, make_trainer, settle
from unsay.training.pairs_readers import SHARDS
from unsay.training.segment_batches import Batch
from unsay.training.segment_config import SegmentConfig, check_config
from unsay.training.segment_data import SegmentData, coverage
from unsay.training.segment_loss import image_sentence_loss, noun_loss
from unsay.training.segment_networks import Networks, build_networks

if TYPE_CHECKING:
    from unsay.training.shards.streaming import StreamData

SHARPEST = 100.0
"""1/T never grows beyond this (as in CLIP: Radford et al. 2021, section 2.5)."""
MAY_CHANGE = ("machine", "out", "cache", "save_minutes")
"""Settings with which a run may be resumed though they have changed: they do not enter the result."""


class Segmenter(pl.LightningModule):
    """The region encoder with its loss, its optimiser, the temperatures it learns, and its running average."""

    nouns: Tensor

    def __init__(self, config: SegmentConfig, networks: Networks) -> None:
        super().__init__()
        self.config, self.grid = config, networks.grid
        self.encoder = networks.encoder()
        self.scales = nn.Parameter(torch.full((2,), -math.log(config.loss.temperature)))
        """log(1/T) of the noun loss and of the image-sentence loss."""
        self.average: nn.Module | None = None
        if config.ema:
            self.average = networks.encoder().requires_grad_(False).eval()
            self.average.load_state_dict(self.encoder.state_dict())

    def setup(self, stage: str) -> None:
        """Take the nouns' embeddings t_n [M, E] from the data."""
        self.register_buffer("nouns", self.trainer.datamodule.nouns, persistent=False)  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of one batch. What is drawn at random depends on seed, step and rank alone: a run can be resumed."""
        seed = np.random.SeedSequence((self.config.seed, self.global_step, self.global_rank))
        torch.manual_seed(int(seed.generate_state(1)[0]))
        losses = self.losses(batch)
        loss = torch.stack(list(losses.values())).sum()
        self.log_dict({f"loss_{name}": value.detach() for name, value in losses.items()})
        self.log("loss", loss.detach(), prog_bar=True)
        if batch.position is not None:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            data.passed(batch.position)
            self.log("skipped", float(data.skipped))
        return loss

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, weighted, by name."""
        settings = self.config.loss
        shares = coverage(batch.groups, self.config.groups, self.grid)
        everything = torch.ones_like(shares[:, :1])
        asked = everything if settings.objective == "image" else shares
        if settings.sentence:
            asked = torch.cat([asked, everything], dim=1)
        regions = self.encoder(batch.inputs.to(shares.dtype), asked)
        with torch.autocast(regions.device.type, enabled=False):
            regions, temperatures = regions.float(), 1 / self.scales.exp().clamp(max=SHARPEST)
            used = slice(0, -1 if settings.sentence else None)
            present = asked[:, used].sum(-1) > 0
            losses = {"noun": noun_loss(regions[:, used], present, batch.nouns, self.nouns, settings, temperatures[0])}
            if settings.sentence:
                term = image_sentence_loss(regions[:, -1], batch.sentences, temperatures[1])
                losses["sentence"] = settings.sentence * term
        return losses

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, then the running average moves."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            keep = min(self.config.ema, (1 + self.global_step) / (10 + self.global_step))
            with torch.no_grad():
                for mine, new in zip(self.average.parameters(), self.encoder.parameters(), strict=True):
                    mine.lerp_(new, 1 - keep)

    def configure_optimizers(self) -> Any:
        """AdamW (vectors and scales do not decay; a tuned CNN learns more slowly) with a warm-up and a cosine."""
        learned = {name: p for name, p in self.encoder.named_parameters() if p.requires_grad}
        tuned = {name for name in learned if name.startswith("top.")}
        kinds = [({n: p for n, p in learned.items() if (n in tuned) == tune}, tune) for tune in (False, True)]
        groups: list[dict[str, Any]] = []
        for parameters, tune in kinds:
            rate = self.config.rate * (self.config.tune_rate if tune else 1.0)
            for matrices, decay in ((True, self.config.decay), (False, 0.0)):
                chosen = [p for p in parameters.values() if (p.ndim > 1) == matrices]
                groups.append({"params": chosen, "weight_decay": decay, "lr": rate})
        groups.append({"params": [self.scales], "weight_decay": 0.0, "lr": self.config.rate})
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add, as plain data, all that an export needs: the configuration and the encoder (its average, if kept)."""
        kept = self.encoder if self.average is None else self.average
        checkpoint["kind"], checkpoint["config"] = "segment", dataclasses.asdict(self.config)
        checkpoint["encoder"] = kept.state_dict()
        checkpoint["steps"], checkpoint["ranks"] = self._steps(), self.trainer.world_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with another number of processes."""
        same_ranks(checkpoint, self.trainer.world_size)

    def _steps(self) -> int:
        each: int = self.trainer.datamodule.steps  # type: ignore[attr-defined]
        return each * self.config.epochs

    def _rate(self, step: int) -> float:
        """Factor of the learning rate: linear to 1 over the warm-up, then a cosine to 0."""
        warmup, total = self.config.warmup, self._steps()
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup)))


def train_segment(
    config: SegmentConfig,
    resume: bool = False,
    max_minutes: float | None = None,
    networks: Networks | None = None,
) -> Path:
    """Train the region encoder as `config` says; gives the path of its checkpoint, `<out>/last.ckpt`.

    What frozen networks compute is kept in the configuration's cache. `resume`: go on from the checkpoint, bit for bit
    as if the run had never stopped. `max_minutes`: end this call then. `networks`: instead of those that `config`
    names. Raises `BadInput` for a configuration or data that cannot be used.
    """
    check_config(config)
    last = Path(config.out) / CHECKPOINT
    if resume and is_finished(last, config, "segment", MAY_CHANGE):
        return last
    networks = networks or build_networks(config)
    settle(config.machine, config.seed)
    model, data = Segmenter(config, networks), open_data(config, networks)
    callbacks = [Minutes(max_minutes), Checkpoints(last, config.save_minutes, lambda: data.steps)]
    trainer = make_trainer(config.machine, config.out, callbacks, config.clip_norm)
    fit(trainer, model, data, last if resume else None)
    return last


def open_data(config: SegmentConfig, networks: Networks) -> SegmentData | StreamData:
    """The data module that `config.data.kind` asks for. Raises `BadInput`."""
    if config.data.kind == SHARDS:
        from unsay.training.shards.streaming import StreamData  # it needs Ray's and webdataset's packages

        return StreamData(config, networks)
    return SegmentData(config, networks)


def read_checkpoint(path: Path, networks: Networks | None = None) -> tuple[SegmentConfig, nn.Module]:
    """The configuration and the trained encoder of a checkpoint, in evaluation mode.

    Nothing in the file is executed. Raises `BadInput` for a file that is no such checkpoint.
    """
    stored = read_stored(path, "segment")
    config = config_from(stored["config"], SegmentConfig, str(path))
    encoder = (networks or build_networks(config)).encoder()
    encoder.load_state_dict(stored["encoder"])
    return config, encoder.eval()
