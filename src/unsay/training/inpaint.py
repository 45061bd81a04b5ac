"""Trains the inpainting network: `unsay train inpaint --config FILE`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from unsay.errors import BadInput
from unsay.models.madf import MADF, MADFConfig
from unsay.training.features import feature_network
from unsay.training.inpaint_losses import LossWeights, inpainting_loss
from unsay.training.masks import BANDS, random_hole
from unsay.training.photos import Photos, read_folders

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet mean and deviation of RGB in 0..1."""


@dataclass(frozen=True)
class InpaintConfig:
    """Everything that a training run of the inpainting network depends on."""

    folders: tuple[str, ...] = ("../shared/data/flickr8k/images", "../shared/data/bsds500/images/train")
    weights: tuple[float, ...] = (0.75, 0.25)
    leave_out: str = "../shared/data/flickr8k/captions-val.tsv"
    """A text file whose lines begin with names of photos not to train on; "" for none."""
    network: MADFConfig = field(default_factory=MADFConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    features: str = ""
    """Frozen network of the perceptual terms: "" (none) or "efficientnet-lite0"."""
    crop: int = 128
    batch: int = 16
    steps: int = 12000
    lr: float = 5e-4
    warmup: int = 200
    decay_from: float = 0.6
    """Share of the steps after which the learning rate falls linearly to a fiftieth."""
    ema: float = 0.998
    clip: float = 1.0
    seed: int = 0
    threads: int = 2
    save_every: int = 500
    out: str = "runs/inpaint"
    init_from: str = ""
    """Checkpoint of another run whose averaged weights this one starts from."""


class CropBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch number i is a pure function of (seed, i): a resumed run sees what an undisturbed one would have seen."""

    def __init__(self, photos: Photos, config: InpaintConfig, first: int = 0) -> None:
        self.photos, self.config, self.first = photos, config, first

    def __len__(self) -> int:
        """The whole run's batches: Lightning counts those before `first` as done, and stops by its step count."""
        return self.config.steps

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Normalised photos [B, 3, S, S] and masks [B, 1, S, S], 1 = keep."""
        size = self.config.crop
        rng = np.random.default_rng((self.config.seed, self.first + i))
        crops = np.stack([self.photos.crop(rng, size) for _ in range(self.config.batch)])
        holes = [random_hole(rng, size, size, int(rng.integers(len(BANDS)))) for _ in range(self.config.batch)]
        keep = torch.from_numpy(~np.stack(holes)).float().unsqueeze(1)
        return normalise(torch.from_numpy(crops).permute(0, 3, 1, 2)), keep


def normalise(photos: Tensor) -> Tensor:
    """[B, 3, H, W] uint8 -> float, normalised by the ImageNet mean and deviation."""
    mean, std = (torch.tensor(v, device=photos.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (photos.float() / 255 - mean) / std


class Inpainter(pl.LightningModule):
    """MADF with its losses, its optimiser and a running average of its weights."""

    def __init__(self, config: InpaintConfig, features: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.network: nn.Module = MADF(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: nn.Module = MADF(config.network).requires_grad_(False).eval()
        self.average.load_state_dict(self.network.state_dict())
        self._features = [features]  # in a list, so that the frozen network stays out of the checkpoint

    def on_fit_start(self) -> None:
        """The frozen network is no part of the checkpoint, so Lightning does not move it: do that here."""
        if self._features[0] is not None:
            self._features[0].to(self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """One step on (photos [B, 3, S, S], masks [B, 1, S, S])."""
        truth, mask = (t.contiguous(memory_format=torch.channels_last) for t in batch)
        features = self._features[0]
        losses = inpainting_loss(self.network(truth, mask), truth, mask, self.config.losses, features)
        self.log_dict({k: v.detach() for k, v in losses.items()})
        loss = torch.stack(list(losses.values())).sum()
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, then the running average moves (before any callback saves it); batch-norm statistics are copied."""
        super().optimizer_step(*args, **kwargs)
        keep = min(self.config.ema, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - keep)
            for mine, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                mine.copy_(new)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the configuration beside the weights, as plain data, so that `unsay export` needs nothing else."""
        checkpoint["kind"], checkpoint["config"] = "inpaint", asdict(self.config)

    def configure_optimizers(self) -> Any:
        """Adam with a warm-up and a linear decay at the end (the paper: Adam 2e-4, constant)."""
        optimiser = torch.optim.Adam(self.network.parameters(), self.config.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        start = self.config.decay_from * self.config.steps
        decay = (step - start) / max(1.0, self.config.steps - start)
        return min(1.0, (step + 1) / max(1, self.config.warmup)) * (1.0 - 0.98 * min(1.0, max(0.0, decay)))


class StopAfter(Callback):
    """Ends this call's training after so many minutes (Lightning's own timer counts earlier, resumed runs in)."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Ask the trainer to stop once the time is up."""
        if time.monotonic() >= self.end:
            trainer.should_stop = True


def read_photos(config: InpaintConfig) -> Photos:
    """The training photos that the configuration names."""
    names: list[str] = []
    if config.leave_out:
        lines = Path(config.leave_out).read_text(encoding="utf-8").splitlines()
        names = [line.split("\t")[0] for line in lines]
    return read_folders(config.folders, config.weights, leave_out=names)


def train_inpaint(
    config: InpaintConfig, *, photos: Photos | None = None, max_minutes: float | None = None, resume: bool = False
) -> Path:
    """Train and return the last checkpoint, `<out>/last.ckpt`.

    `photos`: instead of reading the configured folders. `max_minutes`: end this call then, even if steps are left.
    `resume`: go on from `<out>/last.ckpt`; batches, optimiser and averages continue exactly where it stopped.
    """
    out = Path(config.out)
    last = out / "last.ckpt"
    if resume and not last.exists():
        raise BadInput(f"nothing to resume: {last} does not exist; leave --resume out to start")
    torch.set_num_threads(config.threads)
    pl.seed_everything(config.seed, verbose=False)
    model = Inpainter(config, feature_network(config.features))
    if config.init_from and not resume:
        model.network.load_state_dict(averaged_weights(Path(config.init_from)))
        model.average.load_state_dict(model.network.state_dict())
    first = int(torch.load(last, map_location="cpu", weights_only=True)["global_step"]) if resume else 0
    batches = CropBatches(photos or read_photos(config), config, first)
    callbacks: list[Callback] = [
        ModelCheckpoint(out, "last", every_n_train_steps=config.save_every, enable_version_counter=False)
    ]
    if max_minutes is not None:
        callbacks.append(StopAfter(max_minutes))
    trainer = pl.Trainer(
        max_steps=config.steps,
        accelerator="auto",
        devices=1,
        logger=CSVLogger(str(out), name="log", flush_logs_every_n_steps=20),
        callbacks=callbacks,
        gradient_clip_val=config.clip,
        log_every_n_steps=20,
        enable_model_summary=False,
        enable_progress_bar=False,
        deterministic="warn",
    )
    loader = DataLoader(batches, batch_size=None, shuffle=False, num_workers=1, persistent_workers=False)
    trainer.fit(model, loader, ckpt_path=str(last) if resume else None, weights_only=True)
    trainer.save_checkpoint(last)
    return last


def averaged_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of a training checkpoint, by the names of `MADF.state_dict()`."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return _under(state, "average.")


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
