"""The wheel holds what it has to hold, and installs on every Python that it names."""

from __future__ import annotations

import runpy
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[1]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "check-wheel"), run_name="check_wheel")


def test_the_project_names_the_pythons_that_are_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {line.rsplit(" ", 1)[1] for line in project["classifiers"] if "Python :: 3." in line}
    assert named == set(SCRIPT["PYTHONS"])
    assert project["requires-python"] == f">={SCRIPT['PYTHONS'][0]}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = SCRIPT["built"](tmp_path_factory.mktemp("wheel"))
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert SCRIPT["faults"](wheel) == []


@pytest.mark.slow
def test_what_is_wrong_with_a_wheel_is_seen(wheel: Path, tmp_path: Path) -> None:
    other = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            if name.endswith("py.typed") or name.endswith("words.npz"):
                continue
            data = old.read(name)
            new.writestr(name, data.replace(b"Requires-Python: >=3.10", b"Requires-Python: >=3.9"))
        new.writestr("unsay/training/data/photos.tar", b"")
        new.writestr("tests/test_x.py", b"")
    found = "\n".join(SCRIPT["faults"](other))
    for part in ("missing: unsay/py.typed", "words.npz", "photos.tar", "tests/test_x.py", "Requires-Python is >=3.9"):
        assert part in found


@pytest.mark.slow
@pytest.mark.parametrize("version", SCRIPT["PYTHONS"])
def test_it_installs_compiles_and_imports(version: str, wheel: Path, tmp_path: Path) -> None:
    found = SCRIPT["pythons"]()
    if version not in found:
        assert version != f"{sys.version_info[0]}.{sys.version_info[1]}", (
            "the Python of this very process was not found"
        )
        pytest.skip(f"no Python {version} here")
    assert SCRIPT["tried"](wheel, found[version], tmp_path / version) == ""
