"""Fixtures that every room's tests share: a bundle that is real to the runtime, tiny, and made in milliseconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper

from unsay.bundle import Bundle, load_bundle
from unsay.options import SegmentOptions
from unsay.results import Pixels, Segmentation
from unsay.segmentation.words import check_words
from unsay.training.bundling import write_part

sys.path.append(str(Path(__file__).parents[1]))  # for `fuzz`, which shares its photos and mutations with the tests
settings.register_profile("any machine", deadline=None)  # what a loaded machine takes says nothing of the code
settings.load_profile("any machine")

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def averaging_network(reach: int = 9) -> onnx.ModelProto:
    """A filler as an ONNX graph: each point becomes the mean of the known pixels within `reach`, else of all known."""
    box = [
        numpy_helper.from_array(np.ones((n, 1, 2 * reach + 1, 2 * reach + 1), np.float32), f"box{n}") for n in (1, 3)
    ]
    constants = [
        numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("half", 0.5), ("one", 1.0))
    ]
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "box3"], ["near"], group=3, pads=[reach] * 4),
        node("Conv", ["mask", "box1"], ["count"], pads=[reach] * 4),
        node("Max", ["count", "one"], ["divisor"]),
        node("Div", ["near", "divisor"], ["local"]),
        node("ReduceSum", ["image", "axes"], ["total"], keepdims=1),
        node("ReduceSum", ["mask", "axes"], ["known"], keepdims=1),
        node("Max", ["known", "one"], ["known_or_one"]),
        node("Div", ["total", "known_or_one"], ["everywhere"]),
        node("Greater", ["count", "half"], ["any"]),
        node("Where", ["any", "local", "everywhere"], ["fill"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "average",
        [value("image", TensorProto.FLOAT, [1, 3, "H", "W"]), value("mask", TensorProto.FLOAT, [1, 1, "H", "W"])],
        [value("fill", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [*box, *constants, axes],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_tiny_bundle(folder: Path, *, max_side: int = 128, mask: str = "keep") -> Path:
    """A bundle with a real inpaint part; its segment part is well formed and names no network (see `colour_words`)."""
    onnx.save(averaging_network(), folder / "filler.onnx")
    section = {"file": "filler.onnx", "multiple": 16, "mean": MEAN, "std": STD, "mask": mask, "max_side": max_side}
    write_part(folder, "inpaint", section, files=["filler.onnx"], name="tiny", licence="Apache-2.0")
    network = {"file": "none.onnx", "side": 64, "multiple": 8, "mean": [127.0] * 3, "deviation": [128.0] * 3}
    segment = {
        "features": network,
        "grouping": {"maps": {"colour": 1.0}},
        "encoder": {"file": "none.onnx", "maps": ["colour"]},
        "text": {"file": "none.onnx", "tokenizer": "none.json", "templates": ["{}"]},
        "recognition": {"threshold": 0.5},
    }
    write_part(folder, "segment", segment, files=[])
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose filler averages the known pixels nearby; it uses a side of 128 pixels at most."""
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp("tiny")), threads=1)


@pytest.fixture(scope="session")
def make_rgb() -> Callable[..., Pixels]:
    """`make_rgb(height, width, seed=0)`: a coloured ramp [H, W, 3] uint8, noisy so that a moved sample shows."""

    def make(height: int, width: int, seed: int = 0) -> Pixels:
        rng = np.random.default_rng(seed)
        ramp = np.linspace(40, 200, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
        return np.asarray((ramp + rng.integers(0, 15, (height, width, 3))).clip(0, 255).astype(np.uint8))

    return make


def segment_colours(
    rgb: Pixels, words: Sequence[str], bundle: Bundle, options: SegmentOptions | None = None
) -> Segmentation:
    """In place of the real segmentation: "red", "green" and "blue" name the pixels of that strong colour."""
    checked = check_words(words)
    labels = np.zeros(rgb.shape[:2], np.int32)
    for index, word in enumerate(checked, 1):
        channel = {"red": 0, "green": 1, "blue": 2}.get(word)
        if channel is not None:
            others = np.delete(rgb, channel, axis=2).max(axis=2)
            labels[rgb[..., channel].astype(int) - others > 100] = index
    found = tuple(word for index, word in enumerate(checked, 1) if (labels == index).any())
    scores = {word: 0.9 if word in found else 0.1 for word in checked}
    return Segmentation(checked, labels, scores, np.zeros_like(labels), found, ("grey",))


@pytest.fixture
def colour_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs look for words with `segment_colours`."""
    monkeypatch.setattr("unsay.erasing.segment_pixels", segment_colours)
    monkeypatch.setattr("unsay.verbs.segment_pixels", segment_colours)


@pytest.fixture(scope="session")
def make_spotted(make_rgb: Callable[..., Pixels]) -> Callable[..., Pixels]:
    """`make_spotted(height, width)`: a picture [H, W, 3] uint8 with a red square in it and a blue bar."""

    def make(height: int = 90, width: int = 120) -> Pixels:
        rgb = make_rgb(height, width).copy()
        rgb[height // 5 : height // 2, width // 5 : width // 2] = (230, 10, 10)
        rgb[-height // 5 : -height // 10, width // 2 : -width // 10] = (10, 10, 240)
        return rgb

    return make
