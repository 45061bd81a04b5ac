"""The commands of docs/training-segmentation.md, Several processes: torchrun alone makes a run of several machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from training.processes import free_port

pytestmark = pytest.mark.slow
LONG = 180


def write_config(folder: Path, photos: Path, name: str, devices: int, nodes: int, steps: int = 4) -> Path:
    machine = {"accelerator": "cpu", "devices": devices, "num_nodes": nodes, "strategy": "ddp", "threads": 1}
    network = {"width": 0.0625, "levels": 5, "refinements": 1}
    losses = {"perceptual": 0.0, "style": 0.0, "variation": 0.0}
    config: dict[str, Any] = {"folders": [str(photos)], "network": network, "losses": losses, "machine": machine}
    config |= {"crop": 64, "batch": 2, "steps": steps, "save_every": 1, "out": str(folder / name)}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def node(config: Path, port: int, nodes: int, processes: int, *more: str) -> subprocess.Popen[str]:
    """One machine's torchrun, as documented."""
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "run"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes",
        str(nodes),
        "--nproc-per-node",
        str(processes),
    ]
    command += [
        *rendezvous,
        "--local-addr",
        "127.0.0.1",
        "-m",
        "unsay.cli",
        "train",
        "inpaint",
        "--config",
        str(config),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        [*command, *more], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test, and all that they started."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_two_machines_learn_what_two_processes_of_one_do(
    smooth_photos: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    port = free_port()
    two = write_config(tmp_path, smooth_photos, "two", 1, 2)
    started += [node(two, port, 2, 1), node(two, port, 2, 1)]
    assert [process.communicate(timeout=LONG) and process.returncode for process in started] == [0, 0]
    one = node(write_config(tmp_path, smooth_photos, "one", 2, 1), free_port(), 1, 2)
    started.append(one)
    one.communicate(timeout=LONG)
    assert one.returncode == 0
    states = [torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("one", "two")]
    assert [state["ranks"] for state in states] == [2, 2]
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name]), name


def test_a_worker_that_is_killed_ends_torchrun_and_the_run_goes_on(
    smooth_photos: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    config = write_config(tmp_path, smooth_photos, "run", 2, 1, steps=2000)
    whole = node(config, free_port(), 1, 2)
    started.append(whole)
    last = tmp_path / "run" / "last.ckpt"
    until = time.monotonic() + LONG
    while not last.is_file():
        assert whole.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    children = subprocess.run(
        ["pgrep", "-P", str(whole.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    told = whole.communicate(timeout=LONG)[1]
    assert whole.returncode != 0
    assert "SIGKILL" in told or "exitcode" in told
    step = torch.load(last, weights_only=True)["global_step"]
    again = node(config, free_port(), 1, 2, "--resume", "--minutes", "0")
    started.append(again)
    again.communicate(timeout=LONG)
    assert torch.load(last, weights_only=True)["global_step"] == step + 1
