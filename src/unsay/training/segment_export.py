"""Networks of the segment half -> small ONNX files: fp16 or int8 in the file, fp32 arithmetic when run."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 18
SMALL = 256
"""Initializers with fewer values stay fp32."""


def to_onnx(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
) -> onnx.ModelProto:
    """`module` traced to ONNX (opset 18) with named inputs, outputs and free axes."""
    stream = io.BytesIO()
    with (
        warnings.catch_warnings()
    ):  # the tracer is deprecated, yet it is the one that keeps shapes free and graphs small
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            inputs,
            stream,  # type: ignore[arg-type]
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes={k: dict(v) for k, v in dynamic.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(stream.getvalue())


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in fewer operators: what ONNX Runtime's basic level would make of it at every opening."""
    from unsay.runtime import runtime

    onnxruntime = runtime()
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        options.log_severity_level = 3  # it warns that what it writes may be for this machine alone: not at this level
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simple = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in simple.graph.node}
    kept = [entry for entry in simple.opset_import if entry.domain in used]
    del simple.opset_import[:]
    simple.opset_import.extend(kept)
    return simple


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large weights as fp16 with a Cast to fp32 behind each, which ONNX Runtime folds when it opens the file."""
    return _shrink(model, _as_half)


def quantise_weights(model: onnx.ModelProto, least: int = SMALL) -> onnx.ModelProto:
    """Store large weights as int8, one fp32 scale a row (of a table), column (of a matrix product) or output channel.

    A table that is read by Gather is gathered as int8 and only the rows in use are scaled. Weights of fewer than
    `least` values are stored as fp16: a network's first layers are few bytes, and their errors go through all the rest.
    """

    def store(name: str, array: np.ndarray, use: onnx.NodeProto) -> tuple[list[Any], list[Any]]:
        return _as_int8(name, array, use) if array.size >= least else _as_half(name, array, use)

    return _shrink(model, store)


def round_half(module: nn.Module) -> None:
    """Round a module's large weights as `halve_weights` stores them, in place."""
    for p in module.parameters():
        if p.numel() >= SMALL and p.ndim > 1:
            p.data = p.data.half().float()


def save(model: onnx.ModelProto, path: Path) -> None:
    """Check and write one ONNX file."""
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _shrink(model: onnx.ModelProto, store: Any) -> onnx.ModelProto:
    graph = model.graph
    uses = {name: node for node in graph.node for name in node.input}
    kept, added, nodes = [], [], []
    for weight in graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < SMALL or array.ndim < 2:
            kept.append(weight)
            continue
        tensors, made = store(weight.name, array, uses[weight.name])
        added += tensors
        nodes += made
    del graph.initializer[:]
    graph.initializer.extend(kept + added)
    rest = list(graph.node)
    del graph.node[:]
    gathers = [n for n in nodes if n.op_type == "Identity"]
    graph.node.extend([n for n in nodes if n.op_type != "Identity"])
    for node in rest:
        graph.node.extend(_gathered(node, gathers))
    return model


def _as_half(name: str, array: np.ndarray, _: onnx.NodeProto) -> tuple[list[Any], list[Any]]:
    tensor = numpy_helper.from_array(array.astype(np.float16), name + ".half")
    return [tensor], [helper.make_node("Cast", [name + ".half"], [name], to=TensorProto.FLOAT)]


def _as_int8(name: str, array: np.ndarray, use: onnx.NodeProto) -> tuple[list[Any], list[Any]]:
    table = use.op_type == "Gather"
    rows = table or (use.op_type == "Gemm" and any(a.name == "transB" and a.i for a in use.attribute))
    axes: dict[str, int | tuple[int, ...]] = {"Conv": (1, 2, 3), "ConvTranspose": (0, 2, 3)}
    axis = axes.get(use.op_type, 1 if rows else 0)
    codes, scale = rounded(array, axis)
    tensors = [numpy_helper.from_array(codes, name + ".int8"), numpy_helper.from_array(scale, name + ".scale")]
    if table:
        return tensors, [helper.make_node("Identity", [name], [name])]
    cast = helper.make_node("Cast", [name + ".int8"], [name + ".cast"], to=TensorProto.FLOAT)
    return tensors, [cast, helper.make_node("Mul", [name + ".cast", name + ".scale"], [name])]


def rounded(array: np.ndarray, axis: int | tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes of `array` and the fp32 scale (kept dimensions) along `axis`: array is about codes * scale."""
    scale = np.maximum(np.abs(array).max(axis=axis, keepdims=True), 1e-12).astype(np.float32) / 127
    return np.clip(np.rint(array / scale), -127, 127).astype(np.int8), scale


def _gathered(node: onnx.NodeProto, gathers: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Gather int8 rows and their scales first, then cast and multiply: the table is never held in fp32."""
    if node.op_type != "Gather" or not any(g.input[0] == node.input[0] for g in gathers):
        return [node]
    table, ids, out = node.input[0], node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [table + ".int8", ids], [out + ".codes"], axis=0),
        helper.make_node("Gather", [table + ".scale", ids], [out + ".scales"], axis=0),
        helper.make_node("Cast", [out + ".codes"], [out + ".float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [out + ".float", out + ".scales"], [out]),
    ]
