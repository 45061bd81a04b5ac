"""The filling network in bf16, for those who ask for it: OpenVINO, which `pip install 'unsay[bf16]'` brings.

ONNX Runtime has no bf16 convolution on the CPU. OpenVINO reads the same file and takes about half of fp32's time on
processors with bf16 arithmetic (AVX-512 BF16). Results then differ a little from fp32's: an option that says so.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unsay.errors import BundleError, UnsayError

TYPES = {
    "f64": "tensor(double)",
    "f32": "tensor(float)",
    "f16": "tensor(float16)",
    "i64": "tensor(int64)",
    "i32": "tensor(int32)",
    "u8": "tensor(uint8)",
    "boolean": "tensor(bool)",
}
"""OpenVINO's number types in ONNX Runtime's words."""


WITHOUT_AMX = ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
"""With AMX, OpenVINO 2026.4 gave the starter's filler numbers that are not finite; with AVX-512 BF16 it does not."""


class Value(NamedTuple):
    """Name and number type of one of the graph's inputs or outputs."""

    name: str
    type: str


class Bf16Network:
    """What `Filler` uses of an `onnxruntime.InferenceSession`: the same inputs and outputs, fp32 on the outside."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """`threads`: 0 for as many as there are cores.

        Raises `UnsayError` where OpenVINO is not installed or the processor has no bf16 arithmetic, `BundleError` for a
        file that it cannot read.
        """
        openvino = import_openvino()
        self._own = threading.local()  # a request holds one caller's values
        # OpenVINO gives the thread that first asks for a processor a stack for its signal handlers, and frees it again:
        # the next signal, such as Ctrl-C, would end the process. So that is a thread that ends at once.
        with ThreadPoolExecutor(1) as elsewhere:
            self._compiled = elsewhere.submit(_compiled, openvino, path, threads).result()

    def get_inputs(self) -> list[Value]:
        """The graph's inputs."""
        return _values(self._compiled.inputs)

    def get_outputs(self) -> list[Value]:
        """The graph's outputs."""
        return _values(self._compiled.outputs)

    def run(self, names: Sequence[str], feed: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[np.float32]]:
        """The outputs of these names, for inputs by name."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        results = self._own.request.infer(feed)
        return [np.array(results[name]) for name in names]


def _compiled(openvino: Any, path: Path, threads: int) -> Any:
    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnsayError("this processor has no bf16 arithmetic: use fp32")
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    try:
        return core.compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise BundleError(f"{path} cannot be opened by OpenVINO: {error}") from error


def import_openvino() -> Any:
    """OpenVINO, without the package by which it would report every import to a server."""
    os.environ.setdefault(*WITHOUT_AMX)
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        import openvino  # type: ignore[import-untyped]
    except ImportError as error:
        raise UnsayError("bf16 needs OpenVINO: pip install 'unsay[bf16]', or use fp32") from error
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
    return openvino


def _values(ports: Sequence[Any]) -> list[Value]:
    kinds = [(port.any_name, port.element_type.get_type_name()) for port in ports]
    return [Value(name, TYPES.get(kind, kind)) for name, kind in kinds]
