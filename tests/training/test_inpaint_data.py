"""Batches of crops and holes: what they hold, and what they depend on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unsay.errors import BadInput
from unsay.training.holes import MaskConfig
from unsay.training.inpaint_config import InpaintConfig
from unsay.training.inpaint_data import CropBatches, denormalise, normalise, read_photos
from unsay.training.photos import Photos

Tiny = Callable[..., InpaintConfig]


def test_a_batch_depends_on_its_number_alone(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(tmp_path)
    photos = read_photos(config)
    from_start, from_middle = CropBatches(photos, config), CropBatches(photos, config, first=4)
    (truth, mask), (again, mask_again) = from_start[5], from_middle[1]
    assert torch.equal(truth, again)
    assert torch.equal(mask, mask_again)
    assert len({crop.numpy().tobytes() for i in range(6) for crop in from_start[i][0]}) == 12, "none comes twice"
    assert len({hole.numpy().tobytes() for i in range(6) for hole in from_start[i][1]}) == 12
    assert truth.shape == (2, 3, 32, 32)
    assert mask.shape == (2, 1, 32, 32)
    assert truth.dtype == torch.uint8
    assert set(mask.unique().tolist()) == {False, True}


def test_processes_share_a_batch(tiny: Tiny, tmp_path: Path) -> None:
    """Two processes with half the batch see what one sees with the whole."""
    photos = read_photos(tiny(tmp_path))
    (truth, mask) = CropBatches(photos, tiny(tmp_path, batch=4))[2]
    halves = [CropBatches(photos, tiny(tmp_path), rank=rank)[2] for rank in range(2)]
    assert torch.equal(torch.cat([half[0] for half in halves]), truth)
    assert torch.equal(torch.cat([half[1] for half in halves]), mask)


def test_settings_of_masks_and_crops_reach_the_batch(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(tmp_path, batch=8, masks=MaskConfig(bands=(5,), kinds=("polygons",)), short_side=32)
    one = Photos((read_photos(config).groups[0][:1],), (1.0,))
    truth, mask = CropBatches(one, config)[0]
    assert all(0.5 < 1 - float(m.float().mean()) <= 0.6 for m in mask)
    whole = {tuple(t.flatten().tolist()) for t in truth}
    assert len(whole) == 2, "the whole photo at 32 pixels, mirrored or not"


def test_normalising_goes_both_ways() -> None:
    photos = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(denormalise(normalise(photos)), photos)
    white = normalise(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    assert white.flatten().tolist() == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])


def test_photos_to_leave_out_and_how_they_are_kept(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "held-back.tsv").write_text("image\tcaption\n0.png\tA thing .\n2.png\tAnother .\n")
    config = tiny(tmp_path, leave_out=str(tmp_path / "held-back.tsv"), in_memory=False)
    assert [Path(p).name for p in read_photos(config).groups[0]] == ["1.png", "3.png"]
    with pytest.raises(BadInput, match=r"leave_out is .*none\.tsv, which cannot be read"):
        read_photos(tiny(tmp_path, leave_out=str(tmp_path / "none.tsv")))
