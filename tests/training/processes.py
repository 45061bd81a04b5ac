"""Training runs in processes of their own, alone or as a group of two as torchrun makes one."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(rank: int, port: int) -> dict[str, str]:
    """What torchrun tells each process."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    world = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": 0, "GLOO_SOCKET_IFNAME": "lo"}
    return {name: str(value) for name, value in {**names, **world}.items()}


def start(file: str, config: Any, call: str, environment: dict[str, str], **how: Any) -> subprocess.Popen[str]:
    """`call` in a process of its own, where `tests` is the test file and `config` the configuration."""
    code = f"""
        import importlib.util, sys
        sys.path.append({str(Path(__file__).parents[1])!r})
        from unsay.training.config import config_from
        from unsay.errors import UnsayError
        spec = importlib.util.spec_from_file_location("doubles", {file!r})
        sys.modules["doubles"] = tests = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tests)
        config = config_from({dataclasses.asdict(config)!r}, tests.{type(config).__name__}, "test")
        try:
            {call}
        except UnsayError as error:
            sys.exit(f"unsay: {{error}}")
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, text=True, **how)
