"""How a training run is computed: the machine's settings, and the trainer that they make. Shared by both halves."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger


@dataclass(frozen=True)
class MachineConfig:
    """How it is computed; handed on to PyTorch Lightning's trainer.

    `devices` -1: all. `strategy`: "auto", "ddp" and so on. `precision`: "32-true", "bf16-mixed", "16-mixed".
    `threads`: of each process; `workers`: processes that read photos.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    threads: int = 2
    workers: int = 0


def settle(machine: MachineConfig, seed: int) -> None:
    """Set the number of threads and the seed of this process, and let Lightning speak of what matters only."""
    torch.set_num_threads(machine.threads)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)  # it advertises
    pl.seed_everything(seed, verbose=False)


def make_trainer(
    machine: MachineConfig, out: str, callbacks: Sequence[Callback], clip_norm: float, sync_batchnorm: bool = False
) -> pl.Trainer:
    """The trainer of a run whose data module gives all its steps as one long epoch; see `checkpoints.Checkpoints`.

    `out`: the run's folder. `clip_norm`: the largest norm of the gradients; 0: any. `sync_batchnorm`: batch-norm takes
    its statistics from the batches of all processes (on GPUs only: torch has no other).
    """
    return pl.Trainer(
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.num_nodes,
        strategy=machine.strategy,
        precision=machine.precision,  # type: ignore[arg-type]
        logger=_logger(out),
        callbacks=list(callbacks),
        gradient_clip_val=clip_norm or None,
        max_epochs=1,
        use_distributed_sampler=False,
        sync_batchnorm=sync_batchnorm,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        log_every_n_steps=10,
        deterministic="warn",
    )


def fit(trainer: pl.Trainer, model: pl.LightningModule, data: pl.LightningDataModule, resume_from: Path | None) -> None:
    """Run the trainer to its end, or from the checkpoint `resume_from` on; every process leaves the group it joined.

    A process that ends while its group stands may be aborted by the group's threads.
    """
    distributed = torch.distributed
    joined_before = distributed.is_available() and distributed.is_initialized()
    try:
        with warnings.catch_warnings():
            # its guesses: that no worker is too few, and that a run resumed within an epoch begins with a wrong batch
            warnings.simplefilter("ignore", PossibleUserWarning)
            trainer.fit(model, datamodule=data, ckpt_path=resume_from and str(resume_from), weights_only=True)
        trainer.strategy.barrier()
    finally:
        if distributed.is_available() and distributed.is_initialized() and not joined_before:
            distributed.destroy_process_group()


def _logger(out: str) -> Logger:
    """TensorBoard's files where that is installed, a table of values otherwise."""
    if find_spec("tensorboard") or find_spec("tensorboardX"):
        return TensorBoardLogger(out, name="log")
    return CSVLogger(out, name="log")
