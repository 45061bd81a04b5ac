"""What is installed is what was chosen: the locks cover all that is asked for, by hash, and the licences are known."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {path.stem: path.read_text() for path in (ROOT / "requirements").glob("*.lock")}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ENTRY = re.compile(r"([a-z0-9-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")
PINS = {name: {n: v for n, v, _ in ENTRY.findall(text)} for name, text in LOCKS.items()}
ALL = {**PINS["build"], **PINS["run"], **PINS["dev"]}
EVERY = {**ALL, **PINS["cuda"]}
LOCK: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "lock"), run_name="lock")
NOT_NEEDED = {"sentence-transformers"}
"""Asked for by the package whose weights alone are used."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_locks_hold_nothing_but_versions_and_hashes() -> None:
    assert set(LOCKS) == {"build", "run", "dev", "cpu", "cuda"}
    for text in LOCKS.values():
        assert ENTRY.sub("", text).splitlines() == [line for line in text.splitlines() if line.startswith("# ")]
        assert "//" not in text


def test_no_package_is_in_two_locks() -> None:
    assert len(ALL) == sum(len(PINS[name]) for name in ("build", "run", "dev"))
    assert not set(ALL) & set(PINS["cuda"])
    assert set(PINS["cpu"]) == {"torch"}


@pytest.mark.parametrize("extra", ["", *PROJECT["project"]["optional-dependencies"]])
def test_what_the_project_asks_for_is_locked(extra: str) -> None:
    project = PROJECT["project"]
    wanted = LOCK["requirements"](project, extra) if extra else project["dependencies"]
    for text in wanted:
        one = Requirement(text)
        assert canonical(one.name) in EVERY, f"{text}: run scripts/lock"
        assert one.specifier.contains(EVERY[canonical(one.name)]), f"{text}: run scripts/lock"


def test_what_builds_the_project_is_locked() -> None:
    for text in [*PROJECT["build-system"]["requires"], *LOCK["BUILD"]]:
        one = Requirement(text)
        assert one.specifier.contains(PINS["build"][canonical(one.name)]), f"{text}: run scripts/lock"


def test_the_constraints_of_other_machines_say_the_same() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            one = Requirement(line)
            assert one.specifier.contains(EVERY[canonical(one.name)]), line


def test_what_the_locked_packages_need_is_locked() -> None:
    """Nothing is left for pip to choose: installed with `--no-deps`, a gap would show only as it is imported."""
    missing = set()
    for name in ALL:
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # an environment that was made without the locks
        for text in needs:
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                missing.add(canonical(one.name))
    assert missing - set(ALL) - set(PINS["cuda"]) <= NOT_NEEDED


def test_torch_may_be_either_build_of_one_version() -> None:
    """Each in a lock of its own: where both hashes are allowed, pip takes the one with gigabytes of libraries."""
    assert PINS["cpu"]["torch"] == PINS["cuda"]["torch"] + "+cpu"
    assert LOCKS["cpu"].count("sha256:") == 1


def test_a_file_that_was_changed_on_its_way_is_not_installed(tmp_path: Path) -> None:
    """pip with the options of scripts/install, and a wheel that is not the one whose hash the lock has."""
    (entry,) = (e for e in ENTRY.finditer(LOCKS["run"]) if e.group(1) == "mdurl")
    (tmp_path / f"mdurl-{entry.group(2)}-py3-none-any.whl").write_bytes(b"something else")
    (tmp_path / "a.lock").write_text(entry.group(0))
    options = ["--no-index", "--find-links", str(tmp_path), "--require-hashes", "--no-deps", "--dry-run"]
    command = [sys.executable, "-m", "pip", "install", *options, "--ignore-installed", "-r", str(tmp_path / "a.lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    install = (ROOT / "scripts" / "install").read_text()
    assert "--require-hashes --no-deps --no-build-isolation --only-binary :all: --no-binary pyvips" in install


def test_the_licence_of_every_package_is_known_and_written_down() -> None:
    """Of the running half, the extras and the packaged weights; docs/licences.md is what the script would write."""
    script = [sys.executable, str(ROOT / "scripts" / "licences"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_running_half_needs_nothing_under_the_gpl() -> None:
    text = (ROOT / "docs" / "licences.md").read_text()
    running = text.partition("## The running half")[2].partition("## ")[0]
    names = {row.split()[1] for row in running.splitlines() if row.startswith("| ")} - {"package"}
    assert {canonical(Requirement(one).name) for one in PROJECT["project"]["dependencies"]} <= names
    assert not re.search(r"\| GPL", running)
    assert re.search(r"\| pillow-heif \S+ \| GPL", text)
