"""Every file that once broke a promise (`tests/hostile/`, each named by what it is), and one planted violation."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import pyvips
from fuzz import run, seeds, stage
from fuzz.mutate import mutated

from unsay import errors
from unsay.adapt import read_mask
from unsay.errors import UnsayError
from unsay.photo import Photo

FOLDER = Path(__file__).parent / "hostile"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())


@pytest.fixture(autouse=True)
def _colour_words(colour_words: None) -> None:
    """The verbs on the tests' tiny bundle."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_result_or_one_of_our_errors_and_no_word_more(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = path.read_bytes()
    kind = path.name.split("-")[0]
    ways = [("segment", None), ("inpaint", None), *(("erase", output) for output in (None, *seeds.SUFFIXES.values()))]
    for verb, output in ways:
        outcome = stage.run_case(stage.Case(verb, kind, data, seeds.masks()[0], output=output), tmp_path)
        assert outcome == "result" or issubclass(getattr(errors, outcome), UnsayError)
    with contextlib.suppress(UnsayError):
        assert read_mask(io.BytesIO(data), (seeds.WIDTH, seeds.HEIGHT)).shape == (seeds.HEIGHT, seeds.WIDTH)
    assert capfd.readouterr() == ("", "")


def test_what_libvips_quotes_need_not_be_text() -> None:
    """libvips puts bytes of damaged files into its messages; pyvips alone takes them for UTF-8."""
    pyvips.vips_lib.vips_error_clear()
    with pytest.raises(pyvips.Error) as caught:
        pyvips.Image.new_from_file(b"nonesuch-\xff\xfe.png".decode(errors="surrogateescape").encode(errors="replace"))
    assert "nonesuch" in str(caught.value)
    text = pyvips.ffi.new("char[]", b"Bad tag \xef\xff")
    assert pyvips.error._to_string(text) == "Bad tag \ufffd\ufffd"
    assert pyvips._to_string(text) == "Bad tag \ufffd\ufffd"


def test_cases_are_the_same_whenever_they_are_made() -> None:
    assert stage.make_case(Random("3/17")) == stage.make_case(Random("3/17"))
    assert stage.make_case(Random("3/17")) != stage.make_case(Random("3/18"))


@pytest.mark.parametrize("kind", seeds.FORMATS)
def test_mutations_reach_beyond_the_first_check(kind: str) -> None:
    """A fuzzer whose files are all refused at their first bytes tests nothing else."""
    random, opened = Random(kind), 0
    for _ in range(60):
        data = mutated(random.choice(seeds.photos(kind)), kind, random)
        try:
            opened += bool(Photo.open(data, max_megapixels=1).width)
        except UnsayError:
            continue
    assert 6 <= opened <= 54


@pytest.mark.parametrize("seed", [1, 2])
def test_a_few_cases_of_the_fuzzer(seed: int, tmp_path: Path) -> None:
    outcomes = {stage.run_case(stage.make_case(Random(f"{seed}/{i}")), tmp_path) for i in range(80)}
    assert {"result", "BadInput", "NotFound"} <= outcomes


def test_the_runner_tells_a_violation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open(tmp_path / "noise", "w+b") as noise:
        assert run._one(lambda: "result", noise.fileno())["outcome"] == "result"
        assert "ZeroDivisionError" in run._one(lambda: 1 // 0, noise.fileno())["violation"]
        assert "printed" in run._one(lambda: run.os.write(2, b"!") and "result", noise.fileno())["violation"]


@pytest.mark.parametrize("name", ["photo", "mask", "metadata", "words", "manifest"])
def test_the_guided_harnesses_take_what_they_begin_with(name: str) -> None:
    """And the same, damaged; atheris itself is not needed for that."""
    harness = importlib.import_module(f"fuzz.{name}_harness")
    test, random = harness.load(), Random(name)
    for data in harness.start():
        for given in (data, mutated(data, "", random)):
            with contextlib.suppress(UnsayError):
                test(given)


@pytest.mark.slow
def test_the_runner_as_a_process() -> None:
    root = Path(__file__).parents[1]
    before = sorted(FILES)
    command = [sys.executable, "-m", "fuzz.run", "--cases", "400", "--seed", "5"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "400 cases" in done.stdout
    assert "0 violations" in done.stdout
    assert sorted(FILES) == before
