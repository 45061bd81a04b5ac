"""Pictures of how a training run of the inpainting half goes: a sheet of a few crops every so many steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from unsay.results import Pixels
from unsay.training.inpaint_data import denormalise
from unsay.training.inpaint_losses import composite
from unsay.training.segment_files import write_atomically

ROWS = 4
"""Crops on a sheet."""
GAP = 4
"""White pixels between two pictures."""


class Pictures(Callback):
    """After every `every` steps (0: never) shows what the averaged network makes of the step's first crops.

    With TensorBoard the sheet goes to its log, under "crops"; without, to `<out>/pictures/step-<number>.png`.
    """

    def __init__(self, out: Path, every: int) -> None:
        self.folder, self.every = out / "pictures", every

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: tuple[Tensor, Tensor], _: int
    ) -> None:
        """Draw a sheet, in the first process, where one is due."""
        step = trainer.global_step
        if not self.every or step % self.every or not trainer.is_global_zero:
            return
        truth, mask = batch
        sheet = draw_sheet(module.average, truth[:ROWS], mask[:ROWS])  # type: ignore[arg-type]
        add_image = getattr(getattr(trainer.logger, "experiment", None), "add_image", None)
        if add_image is not None:
            add_image("crops", sheet, step, dataformats="HWC")
            return
        encoded = cv2.imencode(".png", sheet[..., ::-1])[1].tobytes()
        write_atomically(self.folder / f"step-{step:07d}.png", lambda stream: stream.write(encoded))


@torch.no_grad()
def draw_sheet(network: nn.Module, truth: Tensor, mask: Tensor) -> Pixels:
    """A row a crop: what the network is given, the mask (black = hole), its outputs from coarse to fine, the result
    (the last output in the hole, the photo elsewhere), the truth.

    truth [B, 3, S, S] normalised, mask [B, 1, S, S] 1 = keep. Returns [H, W, 3] uint8 RGB.
    """
    outputs: list[Tensor] = network(truth, mask)
    result = composite(outputs[-1].float(), truth, mask)
    shown = [denormalise(image) for image in (truth * mask, *outputs, result, truth)]
    shown.insert(1, (255 * mask).to(torch.uint8).expand(-1, 3, -1, -1))
    cells = torch.stack(shown, 1).permute(0, 1, 3, 4, 2).cpu().numpy()  # [B, columns, S, S, 3]
    framed = np.pad(cells, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    return np.vstack([np.hstack(list(row)) for row in framed])[:-GAP, :-GAP]
