"""What happens between the steps of a training run: checkpoints, lines for the log, the end of its time."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

log = logging.getLogger(__name__)


class Minutes(Callback):
    """Ends this call's training after so many minutes; None: never. The first process's clock counts for all."""

    def __init__(self, minutes: float | None) -> None:
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop once the time is up."""
        if self.end is not None and trainer.strategy.broadcast(time.monotonic() >= self.end):
            trainer.should_stop = True


class Checkpoints(Callback):
    """Keeps the run in the file `path`: after every epoch, after so many minutes, and at the end.

    It is written beside and renamed (Lightning's own way is atomic only where the system's folder for temporary files
    is on the same disk): a process that is killed leaves the one before.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.seconds = path, 60 * minutes
        self.saved = time.monotonic()
        self.losses: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        """Save where it is due, and say how an epoch went."""
        self.losses.append(outputs["loss"].detach())
        each: int = trainer.datamodule.steps  # type: ignore[attr-defined]
        epoch, place = divmod(trainer.global_step, each)
        if place == 0:
            log.info("epoch %d: loss %.4f over %d steps", epoch, torch.stack(self.losses).mean(), len(self.losses))
            self.losses.clear()
        late = time.monotonic() - self.saved >= self.seconds
        if place == 0 or trainer.should_stop or trainer.strategy.broadcast(late):
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint; every process has to call this."""
        scratch = self.path.with_suffix(".part")
        trainer.save_checkpoint(scratch, weights_only=False)  # the optimiser and the rest too
        if trainer.is_global_zero:
            os.replace(scratch, self.path)
        self.saved = time.monotonic()
