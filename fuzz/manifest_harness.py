"""Bundles whose `bundle.json` is anything: opened, and asked for all that the verbs ask a bundle for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from fuzz import stage

ROOT = Path(__file__).parents[1]


def load() -> Callable[[bytes], object]:
    """The test, on a folder with a real filler in it."""
    import numpy as np

    import unsay
    from unsay.bundle import Bundle, read_manifest
    from unsay.errors import UnsayError
    from unsay.inpainting import recipe as filling
    from unsay.segmentation import recipe as looking

    folder = Path(tempfile.mkdtemp(prefix="unsay-fuzz-"))
    stage.tests_conftest().write_tiny_bundle(folder)
    rgb, hole = np.full((24, 32, 3), 90, np.uint8), np.zeros((24, 32), bool)
    hole[4:9, 4:9] = True

    def test(data: bytes) -> object:
        (folder / "bundle.json").write_bytes(data)
        bundle = Bundle(folder, read_manifest(folder / "bundle.json"), threads=1)
        for room in (filling, looking):
            for name in ("read_recipe", "read_filler", "read_segment"):
                with contextlib.suppress(UnsayError):
                    getattr(room, name, lambda _: None)(bundle)
        with contextlib.suppress(UnsayError):
            unsay.segment(rgb, ["red"], bundle=bundle)
        return unsay.inpaint(rgb, hole, bundle=bundle)

    return test


def start() -> Iterable[bytes]:
    """Whole manifests: the tests' and the packaged one."""
    with tempfile.TemporaryDirectory() as folder:
        stage.tests_conftest().write_tiny_bundle(Path(folder))
        tiny = (Path(folder) / "bundle.json").read_bytes()
    packaged = ROOT / "src" / "unsay" / "bundles" / "starter" / "bundle.json"
    return [tiny, packaged.read_bytes(), b'{"format": 1, "name": "a", "files": {}}']
