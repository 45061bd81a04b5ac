"""Photos and holes -> the batches that the inpainting network learns from, each a function of its step's number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unsay.errors import BadInput
from unsay.results import Mask, Pixels
from unsay.training.holes import open_holes
from unsay.training.inpaint_config import InpaintConfig
from unsay.training.photos import Photos, read_folders

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet mean and deviation of RGB in 0..1."""


class CropBatches(Dataset[tuple[Tensor, Tensor]]):
    """The batches of one process from step `first` on.

    Crop number b of process r in step i depends on (seed, i, r * batch + b) alone: a resumed run sees what an
    undisturbed one would have seen, and two processes with half the batch see what one sees with the whole.
    """

    def __init__(self, photos: Photos, config: InpaintConfig, first: int = 0, rank: int = 0) -> None:
        self.photos, self.config, self.first, self.rank = photos, config, first, rank
        self.holes = open_holes(config.masks)

    def __len__(self) -> int:
        """The whole run's batches: Lightning counts those before `first` as done."""
        return self.config.steps

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Photos [B, 3, S, S] uint8 and masks [B, 1, S, S] bool, True = keep, of step `first` + i."""
        places = range(self.rank * self.config.batch, (self.rank + 1) * self.config.batch)
        crops, holes = zip(*(self._crop(self.first + i, place) for place in places), strict=True)
        keep = torch.from_numpy(~np.stack(holes)).unsqueeze(1)
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2), keep

    def _crop(self, step: int, place: int) -> tuple[Pixels, Mask]:
        config, rng = self.config, np.random.default_rng((self.config.seed, step, place))
        crop = self.photos.crop(rng, config.crop, config.short_side, config.scales, config.stretch)
        return crop, self.holes.draw(rng, config.crop, config.crop)


class InpaintData(pl.LightningDataModule):
    """Gives each process its batches. `photos`: instead of those that the configuration names."""

    def __init__(self, config: InpaintConfig, photos: Photos | None = None) -> None:
        super().__init__()
        self.config, self.photos = config, photos

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches from the trainer's step on: a resumed run goes on with the very next one."""
        photos = self.photos or read_photos(self.config)
        trainer = self.trainer
        first, rank = (trainer.global_step, trainer.global_rank) if trainer else (0, 0)
        batches = CropBatches(photos, self.config, first, rank)
        workers = self.config.machine.workers
        return DataLoader(
            batches,
            batch_size=None,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], _: int) -> tuple[Tensor, Tensor]:
        """Bytes travel to the device; there photos are normalised, and masks become 1 = keep, 0 = hole."""
        photos, keep = batch
        return normalise(photos), keep.float()


def read_photos(config: InpaintConfig) -> Photos:
    """The training photos that the configuration names. Raises `BadInput` for files that cannot be read."""
    if not config.folders:
        raise BadInput("folders is empty: name at least one folder of photos to train on")
    names: list[str] = []
    if config.leave_out:
        try:
            lines = Path(config.leave_out).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            found = f"leave_out is {config.leave_out}, which cannot be read ({error})"
            raise BadInput(f"{found}: name a file whose lines begin with photos' names, or leave it out") from error
        names = [line.split("\t")[0] for line in lines]
    return read_folders(
        config.folders,
        config.weights or None,
        layout=config.layout,
        leave_out=names,
        in_memory=config.in_memory,
    )


def normalise(photos: Tensor) -> Tensor:
    """[B, 3, H, W] uint8 -> float, normalised by the ImageNet mean and deviation."""
    mean, std = (torch.tensor(v, device=photos.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (photos.float() / 255 - mean) / std


def denormalise(images: Tensor) -> Tensor:
    """[B, 3, H, W] normalised -> uint8."""
    mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((images.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
