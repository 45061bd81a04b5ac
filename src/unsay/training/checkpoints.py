"""What a training run keeps and how it goes on: checkpoints, lines for the log, the end of its time (both halves)."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from unsay.errors import BadInput
from unsay.training.config import config_from

log = logging.getLogger(__name__)
CHECKPOINT = "last.ckpt"


class Minutes(Callback):
    """Ends this call's training after so many minutes; None: never. The first process's clock counts for all."""

    def __init__(self, minutes: float | None) -> None:
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop once the time is up."""
        if self.end is not None and trainer.strategy.broadcast(time.monotonic() >= self.end):
            trainer.should_stop = True


class Checkpoints(Callback):
    """Keeps the run in the file `path`: after every `every()` steps, after so many minutes, and at the end.

    It is written beside and renamed (Lightning's own way is atomic only where the system's folder for temporary files
    is on the same disk): a process that is killed leaves the one before. `every` is asked once training has begun.
    """

    def __init__(self, path: Path, minutes: float, every: Callable[[], int]) -> None:
        self.path, self.seconds, self.every = path, 60 * minutes, every
        self.saved = time.monotonic()
        self.losses: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        """Save where it is due, and say how the last steps went."""
        self.losses.append(outputs["loss"].detach())
        step, steps = trainer.global_step, trainer.num_training_batches
        due = step % self.every() == 0 or step >= steps
        if due:
            mean, count = torch.stack(self.losses).mean(), len(self.losses)
            log.info("step %d of %d: loss %.4f, mean of %d steps", step, steps, mean, count)
            self.losses.clear()
        if trainer.should_stop and step < steps:
            log.info("stopping at step %d of %d; --resume goes on from there", step, steps)
        late = time.monotonic() - self.saved >= self.seconds
        if due or trainer.should_stop or trainer.strategy.broadcast(late):
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint; every process has to call this."""
        scratch = self.path.with_suffix(".part")
        trainer.save_checkpoint(scratch, weights_only=False)  # the optimiser and the rest too
        if trainer.is_global_zero:
            os.replace(scratch, self.path)
        self.saved = time.monotonic()


def read_stored(path: Path, kind: str) -> dict[str, Any]:
    """A checkpoint of `unsay train <kind>` as plain data; nothing in the file is executed.

    Raises `BadInput` for a file that is none.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the file's first bytes provoke
        raise BadInput(f"{path} is not a checkpoint of `unsay train`: give the {CHECKPOINT} of a run") from error
    if not isinstance(stored, dict) or stored.get("kind") != kind:
        raise BadInput(f"{path} is no checkpoint of `unsay train {kind}`: give the {CHECKPOINT} of such a run")
    return stored


def is_finished(last: Path, config: Any, kind: str, may_change: Collection[str]) -> bool:
    """Whether the run kept in `last` has no step left. `config`: the dataclass that it is to be resumed with.

    Raises `BadInput` where there is no such run, and for a setting that differs from the one that the run was begun
    with, unless its name is in `may_change`.
    """
    if not last.is_file():
        raise BadInput(f"nothing to resume: {last} does not exist; leave --resume out to start")
    stored = read_stored(last, kind)
    before = config_from(stored["config"], type(config), str(last))
    for field in dataclasses.fields(config):
        old, new = getattr(before, field.name), getattr(config, field.name)
        if field.name not in may_change and old != new:
            raise BadInput(f"{last} was trained with {field.name} {old!r}, not {new!r}: set it back, or start anew")
    return bool(stored["global_step"] >= stored["steps"])


def same_ranks(stored: dict[str, Any], ranks: int) -> None:
    """Refuse to go on with another number of processes: the batches would be others."""
    if stored["ranks"] != ranks:
        raise BadInput(f"the run was begun by {stored['ranks']} processes, not {ranks}: resume it with as many")
