"""Sheets of pictures: what is where on them, and where they go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unsay.training.inpaint_data import normalise
from unsay.training.inpaint_pictures import Pictures, draw_sheet


class Guess(nn.Module):
    """Stands for the network: output 0 is black, output 1 white (in what `denormalise` makes of them)."""

    def forward(self, image: Tensor, mask: Tensor) -> list[Tensor]:
        return [torch.full_like(image, -9.0), torch.full_like(image, 9.0)]


def test_a_sheet_shows_input_mask_outputs_result_and_truth() -> None:
    photos = torch.full((2, 3, 8, 8), 60, dtype=torch.uint8)
    mask = torch.ones(2, 1, 8, 8)
    mask[1, :, :4] = 0
    sheet = draw_sheet(Guess(), normalise(photos), mask)
    assert sheet.shape == (2 * 8 + 4, 6 * 8 + 5 * 4, 3)
    cells = [[sheet[row * 12 : row * 12 + 8, column * 12 : column * 12 + 8] for column in range(6)] for row in range(2)]
    means = [[int(cell[:4].mean()) for cell in row] for row in cells]  # the upper half
    grey = int(np.mean([0.485, 0.456, 0.406]) * 255)  # masked away: 0 in normalised space
    assert means[0] == [60, 255, 0, 255, 60, 60]
    assert means[1] == [pytest.approx(grey, abs=1), 0, 0, 255, 255, 60]
    assert int(cells[1][4][4:].mean()) == 60, "the result is the photo's own outside the hole"


def test_pictures_go_to_tensorboard_where_there_is_one(tmp_path: Path) -> None:
    calls: list[Any] = []

    class Board:
        def add_image(self, *what: Any, **how: Any) -> None:
            calls.append((what[0], what[1].shape, what[2], how))

    class Stand:
        global_step, is_global_zero = 4, True
        logger = type("Logger", (), {"experiment": Board()})()
        average = Guess()

    batch = (torch.zeros(6, 3, 8, 8), torch.ones(6, 1, 8, 8))
    Pictures(tmp_path, 2).on_train_batch_end(Stand(), Stand(), None, batch, 0)  # type: ignore[arg-type]
    assert calls == [("crops", (4 * 8 + 3 * 4, 68, 3), 4, {"dataformats": "HWC"})]
    assert not (tmp_path / "pictures").exists()
