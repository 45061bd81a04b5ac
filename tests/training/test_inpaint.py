"""Training of the inpainting network: exact resume, what a step computes, precision, configurations, processes."""

from __future__ import annotations

import copy
import dataclasses
import logging
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from training import processes
from training.processes import free_port, torchrun
from unsay.errors import BadInput, UnsayError
from unsay.models.madf import MADF, MADFConfig
from unsay.training import inpaint
from unsay.training.config import load_config
from unsay.training.features import NETWORKS
from unsay.training.holes import MaskConfig
from unsay.training.inpaint import Inpainter, averaged_weights, train_inpaint
from unsay.training.inpaint_config import InpaintConfig
from unsay.training.inpaint_data import CropBatches, normalise, read_photos
from unsay.training.inpaint_losses import LossWeights, inpainting_loss
from unsay.training.machine import MachineConfig

TINY = MADFConfig(width=0.05, levels=5, refinements=1)
MACHINE = MachineConfig(accelerator="cpu", threads=1)
CONFIGS = Path(__file__).parents[2] / "src" / "unsay" / "training" / "configs"
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
Tiny = Callable[..., InpaintConfig]


def train(config: InpaintConfig, **how: Any) -> dict[str, Any]:
    stored: dict[str, Any] = torch.load(train_inpaint(config, **how), weights_only=True)
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
    return all(same(ours[part], theirs[part]) for part in ("state_dict", "optimizer_states", "lr_schedulers"))


# --- stopping and resuming --------------------------------------------------------------------------------------------


def test_a_run_in_parts_ends_as_the_unbroken_one(tiny: Tiny, tmp_path: Path) -> None:
    """Stopped after steps 1 and 2, then on to step 7, between two checkpoints; with all losses."""
    changes = {"steps": 7, "features": "efficientnet-lite0", "losses": LossWeights()}
    whole = train(tiny(tmp_path / "whole", **changes))
    assert whole["global_step"] == 7
    parts = tiny(tmp_path / "parts", **changes)
    assert train(parts, max_minutes=0)["global_step"] == 1
    assert train(parts, max_minutes=0, resume=True)["global_step"] == 2
    assert equal_runs(train(parts, resume=True), whole)
    assert equal_runs(train(parts, resume=True), whole), "nothing is left to do"
    assert {n.split(".")[0] for n in whole["state_dict"]} == {"network", "average"}, "the frozen network stays out"


def test_a_run_that_dies_goes_on_from_its_last_checkpoint(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tiny(tmp_path / "whole"))
    config = tiny(tmp_path / "parts")
    step = Inpainter.training_step

    def dying(self: Inpainter, batch: Any, index: int) -> Tensor:
        if self.global_step == 5:
            raise KeyError("power cut")
        return step(self, batch, index)

    monkeypatch.setattr(Inpainter, "training_step", dying)
    with pytest.raises(KeyError):
        train(config)
    monkeypatch.undo()
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == 3
    assert equal_runs(train(config, resume=True), whole)


