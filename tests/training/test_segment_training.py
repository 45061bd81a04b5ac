"""Whole tiny runs: they learn, and a run that was stopped anywhere ends as the unbroken run does, bit for bit."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training import processes
from training.processes import free_port, torchrun
from unsay.errors import BadInput
from unsay.models.region_encoder import RegionTransformer, TransformerConfig
from unsay.results import Pixels
from unsay.training.config import load_config
from unsay.training.nouns import NounConfig
from unsay.training.pairs_readers import DataConfig
from unsay.training.segment import Segmenter, read_checkpoint, train_segment
from unsay.training.segment_config import MachineConfig, SegmentConfig
from unsay.training.segment_data import SegmentData, coverage
from unsay.training.segment_features import View
from unsay.training.segment_loss import LossConfig
from unsay.training.segment_networks import Networks, group_look, normalised

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
KINDS = ("dog", "car", "tree", "boat")
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]], np.uint8)
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


class PatchEncoder(nn.Module):
    """Stands for the starter's encoder: patches [B, 16, 12] with dropout, one layer with region tokens."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.enter, self.token = nn.Linear(12, 16), nn.Parameter(torch.zeros(1, 1, 16))
        self.transformer = RegionTransformer(TransformerConfig(16, 2, 1, 32, dropout=dropout))
        self.out = nn.Linear(16, 8)

    def forward(self, patches: Tensor, coverage: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(patches), -1, -1), self.enter(patches)], dim=1)
        return nn.functional.normalize(self.out(self.transformer(x, coverage)), dim=-1)


def doubles(dropout: float = 0.1) -> Networks:
    return Networks(lambda: PatchEncoder(dropout), (4, 4), lambda: look, lambda: embed, "doubles")


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
    return all(
        same(ours[part], theirs[part]) for part in ("state_dict", "optimizer_states", "lr_schedulers", "encoder")
    )


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

    monkeypatch.setattr(Segmenter, "training_step", dying)
    with pytest.raises(KeyError):
        train(config)
    monkeypatch.setattr(Segmenter, "training_step", step)
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


# --- what else a run can be -------------------------------------------------------------------------------------------


class PixelEncoder(nn.Module):
    """Stands for CLIP's tower: pixels in 4 x 4 patches, region tokens from the second of two layers on."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.zeros(1, 1, 16))
        self.transformer = RegionTransformer(TransformerConfig(16, 2, 2, 32, start=1))
        self.out = nn.Linear(16, 8)

    def forward(self, pixels: Tensor, coverage: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        return nn.functional.normalize(self.out(self.transformer(x, coverage)), dim=-1)


def pixel_networks() -> Networks:
    """The paper's graph with tiny networks: groups from one network's map, regions from another's pixels."""

    def prepare(photo: Pixels) -> Any:
        return normalised(photo, 16, (127.0,) * 3, (64.0,) * 3)

    return Networks(
        PixelEncoder, (4, 4), lambda: group_look(nn.Conv2d(3, 5, 2, 2), prepare, 2), lambda: embed, "tiny", prepare
    )


def test_the_papers_graph_takes_its_steps(data: Path, tmp_path: Path) -> None:
    """Every setting of the configuration, on tiny networks: half precision, mirrored photos, both losses, average."""
    paper = load_config(CONFIGS / "segment-paper.yaml", SegmentConfig)
    changes = {n: getattr(tiny(data, tmp_path), n) for n in ("data", "out", "cache", "side", "groups", "batch")}
    nouns = dataclasses.replace(paper.nouns, least_photos=1, processes=1)
    machine = dataclasses.replace(paper.machine, accelerator="cpu", devices=1, strategy="auto", threads=1, workers=0)
    config = dataclasses.replace(paper, epochs=1, rate=1e-3, warmup=0, nouns=nouns, machine=machine, **changes)
    before = PixelEncoder()
    path = train_segment(config, networks=pixel_networks())
    stored = torch.load(path, weights_only=True)
    assert stored["global_step"] == 3
    assert stored["config"]["loss"]["sentence"] == 0.1
    assert stored["encoder"].keys() == before.state_dict().keys()
    assert all(torch.isfinite(value).all() for value in stored["encoder"].values())
    _, encoder = read_checkpoint(path, pixel_networks())
    regions = encoder(torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 16))
    assert torch.allclose(regions.norm(dim=-1), torch.ones(2, 3))


def test_mirrored_photos_have_mirrored_groups(data: Path, tmp_path: Path) -> None:
    config = tiny(data, tmp_path, flip=True)
    for networks in (doubles(), pixel_networks()):
        prepared = SegmentData(config, networks)
        prepared.prepare_data()
        prepared.setup()
        seen = [[prepared.pairs[(epoch, photo)] for epoch in range(8)] for photo in range(2)]
        for views in seen:
            assert len({tuple(v.inputs.flatten().tolist()) for v in views}) == 2
        plain = SegmentData(dataclasses.replace(config, flip=False), networks)
        plain.setup()
        mirrored = next(v for v in seen[0] if not torch.equal(v.inputs, plain.pairs[(0, 0)].inputs))
        rows = plain.pairs[(0, 0)].inputs
        flipped = rows.flip(-1) if networks.pixels else rows.view(4, 4, 12).flip(1).view(16, 12)
        assert torch.equal(mirrored.inputs, flipped)


