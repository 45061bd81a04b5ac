"""Nothing leaves the machine: no verb makes a connection or looks a name up, and no library reports anything."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest

import unsay
from unsay.cli import main
from unsay.models.hugging_face import report_nothing

EXAMPLE = Path(unsay.__file__).parents[2] / "examples" / "sea.jpg"
GUARD = """
import sys
def watch(event, arguments):
    # files and pipes are all that a verb needs: no socket is made, no name looked up, no process begun
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "urllib.", "ftplib.")):
        sys.stderr.write(f"GUARD: {event} {arguments}\\n")
        sys.stderr.flush()
        import os
        os._exit(99)
sys.addaudithook(watch)
"""
"""As `sitecustomize` it is in force before any other module is imported."""


UNWANTED = {"torch", "onnx", "yaml", "transformers", "huggingface_hub", "joblib", "cloudpickle", "requests", "httpx"}
"""Libraries of the learning half, and those that unpickle or fetch: no verb may pull them in, not even by others."""
HUSHING = {"CI", "TF_BUILD", "GITHUB_ACTIONS", "DO_NOT_TRACK"}
"""Variables by which some libraries go silent of themselves, as they would not on a user's machine."""


def commands(folder: Path) -> list[list[str]]:
    """One run of each verb; the hole is small, so that each takes about a second."""
    photo, mask = folder / "photo.png", folder / "mask.png"
    small = cv2.resize(cv2.imread(str(EXAMPLE)), (160, 120))
    cv2.imwrite(str(photo), small)
    hole = np.zeros((120, 160), np.uint8)
    hole[50:60, 60:80] = 255
    cv2.imwrite(str(mask), hole)
    out = ["-o", str(folder / "out.png")]
    return [
        ["bundles", "--json"],
        ["segment", str(photo), "boat", "qwertyish thing", *out],  # one word known, one for the text encoder
        ["inpaint", str(photo), str(mask), *out],
        ["erase", str(photo), "orca", "--threshold", "0", *out],
    ]


def test_no_verb_opens_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> NoReturn:
        asked.append(arguments)
        raise OSError("no network here")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    bundles, *_, erase = commands(tmp_path)
    assert main(bundles) == main(erase) == 0
    assert not asked


@pytest.fixture
def guarded(tmp_path: Path) -> Callable[[list[str]], subprocess.CompletedProcess[str]]:
    """Runs Python under the guard, with a home of its own; in a namespace without a network where that can be had."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(GUARD)
    paths = os.pathsep.join([str(site), str(Path(unsay.__file__).parents[1])])
    kept = {k: v for k, v in os.environ.items() if k not in HUSHING and not k.startswith(("ORT_", "XDG_"))}
    environment = {**kept, "PYTHONPATH": paths, "HOME": str(tmp_path / "home")}
    prefix = ["unshare", "-rn"] if can_unshare() else []

    def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        command = [*prefix, sys.executable, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)

    return run


def can_unshare() -> bool:
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([tool, "-rn", "true"], capture_output=True, check=False).returncode == 0


def test_the_command_line_without_a_network(
    guarded: Callable[[list[str]], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """All verbs in one process, as the interpreter starts: imports are watched as well.

    What compiled libraries do by themselves no hook of Python's sees: their sockets are looked for among the open
    files all the while, and their notes in the home folder.
    """
    script = f"""
        import json, os, sys, threading
        from pathlib import Path
        seen, done = set(), threading.Event()
        def look():
            while not done.wait(0.002):
                for file in Path("/proc/self/fd").iterdir():
                    try:
                        seen.update([t for t in [os.readlink(file)] if t.startswith("socket:")])
                    except OSError:
                        pass
        if sys.platform == "linux":
            threading.Thread(target=look, daemon=True).start()
        from unsay.cli import main
        for command in {commands(tmp_path)!r}:
            assert main(command) == 0, command
        done.set()
        assert not seen, seen
        print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}} & {UNWANTED!r})))
    """
    done = guarded(["-c", textwrap.dedent(script)])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["bundles"]
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert not (tmp_path / "home").exists()


def test_the_runtimes_own_reporting_is_off(
    guarded: Callable[[list[str]], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Without the switch, importing it writes an identifier of the machine: with it, nothing."""
    if sys.platform == "linux" and can_unshare():  # without a network it may try
        assert guarded(["-c", "import onnxruntime"]).returncode == 0
        assert (tmp_path / "home").exists()  # else what this test looks for is no longer where it was
        shutil.rmtree(tmp_path / "home")
    assert guarded(["-c", "from unsay.runtime import runtime; runtime()"]).returncode == 0
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("code", ["import socket; socket.socket()", "import subprocess; subprocess.run(['true'])"])
def test_the_guard_guards(guarded: Callable[[list[str]], subprocess.CompletedProcess[str]], code: str) -> None:
    done = guarded(["-c", code])
    assert done.returncode == 99
    assert "GUARD" in done.stderr


def test_the_hubs_client_reports_nothing_and_stays_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "0")
        monkeypatch.setattr(constants, name, False)
    report_nothing(offline=True)
    assert (constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_OFFLINE) == (True, True)
    assert {os.environ["HF_HUB_DISABLE_TELEMETRY"], os.environ["HF_HUB_OFFLINE"]} == {"1"}
    report_nothing(offline=False)  # --download: the user named a hub's weights
    assert (constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_OFFLINE) == (True, False)
