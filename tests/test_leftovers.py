"""Temporary files: none stays after an error or Ctrl-C; one that a killed process left goes after a day."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kill
from unsay import leftovers
from unsay.bundle import Bundle
from unsay.photo.write import write_atomically

NAME = ".unsay-0123456789abcdef.tmp"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_swept", set())


def aged(path: Path, hours: float) -> Path:
    path.write_bytes(b"what was erased")
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))
    return path


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    old, new = aged(tmp_path / NAME, 25), aged(tmp_path / NAME.replace("0", "f"), 23)
    write_atomically(tmp_path / "out.png", b"x")
    assert not old.exists()
    assert new.exists(), "another process may still be writing it"


def test_nothing_but_our_own_files_goes(tmp_path: Path) -> None:
    names = ("unsay-0123456789abcdef.tmp", ".unsay-0123.tmp", f"{NAME}.jpg", f"a{NAME}", ".unsay-0123456789abcdeg.tmp")
    others = [aged(tmp_path / name, 1000) for name in names]
    (tmp_path / NAME).mkdir()
    link = tmp_path / NAME.replace("0", "e")
    link.symlink_to(others[0])
    write_atomically(tmp_path / "out.png", b"x")
    assert all(path.exists() for path in others)
    assert (tmp_path / NAME).is_dir()
    assert link.is_symlink()


def test_only_private_folders_of_dead_processes_are_swept(tmp_path: Path) -> None:
    names = ["unsay-page-99999999999999-abc", "unsay-page-1-abc", "unsay-page-x-abc", "unsay-ray-4194304-abc"]
    for name in (*names, "unsay-page-4194304-abc"):
        (tmp_path / name).mkdir()
    ours = leftovers.private_folder("unsay-page-", str(tmp_path))
    assert ours.name.startswith(f"unsay-page-{os.getpid()}-")
    assert ours.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, ours.name])


def test_a_folder_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: looked.append(folder) or scan(folder))
    for _ in range(3):
        write_atomically(tmp_path / "out.png", b"x")
    assert looked == [tmp_path]


def test_a_folder_that_cannot_be_listed_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    write_atomically(tmp_path / "out.png", b"x")
    assert (tmp_path / "out.png").read_bytes() == b"x"


def test_what_is_being_written_can_be_dropped(tmp_path: Path) -> None:
    with leftovers.temporary_beside(tmp_path / "out.png") as temporary:
        temporary.write_bytes(b"half")
        leftovers.drop_open()
        assert os.listdir(tmp_path) == []
    leftovers.drop_open()


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------

MAIN = "import sys; from unsay.cli import main; print('begun', flush=True); sys.exit(main())"


def begun(bundle: Bundle, folder: Path) -> subprocess.Popen[bytes]:
    """A process that has come to `main`."""
    given = ["inpaint", "photo.png", "mask.png", "-o", "out.png", "--bundle", str(bundle.path)]
    process = subprocess.Popen([sys.executable, "-c", MAIN, *given], cwd=folder, stdout=-1, stderr=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


@pytest.mark.slow
def test_ctrl_c_at_sixty_moments(tmp_path: Path, tiny_bundle: Bundle, make_spotted: Callable[..., Any]) -> None:
    import cv2

    mask = np.zeros((300, 400), np.uint8)
    mask[50:100, 60:120] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    cv2.imwrite(str(tmp_path / "photo.png"), make_spotted(300, 400))
    source, out = (tmp_path / "photo.png").read_bytes(), tmp_path / "out.png"
    process, start = begun(tiny_bundle, tmp_path), time.perf_counter()
    process.communicate()
    whole, expected = time.perf_counter() - start, out.read_bytes()
    ends: Counter[int] = Counter()
    for number in range(60):
        out.unlink(missing_ok=True)
        process = begun(tiny_bundle, tmp_path)
        time.sleep(whole * number / 60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        ends[process.returncode] += 1
        assert process.returncode in (0, 130), said
        assert said.count(b"\n") == 1, said
        assert (said == b"unsay: interrupted; no file is half-written\n") == (process.returncode == 130)
        assert not out.exists() or out.read_bytes() == expected
        assert out.exists() or process.returncode == 130
        assert (tmp_path / "photo.png").read_bytes() == source
        assert set(os.listdir(tmp_path)) <= {"mask.png", "photo.png", "out.png"}
    assert ends[130] >= 30, "the moments fell behind the end"


@pytest.mark.parametrize("command", ["erase", "train"])
def test_ctrl_c_while_the_program_is_being_imported(command: str) -> None:
    code = """
import os, signal, sys
import unsay.entry
class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.exit(unsay.entry.main())
"""
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr == b"unsay: interrupted; no file is half-written\n"


def test_before_the_program_begins_hardly_anything_is_imported() -> None:
    code = "import sys; before = set(sys.modules); import unsay.entry; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert not {"typer", "click", "pathlib", "json", "logging"} & set(done.stdout.split())
    assert "unsay.cli" not in done.stdout


def test_long_commands_get_the_handler_back_that_was_there() -> None:
    code = """
import signal, sys
import unsay.entry
from unsay import cli
cli._run = lambda arguments: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler) or 0
sys.argv[1:] = ["train", "segment"]
sys.exit(unsay.entry.main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "True\n"


def test_ctrl_c_in_another_s_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that calls `main` with its own arguments keeps its own handler."""
    from unsay import cli

    before = signal.getsignal(signal.SIGINT)
    assert cli.main(["bundles"]) == 0
    assert signal.getsignal(signal.SIGINT) is before


# --- kill -9 ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kill_nine_leaves_nothing_half_done() -> None:
    """Twelve of the two hundred of `benchmarks/kill.py`, in a process that holds no threads yet."""
    command = [sys.executable, kill.__file__, "--erase", "6", "--train", "3", "--export", "3", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line[:26].strip(): line.split()[-1] for line in done.stdout.splitlines() if line.strip()}
    assert rows["all"] == "12"
    assert int(rows["inside a write"]) >= 3
