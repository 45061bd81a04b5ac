"""Trains the inpainting network, by PyTorch Lightning: `unsay train inpaint --config FILE`.

A step: crops of photos and holes -> the outputs of MADF from coarse to fine -> the losses, stage by stage. See
docs/training-inpainting.md.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from unsay.models.madf import MADF
from unsay.models.recompute import recompute_all
from unsay.training.checkpoints import CHECKPOINT, Checkpoints, Minutes, is_finished, read_stored, same_ranks
from unsay.training.features import feature_network
from unsay.training.inpaint_config import MAY_CHANGE, InpaintConfig, check_config
from unsay.training.inpaint_data import InpaintData
from unsay.training.inpaint_losses import inpainting_loss
from unsay.training.inpaint_pictures import Pictures
from unsay.training.machine import fit, make_trainer, settle
from unsay.training.photos import Photos

log = logging.getLogger(__name__)
AVERAGE = "average."
"""Before the names of the averaged network's tensors in a checkpoint."""


class Inpainter(pl.LightningModule):
    """MADF with its losses, its optimiser and a running average of its weights."""

    def __init__(self, config: InpaintConfig, features: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.network: nn.Module = MADF(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        recompute_all(self.network, config.recompute)
        if config.machine.compiled:
            self.network.compile()
        self.average: nn.Module = MADF(config.network).requires_grad_(False).eval()
        self.average.load_state_dict(self.network.state_dict())
        self._features = [features]  # in a list, so that the frozen network stays out of the checkpoint

    def on_fit_start(self) -> None:
        """The frozen network is no part of the checkpoint, so Lightning does not move it: do that here."""
        if self._features[0] is not None:
            self._features[0].to(self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """One step on (photos [B, 3, S, S], masks [B, 1, S, S]); whatever the precision, losses are in fp32."""
        truth, mask = (t.contiguous(memory_format=torch.channels_last) for t in batch)
        outputs = self.network(truth, mask)
        with torch.autocast(truth.device.type, enabled=False):
            losses = inpainting_loss([o.float() for o in outputs], truth, mask, self.config.losses, self._features[0])
        self.log_dict({k: v.detach() for k, v in losses.items()})
        loss = torch.stack(list(losses.values())).sum()
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, then the running average moves (before any callback saves it), batch-norm's statistics too."""
        super().optimizer_step(*args, **kwargs)
        keep = min(self.config.ema, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - keep)
            for mine, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                if mine.is_floating_point():
                    mine.lerp_(new, 1 - keep)
                else:
                    mine.copy_(new)  # a count

    def configure_optimizers(self) -> Any:
        """Adam with a warm-up and a linear decay at the end (the paper: Adam 2e-4, constant)."""
        optimiser = torch.optim.Adam(self.network.parameters(), self.config.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the configuration beside the weights, as plain data, so that `unsay export` needs nothing else."""
        checkpoint["kind"], checkpoint["config"] = "inpaint", asdict(self.config)
        checkpoint["steps"], checkpoint["ranks"] = self.config.steps, self.trainer.world_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with another number of processes."""
        same_ranks(checkpoint, self.trainer.world_size)

    def _rate(self, step: int) -> float:
        """Factor of the learning rate: linear to 1 over the warm-up, then 1, then linear to a fiftieth."""
        start = self.config.decay_from * self.config.steps
        decay = (step - start) / max(1.0, self.config.steps - start)
        return min(1.0, (step + 1) / max(1, self.config.warmup)) * (1.0 - 0.98 * min(1.0, max(0.0, decay)))


def train_inpaint(
    config: InpaintConfig, *, photos: Photos | None = None, max_minutes: float | None = None, resume: bool = False
) -> Path:
    """Train as `config` says and return the checkpoint, `<out>/last.ckpt`.

    `photos`: instead of reading the configured folders. `max_minutes`: end this call then, even if steps are left.
    `resume`: go on from the checkpoint, bit for bit as if the run had never stopped. Raises `BadInput` for a
    configuration or data that cannot be used.
    """
    check_config(config)
    last = Path(config.out) / CHECKPOINT
    if resume and is_finished(last, config, "inpaint", MAY_CHANGE):
        return last
    settle(config.machine, config.seed)
    features = feature_network(config.features, config.features_file)
    if features is None and (config.losses.perceptual or config.losses.style):
        log.info("no feature network is set: the perceptual and style terms are left out")
    model = Inpainter(config, features)
    if config.init_from and not resume:
        model.network.load_state_dict(averaged_weights(Path(config.init_from)))
        model.average.load_state_dict(model.network.state_dict())
    callbacks = [
        Minutes(max_minutes),
        Pictures(last.parent, config.pictures_every),
        Checkpoints(last, config.save_minutes, lambda: config.save_every),
    ]
    trainer = make_trainer(config.machine, config.out, callbacks, config.clip, config.sync_batchnorm)
    fit(trainer, model, InpaintData(config, photos), last if resume else None)
    return last


def averaged_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of a training checkpoint, by the names of `MADF.state_dict()`."""
    state = read_stored(checkpoint, "inpaint")["state_dict"]
    return {name[len(AVERAGE) :]: value for name, value in state.items() if name.startswith(AVERAGE)}
