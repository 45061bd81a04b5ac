"""The filling network in bf16, through OpenVINO."""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unsay
from unsay.bundle import Bundle, load_bundle
from unsay.cli import main
from unsay.errors import BadInput, BundleError, UnsayError
from unsay.inpainting.filler import Filler
from unsay.inpainting.network import Bf16Network
from unsay.results import Mask, Pixels

MakeRgb = Callable[..., Pixels]


@cache
def can_bf16() -> bool:
    """Asked in a process of its own: see the test of the signal stack."""
    code = "import openvino; print(openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return "BF16" in done.stdout


class SignalStack(ctypes.Structure):
    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> tuple[int | None, int]:
    """Where this thread's signal handlers run, and how large that is."""
    stack = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.place, stack.size


@pytest.mark.skipif(sys.platform != "linux", reason="sigaltstack")
def test_signals_are_still_handled_where_they_were() -> None:
    """OpenVINO would move them to a piece of memory that it frees later: the next Ctrl-C would end the process."""
    before = signal_stack()
    with contextlib.suppress(UnsayError):  # a processor without bf16 is asked all the same
        unsay.inpaint(np.zeros((64, 64, 3), np.uint8), hole(64, 64), bundle=load_bundle("starter", precision="bf16"))
    assert signal_stack() == before


def hole(height: int, width: int) -> Mask:
    mask = np.zeros((height, width), bool)
    mask[height // 3 : height // 2, width // 3 : width // 2] = True
    return mask


def test_bf16_fills_almost_as_fp32_or_says_that_the_processor_cannot(make_rgb: MakeRgb) -> None:
    rgb, mask = make_rgb(128, 160), hole(128, 160)
    reduced = load_bundle("starter", precision="bf16")
    if not can_bf16():
        with pytest.raises(UnsayError, match="this processor has no bf16 arithmetic: use fp32"):
            unsay.inpaint(rgb, mask, bundle=reduced)
        return
    found, expected = (unsay.inpaint(rgb, mask, bundle=b).astype(int) for b in (reduced, load_bundle("starter")))
    np.testing.assert_array_equal(found[~mask], rgb[~mask])
    assert isinstance(Filler.of(reduced).session, Bf16Network)
    assert np.abs(found - expected)[mask].mean() < 2


def test_two_threads_do_not_see_each_others_photos(make_rgb: MakeRgb) -> None:
    """A bundle is one object for everybody in a process."""
    if not can_bf16():
        return
    bundle, mask = load_bundle("starter", precision="bf16", threads=1), hole(128, 128)
    photos = [make_rgb(128, 128, seed) for seed in (0, 1)]
    photos[1] = 255 - photos[1]
    expected = [unsay.inpaint(photo, mask, bundle=bundle) for photo in photos]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda n: unsay.inpaint(photos[n % 2], mask, bundle=bundle), range(40)))
    assert all(np.array_equal(one, expected[n % 2]) for n, one in enumerate(found))


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """OpenVINO sends an event when it is imported: no socket may be made, and no process that could."""
    script = """
        import sys
        def watch(event, arguments):
            if event.startswith(("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.exec", "_winapi")):
                raise SystemExit(f"{event} {arguments}")
        sys.addaudithook(watch)
        from unsay.inpainting.network import import_openvino
        import_openvino().Core()
        print("openvino_telemetry" in sys.modules)
    """
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert not list(tmp_path.iterdir())


def test_a_precision_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="precision is 'fp8'; known: fp32, bf16"):
        load_bundle("starter", precision="fp8")
    assert main(["inpaint", "photo.jpg", "mask.png", "--precision", "int4"]) == 2
    assert "precision is 'int4'" in capsys.readouterr().err


def test_without_openvino_the_message_says_what_to_install(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "openvino":
            raise ImportError("No module named 'openvino'")
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UnsayError, match=r"bf16 needs OpenVINO: pip install 'unsay\[bf16\]', or use fp32"):
        Bf16Network(tiny_bundle.file("filler.onnx"))


def test_a_file_it_cannot_read_is_named(tmp_path: Path) -> None:
    if can_bf16():
        (tmp_path / "filler.onnx").write_bytes(b"no graph")
        with pytest.raises(BundleError, match=r"filler\.onnx cannot be opened by OpenVINO"):
            Bf16Network(tmp_path / "filler.onnx")