def test_dying_while_a_checkpoint_is_written_leaves_the_one_before(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, write, saved = tiny(tmp_path), pl.Trainer.save_checkpoint, []

    def half(trainer: pl.Trainer, path: Path, **how: Any) -> None:
        saved.append(trainer.global_step)
        if len(saved) == 2:
            Path(path).write_bytes(b"half of a checkp")
            raise KeyError("power cut")
        write(trainer, path, **how)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", half)
    with pytest.raises(KeyError):
        train(config)
    assert saved == [3, 6]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_keeps_its_last_step(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Ctrl-C, and what a cluster sends before it kills."""
    whole = train(tiny(tmp_path / "whole", save_every=100))
    step, config = Inpainter.training_step, tiny(tmp_path / "asked", save_every=100)

    def asked(self: Inpainter, batch: Any, index: int) -> Tensor:
        if index == 2:
            signal.raise_signal(number)
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Inpainter, "training_step", asked)
        with pytest.raises(UnsayError, match=rf"stopped by SIG\w+ after step 3 of {config.steps}: --resume goes on"):
            train(config)
    assert "StopRequest" not in repr(signal.getsignal(number))
    assert torch.load(tmp_path / "asked" / "last.ckpt", weights_only=True)["global_step"] == 3
    assert equal_runs(train(config, resume=True), whole)


def test_resuming_what_is_not_there_or_with_other_settings_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(tmp_path, steps=2)
    with pytest.raises(BadInput, match="nothing to resume"):
        train(config, resume=True)
    train(config, max_minutes=0)
    with pytest.raises(BadInput, match=r"trained with lr 0\.0005, not 0\.1"):
        train(dataclasses.replace(config, lr=0.1), resume=True)
    changed = dataclasses.replace(config, save_every=5, machine=dataclasses.replace(MACHINE, workers=1))
    assert train(changed, resume=True)["global_step"] == 2
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(BadInput, match="is not a checkpoint"):
        train(config, resume=True)


def test_progress_is_logged(tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "unsay"):
        train(tiny(tmp_path, steps=4))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "no feature network is set: the perceptual and style terms are left out"
    assert [line.split(": loss")[0] for line in lines[1:]] == ["step 3 of 4", "step 4 of 4"]
    assert lines[1].endswith("mean of 3 steps")


# --- what a step computes ---------------------------------------------------------------------------------------------


def by_hand(config: InpaintConfig, steps: int) -> tuple[nn.Module, nn.Module]:
    """The run in plain torch: Adam, the schedule, clipped gradients, the average. (network, average)"""
    torch.manual_seed(config.seed)
    network = MADF(config.network).to(memory_format=torch.channels_last)
    average, optimiser = copy.deepcopy(network), torch.optim.Adam(network.parameters(), config.lr)
    batches = CropBatches(read_photos(config), config)
    for step in range(steps):
        crops, keep = batches[step]
        truth, mask = (t.contiguous(memory_format=torch.channels_last) for t in (normalise(crops), keep.float()))
        losses = inpainting_loss(network(truth, mask), truth, mask, config.losses)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        if config.clip:
            nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        decayed = 1 - 0.98 * max(0.0, (step - 0.6 * config.steps) / (0.4 * config.steps))
        optimiser.param_groups[0]["lr"] = config.lr * min(1.0, (step + 1) / config.warmup) * decayed
        optimiser.step()
        keep = min(config.ema, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            mine = average.state_dict()[name]
            mine.copy_(keep * mine + (1 - keep) * value if value.is_floating_point() else value)
    return network, average


def test_a_run_is_adam_with_a_schedule_clipped_gradients_and_an_average(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(tmp_path, steps=5, warmup=2, ema=0.3, lr=2e-3, clip=0.5)
    stored, (network, average) = train(config), by_hand(config, 5)
    for name, value in {**prefixed("network", network), **prefixed("average", average)}.items():
        torch.testing.assert_close(stored["state_dict"][name], value, rtol=1e-4, atol=1e-6, msg=name)
    statistics = "deconv_3.1.running_var"
    assert not torch.equal(network.state_dict()[statistics], average.state_dict()[statistics])


def prefixed(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in network.state_dict().items()}


def test_in_half_precision_losses_are_single(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes = set()

    def watched(outputs: list[Tensor], truth: Tensor, *rest: Any) -> dict[str, Tensor]:
        losses = inpainting_loss(outputs, truth, *rest)
        product = torch.mm(torch.ones(2, 2), torch.ones(2, 2))  # bf16 under autocast
        dtypes.update(v.dtype for v in (*outputs, truth, product, *losses.values()))
        return losses

    monkeypatch.setattr(inpaint, "inpainting_loss", watched)
    monkeypatch.setitem(NETWORKS, "ones", lambda file: Stage())
    changes = {"features": "ones", "losses": LossWeights(), "steps": 2, "lr": 1e-3}
    machine = dataclasses.replace(MACHINE, precision="bf16-mixed")
    half = train(tiny(tmp_path / "half", machine=machine, **changes))["state_dict"]
    assert dtypes == {torch.float32}
    whole = train(tiny(tmp_path / "whole", **changes))["state_dict"]
    assert all(v.dtype == w.dtype for v, w in zip(half.values(), whole.values(), strict=True))
    gap = [float((half[n] - whole[n]).abs().mean()) for n in half if n.startswith("network.") and half[n].ndim == 4]
    assert 0 < max(gap) < 1e-3  # two steps of 1e-3 at most


class Stage(nn.Module):
    def forward(self, image: Tensor) -> list[Tensor]:
        assert image.dtype == torch.float32
        return [nn.functional.avg_pool2d(image, 2)]


def test_another_runs_average_can_be_started_from(tiny: Tiny, tmp_path: Path) -> None:
    first = train_inpaint(tiny(tmp_path / "first"))
    still = tiny(tmp_path / "second", init_from=str(first), lr=0.0, steps=1, ema=0.0)
    ours, theirs = train(still)["state_dict"], averaged_weights(first)
    assert all(torch.equal(ours[f"network.{n}"], v) for n, v in theirs.items() if "running" not in n and "num" not in n)


def test_pictures_are_drawn_every_so_often_as_files(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(tmp_path, pictures_every=2, steps=5))
    files = sorted(p.name for p in (tmp_path / "pictures").iterdir())
    assert files == ["step-0000002.png", "step-0000004.png"]
    assert cv2.imread(str(tmp_path / "pictures" / files[0])).shape == (2 * 32 + 4, 6 * 32 + 5 * 4, 3)


def test_pictures_do_not_change_the_run(tiny: Tiny, tmp_path: Path) -> None:
    assert equal_runs(train(tiny(tmp_path / "a", pictures_every=1)), train(tiny(tmp_path / "b")))


# --- configurations ---------------------------------------------------------------------------------------------------


def test_the_papers_configuration_takes_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting of it on a tiny width: the data's layout, all losses, Adam 2e-4, batch 6; at 128 pixels."""
    paper = load_config(CONFIGS / "inpaint-paper.yaml", InpaintConfig)
    assert (paper.crop, paper.short_side, paper.batch, paper.lr, paper.layout) == (512, 572, 6, 2e-4, "places2")
    assert paper.losses == LossWeights()
    assert paper.network == MADFConfig()
    for name in ("abbey", "zoo"):
        photo = np.random.default_rng(len(name)).integers(0, 256, (150, 180, 3), np.uint8)
        (tmp_path / "places2/data_large" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "places2/data_large" / name / "1.jpg"), photo)
    monkeypatch.setitem(NETWORKS, "torchvision-vgg16", lambda file: Stage() if "vgg16" in file else None)
    config = dataclasses.replace(
        paper,
        folders=(str(tmp_path / "places2"),),
        network=dataclasses.replace(paper.network, width=0.02),
        crop=128,
        short_side=143,
        steps=1,
        pictures_every=1,
        out=str(tmp_path / "run"),
        machine=MACHINE,
    )
    seen: dict[str, Any] = {}

    def watched(outputs: list[Tensor], *rest: Any) -> dict[str, Tensor]:
        losses = inpainting_loss(outputs, *rest)
        seen.update(losses, outputs=len(outputs), shape=outputs[-1].shape)
        return losses

    monkeypatch.setattr(inpaint, "inpainting_loss", watched)
    stored = torch.load(train_inpaint(config), weights_only=True)
    assert seen["outputs"] == 3
    assert seen["shape"] == (6, 3, 128, 128)
    assert all(float(seen[name]) > 0 for name in ("hole", "known", "perceptual", "style", "variation"))
    (group,) = stored["optimizer_states"][0]["param_groups"]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (2e-4, (0.9, 0.999), 0)
    assert all(
        torch.equal(v, stored["state_dict"][n.replace("network.", "average.")])
        for n, v in stored["state_dict"].items()
        if n.startswith("network.")
    ), "no average is kept"
    assert (tmp_path / "run/pictures/step-0000001.png").is_file()


def test_the_starters_configuration_is_a_run_that_can_be(tmp_path: Path) -> None:
    """The run and its end differ in what an end is: fewer steps, from the run's weights, at a rate that falls."""
    starter, end, small = (
        load_config(CONFIGS / f"inpaint-{name}.yaml", InpaintConfig) for name in ("starter", "starter-end", "two-cores")
    )
    for config in (starter, end, small):
        inpaint.check_config(config)
    assert (starter.crop, starter.batch, starter.steps, starter.decay_from) == (256, 64, 8340, 1.0)
    assert end.init_from == f"{starter.out}/last.ckpt"
    ended = {name for name in dataclasses.asdict(starter) if getattr(starter, name) != getattr(end, name)}
    assert ended == {"steps", "warmup", "decay_from", "seed", "init_from", "out"}
    assert small.machine == MachineConfig(workers=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 48}, "crop is 48; with 5 levels give a multiple of 32"),
        ({"short_side": 31}, "short_side is 31, less than crop, 32"),
        ({"batch": 0}, "batch is 0, steps 6, save_every 3; each must be at least 1"),
        ({"scales": (1.6, 0.6)}, r"scales are \[1.6, 0.6\], stretch 1.0; scales are two positive factors"),
        ({"stretch": 0.9}, "stretch is at least 1"),
        ({"losses": LossWeights(squared=-1)}, "none may be below 0"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"machine": MachineConfig(precision="64-true")}, "machine.precision is '64-true'; known: 32-true"),
        ({"machine": MACHINE, "sync_batchnorm": True}, "sync_batchnorm needs GPUs"),
        ({"losses": LossWeights(0, 0, 1, 1, 0)}, "one that can be computed must be above it"),
        ({"losses": LossWeights(hole=-1)}, "none may be below 0"),
        ({"masks": MaskConfig(bands=(9,))}, "band 9 does not exist"),
        ({"features": "vgg"}, "unknown feature network 'vgg'"),
    ],
)
def test_settings_that_no_run_can_have_are_said(
    tiny: Tiny, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        train(tiny(tmp_path, **changes))


# --- killed, and several processes ------------------------------------------------------------------------------------


class Still(MADF):
    """MADF whose batch-norm always uses its initial statistics: then nothing couples the crops of a batch."""

    def __init__(self, config: MADFConfig) -> None:
        super().__init__(config)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def start(config: InpaintConfig, how: str = "", still: bool = False, **environment: str) -> subprocess.Popen[str]:
    """The run in a process of its own."""
    call = f"{'tests.inpaint.MADF = tests.Still; ' if still else ''}tests.train_inpaint(config, {how})"
    return processes.start(__file__, config, call, environment, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_killed_run_leaves_a_checkpoint_that_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    """kill -9 at whatever step it is, with a checkpoint after every step and processes that read photos."""
    machine = dataclasses.replace(MACHINE, workers=1)
    config = tiny(tmp_path / "killed", steps=60, save_every=1, machine=machine)
    whole = train(tiny(tmp_path / "whole", steps=60))
    process = start(config)
    last = tmp_path / "killed" / "last.ckpt"
    while not last.is_file():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 0 < torch.load(last, weights_only=True)["global_step"] < 60
    assert equal_runs(train(config, resume=True), whole)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data-parallel on the processor, half the batch each, as torchrun starts them; batch-norm's statistics aside."""
    port = free_port()
    machine = dataclasses.replace(MACHINE, devices=2, strategy="ddp")
    changes = {"clip": 0.0, "losses": LossWeights()}
    config = tiny(tmp_path / "two", machine=machine, **changes)
    ranks = [start(config, still=True, **torchrun(rank, port)) for rank in range(2)]
    monkeypatch.setattr(inpaint, "MADF", Still)
    one = train(tiny(tmp_path / "one", batch=4, **changes))["state_dict"]
    assert [process.communicate(timeout=120) and process.returncode for process in ranks] == [0, 0]
    two = torch.load(tmp_path / "two" / "last.ckpt", weights_only=True)
    assert two["ranks"] == 2
    torch.manual_seed(0)
    untrained = Still(TINY).state_dict()
    gaps = {name: float((two["state_dict"][name] - value).abs().max()) for name, value in one.items()}
    assert max(gaps.values()) < 2e-5, gaps
    moved = max(float((one[f"network.{n}"] - v).abs().max()) for n, v in untrained.items() if v.is_floating_point())
    assert moved > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_with_a_message(tiny: Tiny, tmp_path: Path, lost: int) -> None:
    """kill -9 on one of two: the other says so, and the last checkpoint goes on."""
    port = free_port()
    machine = dataclasses.replace(MACHINE, devices=2, strategy="ddp")
    config = tiny(tmp_path / "run", machine=machine, steps=5000, save_every=1)
    ranks = [start(config, **torchrun(rank, port)) for rank in range(2)]
    last = tmp_path / "run" / "last.ckpt"
    while not last.is_file():
        assert all(process.poll() is None for process in ranks)
        time.sleep(0.05)
    ranks[lost].kill()
    told = ranks[1 - lost].communicate(timeout=120)[1]
    ranks[lost].communicate()
    assert ranks[1 - lost].returncode == 1
    assert "another of the 2 processes is gone: start all of them again with --resume" in told
    step = torch.load(last, weights_only=True)["global_step"]
    again = [start(config, "resume=True, max_minutes=0", **torchrun(rank, port)) for rank in range(2)]
    assert [process.communicate(timeout=120) and process.returncode for process in again] == [0, 0]
    assert torch.load(last, weights_only=True)["global_step"] == step + 1


def test_another_number_of_processes_cannot_go_on(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(tmp_path, steps=2)
    torch.save({**train(config, max_minutes=0), "ranks": 2}, tmp_path / "last.ckpt")
    with pytest.raises(BadInput, match="begun by 2 processes, not 1"):
        train(config, resume=True)
