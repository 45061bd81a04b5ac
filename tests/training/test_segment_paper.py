"""The paper's configuration on a real CLIP and a real DINO, built tiny and random: prepared, trained, read back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unsay.errors import BadInput
from unsay.training.nouns import NounConfig
from unsay.training.pairs_readers import DataConfig
from unsay.training.segment import Segmenter, read_checkpoint, train_segment
from unsay.training.segment_config import MachineConfig, SegmentConfig
from unsay.training.segment_networks import build_networks

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies


def config(clip: Path, dino: Path, folder: Path) -> SegmentConfig:
    (folder / "images").mkdir()
    lines = ["image\tcaption"]
    for number, noun in enumerate(["dog", "car", "tree", "boat"]):
        photo = np.random.default_rng(number).integers(0, 255, (40, 50, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), photo)
        lines.append(f"{number}.png\tThere is a {noun} .")
    (folder / "captions-train.tsv").write_text("\n".join(lines))
    return SegmentConfig(
        data=DataConfig(path=str(folder)),
        out=str(folder / "out"),
        network="paper",
        clip=str(clip),
        dino=str(dino),
        start=1,
        side=32,
        groups=3,
        nouns=NounConfig(least_photos=1),
        epochs=1,
        batch=4,
        rate=1e-3,
        warmup=0,
        machine=MachineConfig(accelerator="cpu", threads=1),
    )


def test_a_step_on_clip_and_dino(open_weights: dict[str, Path], tmp_path: Path) -> None:
    settings = config(open_weights["clip"], open_weights["dino"], tmp_path)
    networks = build_networks(settings)
    assert networks.grid == (4, 4)
    before = Segmenter(settings, networks).encoder.state_dict()
    stored, encoder = read_checkpoint(train_segment(settings))
    assert stored == settings
    after = encoder.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {"regions.projection.weight", "regions.vit.class_token", "regions.vit.patches.weight"} <= moved
    pixels, coverage = torch.randn(2, 3, 32, 32), torch.ones(2, 1, 16)
    regions = encoder(pixels, coverage).detach()
    for photo in range(2):  # the tower that is exported takes one photo at a time
        alone = encoder.get_submodule("regions")(pixels[photo : photo + 1], coverage[photo]).detach()
        assert torch.allclose(regions[photo], alone, atol=1e-5)


def test_a_side_that_is_no_multiple_of_the_patch_is_refused(open_weights: dict[str, Path], tmp_path: Path) -> None:
    settings = config(open_weights["clip"], open_weights["dino"], tmp_path)
    with pytest.raises(BadInput, match="needs a multiple of 8"):
        build_networks(dataclasses.replace(settings, side=36))
