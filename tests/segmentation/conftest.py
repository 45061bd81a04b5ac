"""A bundle that segments by colour: real ONNX graphs and a real tokenizer, made in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from unsay.bundle import Bundle, load_bundle
from unsay.training.bundling import write_part

CELL = 8
VECTORS = {"red": (1, -1, -1, 0.3), "green": (-1, 1, -1, 0.3), "blue": (-1, -1, 1, 0.3), "grey": (0, 0, 0, 1)}
SECTION: dict[str, Any] = {
    "features": {"file": "features.onnx", "side": 128, "multiple": CELL, "mean": [127.0] * 3, "deviation": [128.0] * 3},
    "grouping": {"method": "agglomerative", "maps": {"colour": 1.0}, "channels": 3, "options": {"groups": 6}},
    "encoder": {"file": "encoder.onnx", "maps": ["colour"]},
    "text": {"file": "text.onnx", "tokenizer": "tokenizer.json", "templates": ["a {}", "the {}"]},
    "recognition": {
        "temperature": 0.1,
        "background": ["grey"],
        "things": ["red", "green", "blue"],
        "present_at": 4.0,
        "present_slope": 1.0,
        "unseen_at": 4.0,
        "unseen_slope": 1.0,
        "kind_margin": 0.0,
        "unseen_scale": 1.0,
        "unseen_bonus": 0.0,
        "background_margin": 0.0,
        "thing_margin": 0.0,
        "best_region": 1.0,
        "behind_best": 20.0,
        "middle": 0.0,
    },
}


def write_colour_bundle(folder: Path, **changed: Any) -> Path:
    """The bundle in `folder`; `changed`: parts of its section that replace those above (None: left out)."""
    for name, graph in (("features", _features()), ("encoder", _encoder()), ("text", _text())):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, folder / f"{name}.onnx")
    tokenizer = Tokenizer(
        models.WordLevel({"[UNK]": 0, **{w: i + 1 for i, w in enumerate(VECTORS)}}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.save(str(folder / "tokenizer.json"))
    section = {k: v for k, v in (SECTION | changed).items() if v is not None}
    files = ["features.onnx", "encoder.onnx", "text.onnx", "tokenizer.json"]
    write_part(folder, "segment", section, files=files, name="colours", licence="Apache-2.0")
    return folder


@pytest.fixture(scope="session")
def colour_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It knows red, green, blue, and grey as background."""
    return load_bundle(write_colour_bundle(tmp_path_factory.mktemp("colours")), threads=1)


@pytest.fixture(scope="session")
def flag() -> np.ndarray:
    """A grey photo [96, 128, 3] with a red square at the left and a blue one at the right."""
    rgb = np.full((96, 128, 3), 127, np.uint8)
    rgb[24:72, 16:56] = (250, 5, 5)
    rgb[24:72, 80:112] = (5, 5, 250)
    return rgb


def _features() -> Any:
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [node("AveragePool", ["pixels"], ["colour"], kernel_shape=[CELL, CELL], strides=[CELL, CELL])]
    ins = [value("pixels", TensorProto.FLOAT, [1, 3, "H", "W"])]
    return helper.make_graph(nodes, "features", ins, [value("colour", TensorProto.FLOAT, [1, 3, "h", "w"])])


def _encoder() -> Any:
    value, node = helper.make_tensor_value_info, helper.make_node
    constants = [
        numpy_helper.from_array(np.array([3, -1], np.int64), "flat"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.eye(3, 4, dtype=np.float32), "lift"),
        numpy_helper.from_array(np.array([0, 0, 0, 0.3], np.float32), "rest"),
    ]
    nodes = [
        node("Reshape", ["colour", "flat"], ["planes"]),
        node("Transpose", ["planes"], ["patches"], perm=[1, 0]),
        node("ReduceSum", ["coverage", "one"], ["area"], keepdims=1),
        node("Div", ["coverage", "area"], ["share"]),
        node("MatMul", ["share", "patches"], ["mean"]),
        node("Gemm", ["mean", "lift", "rest"], ["lifted"]),
        node("LpNormalization", ["lifted"], ["embeddings"], axis=1, p=2),
    ]
    ins = [
        value("colour", TensorProto.FLOAT, [1, 3, "h", "w"]),
        value("coverage", TensorProto.FLOAT, ["K", "P"]),
    ]
    return helper.make_graph(nodes, "encoder", ins, [value("embeddings", TensorProto.FLOAT, ["K", 4])], constants)


def _text() -> Any:
    value, node = helper.make_tensor_value_info, helper.make_node
    table = np.array([(0.1, 0.1, 0.1, 0.1), *VECTORS.values()], np.float32)
    table[0] = 1e-3  # words that it does not know point nowhere
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1], np.int64), "one")]
    last = numpy_helper.from_array(np.array([2], np.int64), "two")
    nodes = [
        node("Gather", ["table", "ids"], ["rows"]),
        node("Cast", ["mask"], ["known"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["known", "two"], ["column"]),
        node("Mul", ["rows", "column"], ["kept"]),
        node("ReduceSum", ["kept", "one"], ["sum"], keepdims=0),
        node("LpNormalization", ["sum"], ["embedding"], axis=1, p=2),
    ]
    ins = [value(n, TensorProto.INT64, ["N", "T"]) for n in ("ids", "mask")]
    return helper.make_graph(nodes, "text", ins, [value("embedding", TensorProto.FLOAT, ["N", 4])], [*constants, last])