@pytest.mark.parametrize("objective", ["two-way", "image"])
def test_the_other_objectives_learn_too(data: Path, tmp_path: Path, objective: str) -> None:
    """In an image-level run the regions enter no loss: other groups give the same result."""
    first = train(tiny(data, tmp_path / "first", epochs=1, loss=LossConfig(objective)))
    assert torch.isfinite(first["state_dict"]["scales"]).all()
    more = train(tiny(data, tmp_path / "more", epochs=1, loss=LossConfig(objective), groups=3))
    assert same(first["encoder"], more["encoder"]) == (objective == "image")


# --- killed, and several processes ------------------------------------------------------------------------------------


def start(
    config: SegmentConfig, dropout: float = 0.1, arguments: str = "", **environment: str
) -> subprocess.Popen[str]:
    """The run in a process of its own; `arguments`: further ones of `train_segment`."""
    call = f"tests.train_segment(config, networks=tests.doubles({dropout}), {arguments})"
    return processes.start(__file__, config, call, environment, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_killed_run_leaves_a_checkpoint_that_goes_on(data: Path, tmp_path: Path) -> None:
    """kill -9 at whatever step it is, with a checkpoint after every step."""
    whole = train(tiny(data, tmp_path / "whole", epochs=60))
    config = tiny(data, tmp_path / "killed", epochs=60, save_minutes=0.0)
    process = start(config)
    last = tmp_path / "killed" / "last.ckpt"
    while not last.is_file():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = torch.load(last, weights_only=True)["global_step"]
    assert 0 < step < 180
    assert equal_runs(train(config, resume=True), whole)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(data: Path, tmp_path: Path) -> None:
    """Data-parallel on the processor, half the batch each, as torchrun starts them; without dropout, which differs."""
    still, port = 0.0, free_port()
    one = train_segment(tiny(data, tmp_path / "one"), networks=doubles(still))
    machine = MachineConfig(accelerator="cpu", devices=2, strategy="ddp", threads=1)
    config = tiny(data, tmp_path / "two", batch=4, machine=machine)
    ranks = [start(config, still, **torchrun(rank, port)) for rank in range(2)]
    assert [ended(process)[0] for process in ranks] == [0, 0]
    patches, groups = torch.rand(4, 16, 12), torch.ones(4, 1, 16)  # weights without effect, such as keys' biases, drift
    ours, theirs = (
        read_checkpoint(path, doubles(still))[1](patches, groups) for path in (tmp_path / "two" / "last.ckpt", one)
    )
    assert torch.allclose(ours, theirs, atol=1e-5)
    untrained = Segmenter(config, doubles(still)).encoder.eval()(patches, groups)
    assert not torch.allclose(untrained, theirs, atol=1e-2)


@pytest.mark.slow
def test_two_processes_go_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    """Stopped in the middle of an epoch, both of them, and started again: the same numbers as without."""
    machine = MachineConfig(accelerator="cpu", devices=2, strategy="ddp", threads=1)
    weights = []
    for name, stages in (("whole", [""]), ("broken", ["max_minutes=0", "resume=True, max_minutes=0", "resume=True"])):
        config = tiny(data, tmp_path / name, batch=4, machine=machine)
        for arguments in stages:
            port = free_port()
            ranks = [start(config, 0.1, arguments, **torchrun(rank, port)) for rank in range(2)]
            assert [ended(process) for process in ranks] == [(0, ""), (0, "")]
        weights.append(torch.load(tmp_path / name / "last.ckpt", weights_only=True))
    assert weights[0]["global_step"] == weights[1]["global_step"] == 6
    assert equal_runs(*weights)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others_with_a_message(data: Path, tmp_path: Path, lost: int) -> None:
    """kill -9 on one of two: the other says so, and the last checkpoint goes on."""
    port = free_port()
    machine = MachineConfig(accelerator="cpu", devices=2, strategy="ddp", threads=1)
    config = tiny(data, tmp_path / "run", batch=4, machine=machine, epochs=200, save_minutes=0.0)
    ranks = [start(config, **torchrun(rank, port)) for rank in range(2)]
    last = tmp_path / "run" / "last.ckpt"
    while not last.is_file():
        assert all(process.poll() is None for process in ranks)
        time.sleep(0.05)
    time.sleep(0.5)
    ranks[lost].kill()
    status, told = ended(ranks[1 - lost])
    assert status == 1
    assert "another of the 2 processes is gone: start all of them again with --resume" in told
    step = torch.load(last, weights_only=True)["global_step"]
    assert 0 < step < 600
    again = [start(config, 0.1, "resume=True, max_minutes=0", **torchrun(rank, port)) for rank in range(2)]
    assert [ended(process)[0] for process in again] == [0, 0]
    assert torch.load(last, weights_only=True)["global_step"] == step + 1


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a process ended, and what it said last."""
    told = process.communicate(timeout=120)[1]
    return process.returncode, "\n".join(line for line in told.splitlines() if line.startswith("unsay: "))
