"""One hostile case: a photo, perhaps a mask, a verb and its options, on the tests' tiny bundle; and what came of it."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import unsay.erasing
from fuzz import seeds
from fuzz.mutate import mutated
from unsay import verbs
from unsay.bundle import Bundle, load_bundle
from unsay.errors import UnsayError
from unsay.masks_out import ALLOWED
from unsay.options import EraseOptions, InpaintOptions, SegmentOptions
from unsay.photo import Photo

VERBS = ("erase", "segment", "inpaint")
ODD_WORDS = ("", " ", "dog\n", "re\0d", "\x1b[31mred", "\U0001f415", "\u202eder", "x\udcff", "x" * 300, "-red", "a red")
ODD_NUMBERS = (0, 1, 2, 5, 12, 24, 31, 32, 500, -1, 1 << 40)
MEGAPIXELS = 4.0


@dataclass(frozen=True)
class Case:
    """What is done to what. `format`: of the photo before it was damaged; `output`: a suffix, None for bytes back."""

    verb: str
    format: str
    photo: bytes
    mask: bytes = b""
    words: tuple[str, ...] = ("red",)
    output: str | None = None
    kind: str = "overlay"
    in_place: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@cache
def tests_conftest() -> Any:
    """The tests' shared fixtures as a module: the tiny bundle and the colour words are defined there alone."""
    path = Path(__file__).parents[1] / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tests_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def tiny_bundle() -> Bundle:
    """The tests' tiny bundle; from now on the verbs find the words "red", "green" and "blue" by colour."""
    shared: Any = tests_conftest()
    folder = Path(tempfile.mkdtemp(prefix="unsay-fuzz-"))
    bundle = load_bundle(shared.write_tiny_bundle(folder), threads=1)
    bundle.session("filler.onnx")
    shutil.rmtree(folder)
    unsay.erasing.segment_pixels = shared.segment_colours
    verbs.segment_pixels = shared.segment_colours
    return bundle


def make_case(random: Random) -> Case:
    """A case drawn at random: every format and verb as often as the others, nine of ten damaged."""
    verb, kind = random.choice(VERBS), random.choice(seeds.FORMATS)
    photo, mask = random.choice(seeds.photos(kind)), random.choice(seeds.masks())
    if verb == "inpaint" and random.random() < 0.3:
        mask = mutated(mask, random.choice(("png", "tiff", "webp", "jpeg")), random)
    elif random.random() < 0.95:
        photo = mutated(photo, kind, random)
    masks_as = random.choice(tuple(ALLOWED))
    return Case(
        verb,
        kind,
        photo,
        mask,
        words=_words(random),
        output=_output(verb, masks_as, random),
        kind=masks_as,
        in_place=random.random() < 0.1,
        options=_options(random),
    )


def run_case(case: Case, folder: Path) -> str:
    """Do it; the outcome is "result" or the name of one of our errors. Whatever else goes wrong is raised.

    `folder` is empty before and after. Raises AssertionError where a file was half-written or the source touched.
    """
    bundle = tiny_bundle()
    source: Any = case.photo
    written = case.output is not None or case.in_place
    if written:
        source = folder / f"photo{seeds.SUFFIXES[case.format]}"
        source.write_bytes(case.photo)
    output = None if case.output is None or case.in_place else folder / f"out{case.output}"
    try:
        value = _call(case, source, output, bundle)
        _check_result(case, value, folder)
        return "result"
    except UnsayError as error:
        text = str(error)
        assert "\n" not in text, f"a message of several lines: {text!r}"
        assert len(text) < 1000, f"a message of {len(text)} characters"
        assert set(os.listdir(folder)) <= {Path(source).name if written else ""}, "something was left behind"
        return type(error).__name__
    finally:
        if written and not case.in_place:
            assert source.read_bytes() == case.photo, "the source was touched"
        for path in folder.iterdir():
            path.unlink()


def _call(case: Case, source: Any, output: Path | None, bundle: Bundle) -> Any:
    grow, feather = case.options.get("grow"), case.options.get("feather")
    segment = SegmentOptions(case.options.get("threshold"), case.options.get("box"), case.options.get("point"))
    inpaint = InpaintOptions(grow, feather, texture=case.options.get("texture", True))
    common: dict[str, Any] = {"bundle": bundle, "output": output, "max_megapixels": MEGAPIXELS}
    if case.verb == "segment":
        return verbs.run_segment(source, case.words, segment, kind=case.kind, **common).value
    common["in_place"] = case.in_place
    if case.verb == "inpaint":
        return verbs.run_inpaint(source, io.BytesIO(case.mask), inpaint, **common).value
    return verbs.run_erase(source, case.words, EraseOptions(segment, inpaint), **common).value


def _check_result(case: Case, value: Any, folder: Path) -> None:
    """What was written is a whole file of its kind, and nothing else lies there."""
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")], "a temporary file was left behind"
    data = value.read_bytes() if isinstance(value, Path) else value
    assert isinstance(data, bytes), f"{type(value).__name__} came back"
    if case.verb != "segment":
        Photo.open(data, max_megapixels=4 * MEGAPIXELS)


def _output(verb: str, kind: str, random: Random) -> str | None:
    """A suffix to write with, mostly one that the verb can use; None: bytes are handed back."""
    if random.random() < 0.03:
        return random.choice((".xyz", "", ".json", ".PNG"))
    if random.random() < 0.3:
        return None
    return random.choice(ALLOWED[kind] if verb == "segment" else tuple(seeds.SUFFIXES.values()))


def _words(random: Random) -> tuple[str, ...]:
    if random.random() < 0.03:
        return (random.choice(ODD_WORDS), "red")
    return random.choice((("red",), ("red",), ("red", "green"), ("blue",), ("blue", "red"), ("green",)))


def _options(random: Random) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "grow": random.choice((None, 0, 1, 3)),
        "feather": random.choice((None, 0, 1, 3)),
        "texture": random.random() < 0.7,
    }
    if random.random() < 0.08:
        drawn[random.choice(("grow", "feather"))] = random.choice(ODD_NUMBERS)
    if random.random() < 0.08:
        drawn["box"] = tuple(random.choice(ODD_NUMBERS) for _ in range(4))
    if random.random() < 0.08:
        drawn["point"] = (random.choice(ODD_NUMBERS), random.choice(ODD_NUMBERS))
    if random.random() < 0.05:
        drawn["threshold"] = random.choice((0, 0.5, 1, -1, 2, float("nan"), float("inf")))
    return drawn
