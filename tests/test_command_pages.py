from __future__ import annotations

import shutil
import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("script", "written"), [("write-cli-docs", "docs/cli.md"), ("write-man-page", "man/unsay.1")])
def test_pages_about_the_commands_are_current(script: str, written: str) -> None:
    assert (ROOT / written).read_text(encoding="utf-8") == writer(script).page(), f"run scripts/{script}"


def writer(script: str) -> Any:
    """A script that writes a page, as a module."""
    loader = SourceFileLoader(script.replace("-", "_"), str(ROOT / "scripts" / script))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_man_page_holds_no_stray_commands() -> None:
    """Each line that begins as a command of roff does is one of the few in use, whatever a help text begins with."""
    man = writer("write-man-page")
    assert man.text(".odd \\ 'text'\n --name") == "\\&.odd \\e 'text' \\-\\-name"
    commands = {line.split()[0] for line in man.page().splitlines() if line[:1] in (".", "'")}
    assert commands == {'.\\"', ".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I", ".RI", ".br"}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
def test_the_man_page_renders_without_a_warning() -> None:
    command = ["groff", "-man", "-ww", "-Tutf8", str(ROOT / "man" / "unsay.1")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "Every photo that is put into a folder." in " ".join(done.stdout.split())


def test_the_man_page_is_installed_where_man_looks() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '\n[tool.hatch.build.targets.wheel.shared-data]\n"man/unsay.1" = "share/man/man1/unsay.1"\n' in project
