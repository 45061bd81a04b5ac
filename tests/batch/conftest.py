from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from batch.stand_ins import Here, png
from unsay.batch import running
from unsay.bundle import Bundle
from unsay.results import Pixels


@pytest.fixture
def photos(tmp_path: Path, make_spotted: Callable[..., Pixels], make_rgb: Callable[..., Pixels]) -> Path:
    """A folder: two photos with a red square, one deeper, one of nothing, one that is none, a text, a hidden one."""
    folder = tmp_path / "photos"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.png").write_bytes(png(make_spotted()))
    (folder / "b.png").write_bytes(png(np.ascontiguousarray(make_spotted()[:, ::-1])))
    (folder / "deep" / "er" / "c.png").write_bytes(png(np.ascontiguousarray(make_spotted()[::-1])))
    (folder / "grey.png").write_bytes(png(make_rgb(60, 60)))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 is how a JPEG begins")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_bytes(png(make_spotted()))
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    stand_in = Here()
    monkeypatch.setattr(running, "workers", stand_in.workers)
    monkeypatch.setattr(running, "records", stand_in.records)
    return stand_in


@pytest.fixture
def tiny(tiny_bundle: Bundle) -> str:
    """The tiny bundle by its folder, as a batch names it."""
    return str(tiny_bundle.path)
