"""How a training run is computed: the machine's settings, and the trainer that they make. Shared by both halves."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from unsay.errors import UnsayError


@dataclass(frozen=True)
class MachineConfig:
    """How it is computed; handed on to PyTorch Lightning's trainer.

    `devices` -1: all. `strategy`: "auto", "ddp" and so on. `precision`: "32-true", "bf16-mixed", "16-mixed".
    `threads`: of each process; `workers`: processes that read photos. `repeatable`: arithmetic that gives the same
    numbers each time, bit for bit; without it a GPU picks its fastest, and a resumed run is only nearly the same.
    `compiled`: the inpainting network runs through torch.compile: a minute or two at the start, then faster steps.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    threads: int = 2
    workers: int = 0
    repeatable: bool = True
    compiled: bool = False


def settle(machine: MachineConfig, seed: int) -> None:
    """Set the number of threads and the seed of this process, and let Lightning speak of what matters only.

    OpenCV's threads do not survive the fork that makes reading processes: with those it works on one, everywhere.
    """
    torch.set_num_threads(machine.threads)
    cv2.setNumThreads(1 if machine.workers else machine.threads)
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
        deterministic="warn" if machine.repeatable else False,
        benchmark=not machine.repeatable,
    )


class StopRequest(Callback):
    """Ends the training behind the step during which the process was asked to stop, by Ctrl-C or SIGTERM.

    A second Ctrl-C interrupts at once. Python hands signals to the main thread alone; in another one nothing changes.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take over from Lightning's handlers, which end the process without a checkpoint."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop all processes where one was asked to; the callbacks behind this one keep the state."""
        if trainer.strategy.reduce_boolean_decision(bool(self.signal), all=False):
            trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Hand the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _: Any) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


def fit(trainer: pl.Trainer, model: pl.LightningModule, data: pl.LightningDataModule, resume_from: Path | None) -> None:
    """Run the trainer to its end, or from the checkpoint `resume_from` on; every process leaves the group it joined.

    A process that ends while its group stands may be aborted by the group's threads. Raises `UnsayError` where the
    process was asked to stop before the last step, once the checkpoint is written, and where another process is gone.
    """
    asked = StopRequest()
    trainer.callbacks.insert(0, asked)  # type: ignore[attr-defined]
    distributed = torch.distributed
    joined_before = distributed.is_available() and distributed.is_initialized()
    try:
        with warnings.catch_warnings():
            # its guesses: that no worker is too few, and that a run resumed within an epoch begins with a wrong batch
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's own, on every run
            trainer.fit(model, datamodule=data, ckpt_path=resume_from and str(resume_from), weights_only=True)
        trainer.strategy.barrier()
    except RuntimeError as error:
        if trainer.world_size > 1 and is_loss(error):
            raise UnsayError(
                f"another of the {trainer.world_size} processes is gone: start all of them again with --resume, which "
                "goes on from the last checkpoint"
            ) from error
        raise
    finally:
        if distributed.is_available() and distributed.is_initialized() and not joined_before:
            distributed.destroy_process_group()
    if asked.signal and trainer.global_step < trainer.num_training_batches:
        steps = f"step {trainer.global_step} of {trainer.num_training_batches}"
        raise UnsayError(f"stopped by {signal.Signals(asked.signal).name} after {steps}: --resume goes on from there")


def is_loss(error: BaseException) -> bool:
    """Whether an error of torch's says that a process of the group no longer answers; gloo has no type for that."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()


def _logger(out: str) -> Logger:
    """TensorBoard's files where that is installed, a table of values otherwise."""
    if find_spec("tensorboard") or find_spec("tensorboardX"):
        return TensorBoardLogger(out, name="log")
    return CSVLogger(out, name="log")
