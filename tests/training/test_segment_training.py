"""Whole tiny runs: they learn, and a run that was stopped anywhere ends as the unbroken run does, bit for bit."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.region_encoder import RegionTransformer, TransformerConfig
from unsay.models.starter_encoder import StarterConfig, StarterEncoder
from unsay.results import Pixels
from unsay.training.config import load_config
from unsay.training.nouns import NounConfig
from unsay.training.pairs_readers import DataConfig
from unsay.training.segment import Segmenter, read_checkpoint, train_segment
from unsay.training.segment_config import MachineConfig, SegmentConfig
from unsay.training.segment_data import SegmentData, Steps, coverage
from unsay.training.segment_features import View
from unsay.training.segment_loss import LossConfig
from unsay.training.segment_networks import Networks, build_networks, group_look, normalised

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
KINDS = ("dog", "car", "tree", "boat")
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]], np.uint8)
TINY = StarterConfig(channels=12, width=16, heads=2, layers=1, text=8, dropout=0.1)
CONFIGS = Path(__file__).parents[2] / "src" / "unsay" / "training" / "configs"


def embed(sentences: Sequence[str]) -> Tensor:
    """A direction for each of the four things, whichever of them the sentence names; all others share one."""
    rows = torch.eye(8)
    numbers = [next((i for i, kind in enumerate(KINDS) if kind in sentence), 7) for sentence in sentences]
    return rows[numbers]


def look(photo: Pixels) -> View:
    """A 4 x 4 grid; the coloured half is one group, the rest another; patches: mean colours, four times."""
    cells = cv2.resize(photo, (4, 4), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    groups = (cells.max(-1) < 0.6).astype(np.int8)
    return View(groups, np.tile(cells.reshape(16, 3), 4).astype(np.float16))


def doubles() -> Networks:
    return Networks(lambda: StarterEncoder(TINY), (4, 4), lambda: look, lambda: embed, "doubles")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 photos of four things on noise, each with one sentence, and what was computed from them once."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = ["image\tcaption"]
    for number in range(24):
        photo = rng.integers(60, 120, (16, 16, 3), np.uint8)
        photo[:8] = COLOURS[number % 4]
        cv2.imwrite(str(folder / "images" / f"{number:02d}.png"), photo)
        lines.append(f"{number:02d}.png\tThe {KINDS[number % 4]} is here .")
    (folder / "captions-train.tsv").write_text("\n".join(lines))
    prepared = SegmentData(tiny(folder, folder / "first"), doubles())
    prepared.prepare_data()
    prepared.setup()
    return folder


def tiny(data: Path, out: Path, **changes: Any) -> SegmentConfig:
    base = SegmentConfig(
        data=DataConfig(path=str(data)),
        out=str(out),
        cache=str(data / "cache"),
        side=16,
        groups=2,
        nouns=NounConfig(least_photos=1),
        epochs=2,
        batch=8,
        rate=3e-3,
        warmup=2,
        ema=0.9,
        machine=MachineConfig(accelerator="cpu", threads=1),
    )
    return dataclasses.replace(base, **changes)


def train(config: SegmentConfig, **how: Any) -> dict[str, Any]:
    path = train_segment(config, networks=doubles(), **how)
    stored: dict[str, Any] = torch.load(path, weights_only=True)
    return stored


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


def equal_runs(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return all(same(ours[part], theirs[part]) for part in ("state_dict", "optimizer_states", "lr_schedulers", "encoder"))


def test_the_loss_falls_and_things_find_their_groups(data: Path, tmp_path: Path) -> None:
    config = tiny(data, tmp_path, epochs=12, ema=0.0)
    before, after = Segmenter(config, doubles()), read_checkpoint(train_segment(config, networks=doubles()), doubles())
    encoder = after[1]
    assert after[0] == config
    assert not encoder.training
    prepared = SegmentData(config, doubles())
    prepared.setup()
    views = [prepared.pairs[(0, i)] for i in range(4)]
    shares = coverage(torch.stack([v.groups for v in views]), 2, (4, 4))
    regions = encoder(torch.stack([v.inputs for v in views]).float(), shares)
    cosines = torch.einsum("me,bke->mbk", embed(KINDS), regions)
    assert cosines[:, :, 0].argmax(1).tolist() == [0, 1, 2, 3]
    assert before.encoder.training


def test_two_epochs_are_one_and_one(data: Path, tmp_path: Path) -> None:
    """Stopped in the middle of each epoch, and resumed from a checkpoint that lies behind the step it died at."""
    whole = train(tiny(data, tmp_path / "whole"))
    assert whole["global_step"] == 6
    parts = tiny(data, tmp_path / "parts")
    first = train(parts, max_minutes=0)
    assert first["global_step"] == 1
    assert train(parts, max_minutes=0, resume=True)["global_step"] == 2
    assert equal_runs(train(parts, resume=True), whole)
    assert equal_runs(train(parts, resume=True), whole), "nothing is left to do"


def test_a_run_that_dies_goes_on_from_its_last_epoch(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    whole = train(tiny(data, tmp_path / "whole", loss=LossConfig(sentence=0.5)))
    config = tiny(data, tmp_path / "parts", loss=LossConfig(sentence=0.5))
    step = Segmenter.training_step

    def dying(self: Segmenter, batch: Any, index: int) -> Tensor:
        if self.global_step == 5:
            raise KeyError("power cut")
        return step(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(KeyError):
        patch.setattr(Segmenter, "training_step", dying)
        train(config)
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == 3
    assert equal_runs(train(config, resume=True), whole)


def test_resuming_with_other_settings_is_refused(data: Path, tmp_path: Path) -> None:
    config = tiny(data, tmp_path)
    with pytest.raises(BadInput, match="nothing to resume"):
        train_segment(config, resume=True, networks=doubles())
    train(config, max_minutes=0)
    with pytest.raises(BadInput, match=r"trained with rate 0\.003, not 0\.1"):
        train_segment(dataclasses.replace(config, rate=0.1), resume=True, networks=doubles())
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(BadInput, match="is not a checkpoint"):
        train_segment(config, resume=True, networks=doubles())


def test_the_average_is_what_is_kept_for_use(data: Path, tmp_path: Path) -> None:
    stored = train(tiny(data, tmp_path / "averaged"))
    own = {n.removeprefix("encoder."): v for n, v in stored["state_dict"].items() if n.startswith("encoder.")}
    assert stored["kind"] == "segment"
    assert not same(stored["encoder"], own)
    plain = train(tiny(data, tmp_path / "plain", ema=0.0))
    assert same(plain["encoder"], own)
