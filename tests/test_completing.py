from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from unsay import cli
from unsay.commands.sections import PHOTOS, sections


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The three scripts as `unsay.bash`, `unsay.zsh` and `unsay.fish` in one folder."""
    for shell in ("bash", "zsh", "fish"):
        assert cli.main(["completion", shell]) == 0
        (tmp_path / f"unsay.{shell}").write_text(capsys.readouterr().out)
    return tmp_path


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not here")


def in_bash(folder: Path, *typed: str) -> list[str]:
    """What bash offers where the last of the words `typed` is to be completed."""
    words = " ".join(f"'{word}'" for word in typed)
    line = f"COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}"
    code = f"source unsay.bash; {line}; _unsay; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def in_fish(folder: Path, line: str) -> list[str]:
    code = f"source unsay.fish; complete -C '{line}'"
    done = subprocess.run(["fish", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return [offer.split("\t")[0] for offer in done.stdout.splitlines()]


CASES = [
    (["unsay", "er"], ["erase"]),
    (["unsay", "erase", "photo.jpg", "dog", "--gr"], ["--grow"]),
    (["unsay", "cutout", "photo.jpg", "dog", "--cr"], ["--crop"]),
    (["unsay", "segment", "photo.jpg", "dog", "--format", "lab"], ["labelme", "labels"]),
    (["unsay", "evaluate", "pre"], ["presence"]),
    (["unsay", "evaluate", "presence", "--la"], ["--labels"]),
    (["unsay", "import", "clip", "--group-method", "k"], ["k-means"]),
    (["unsay", "--ver"], ["--version"]),
]


@needs("bash")
@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_bash(script: Path, typed: list[str], offered: list[str]) -> None:
    assert sorted(in_bash(script, *typed)) == offered


@needs("bash")
def test_bash_leaves_files_to_itself(script: Path) -> None:
    """Nothing of ours: then bash completes file names."""
    for typed in (["unsay", "erase", "ph"], ["unsay", "erase", "photo.jpg", "dog", "-o", "o"]):
        assert in_bash(script, *typed) == []
    assert in_bash(script, "unsay", "segment", "--format", "=", "ov") == ["overlay"]


@needs("fish")
@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_fish(script: Path, typed: list[str], offered: list[str]) -> None:
    assert sorted(in_fish(script, " ".join(typed))) == offered


@needs("zsh")
def test_zsh_reads_it(script: Path) -> None:
    """Its completion works in a terminal alone: here it is read, and the values looked at."""
    subprocess.run(["zsh", "-n", "unsay.zsh"], cwd=script, check=True)
    text = (script / "unsay.zsh").read_text()
    assert text.startswith("#compdef unsay\n")
    assert "'erase:Erase what the words name, as if it had never been there.'" in text
    assert '("unsay segment --format") values=(overlay labels coco labelme) ;;' in text


@needs("zsh")
def test_zsh_in_a_terminal(script: Path) -> None:
    code = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; autoload -Uz compinit; compinit -u -d zcompdump; source unsay.zsh; echo rea''dy"
zpty -r shell answer '*ready*'
zpty -w -n shell $'unsay segment photo.jpg dog --format lab\\tx\\t'
zpty -r shell answer '*--format label*'
print -r -- $answer
zpty -d shell
"""
    done = subprocess.run(["zsh", "-fc", code], cwd=script, capture_output=True, text=True, check=True, timeout=30)
    assert "--format label" in done.stdout


def test_every_command_and_option_is_there(script: Path) -> None:
    texts = [(script / f"unsay.{shell}").read_text() for shell in ("bash", "zsh")]

    def walk(name: str, command: Any) -> None:
        for parameter in command.params:
            names = parameter.opts if parameter.param_type_name == "option" else []
            assert all(one in text for one in names for text in texts), name
        for child, inner in getattr(command, "commands", {}).items():
            assert all(f'"{name} {child}")' in text for text in texts)
            walk(f"{name} {child}", inner)

    walk("unsay", typer.main.get_command(cli.app))


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "tcsh"]) == 2
    assert capsys.readouterr().err == "unsay: no completion for 'tcsh': use one of bash, zsh, fish\n"


# --- the list of commands ---------------------------------------------------------------------------------------------


def test_the_help_begins_with_what_one_does_with_a_photo(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    photos, networks = text.index("\nPhotos:\n"), text.index("\nNetworks and data:\n")
    assert photos < text.index("\n  erase ") < text.index("\n  cutout ") < networks
    assert networks < text.index("\n  bundles ") < text.index("\n  train ") < text.index("\nShell:\n")
    assert "Commands:" not in text


def test_sections_leave_nothing_out() -> None:
    names = list(typer.main.get_command(cli.app).commands)
    assert sorted(name for part in sections(names).values() for name in part) == sorted(names)
    assert sections(["watch", "new", "erase"]) == {"Photos": ["erase", "watch"], "Networks and data": ["new"]}
    assert PHOTOS[0] == "erase"
