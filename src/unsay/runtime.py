"""ONNX Runtime as Unsay uses it: on the CPU, one format of files, silent, nothing reported to anybody."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from unsay.errors import BundleError

SILENT = {"ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"}
"""The switch that ONNX Runtime reads as it is imported, by the name of today and the one before it.

From 1.29 on, its official builds for Linux, macOS and Windows write an identifier of the machine and a queue of events
to the user's cache as they are imported, and upload events to Microsoft: the model's file name and hash among them.
Only this switch prevents that altogether; what its Python interface offers comes too late for the first event. It is
thrown as this module is imported, which every way to a network does before anything else.
"""
os.environ.update(SILENT)


@cache
def runtime() -> Any:
    """The package onnxruntime, its telemetry off also where another package imported it before us."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


class Session:
    """An opened network. What goes wrong as it runs is a `BundleError`: what is fed to it was checked before."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """`path`: a file that `unsay.onnx_check` has passed; `threads`: 0 for ONNX Runtime's own choice.

        Raises `BundleError` for what ONNX Runtime cannot open.
        """
        options = runtime().SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what fails is said by the exception
        options.add_session_config_entry("session.load_model_format", "ONNX")  # never guessed from the bytes
        self.name = path.name
        try:
            # without a second try, which would print to standard output: that is for results
            self._session = runtime().InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # the runtime's own exceptions share no public base class
            raise BundleError(f"{path} cannot be opened by ONNX Runtime: {_brief(error)}: install it again") from error

    def get_inputs(self) -> list[Any]:
        """The graph's inputs, each with `name`, `type` and `shape`."""
        return list(self._session.get_inputs())

    def get_outputs(self) -> list[Any]:
        """The graph's outputs, each with `name`, `type` and `shape`."""
        return list(self._session.get_outputs())

    def run(self, names: Sequence[str] | None, feed: dict[str, Any]) -> list[Any]:
        """The outputs of these names (None: all), for inputs by name. Raises `BundleError`."""
        try:
            return list(self._session.run(names, feed))
        except Exception as error:  # as above
            raise BundleError(
                f"{self.name} failed in ONNX Runtime: {_brief(error)}; if memory is not short, install the bundle again"
            ) from error


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
