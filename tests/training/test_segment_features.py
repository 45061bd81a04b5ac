from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.results import Pixels
from unsay.training import segment_features
from unsay.training.segment_features import View, Views


class Shades:
    """Photos whose first row is bright; number 2 is damaged."""

    def __len__(self) -> int:
        return 5

    def name(self, index: int) -> str:
        return f"{index}.png"

    def sentences(self, index: int) -> Sequence[str]:
        return ["A shade ."]

    def photo(self, index: int) -> bytes:
        rgb = np.full((2, 2, 3), 10 * index, np.uint8)
        rgb[:, 0] += 100
        return b"damaged" if index == 2 else cv2.imencode(".png", rgb)[1].tobytes()


def look(photo: Pixels) -> View:
    return View((photo[..., 0] > 99).astype(np.int8), photo.reshape(4, 3).astype(np.float16))


@pytest.fixture(autouse=True)
def two_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_features, "CHUNK", 2)


def test_views_come_back_as_they_were_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    views = Views(tmp_path, 5, flipped=True)
    views.prepare(Shades(), look, views.missing())
    assert views.missing() == []
    assert views.view(3).groups.tolist() == [[1, 0], [1, 0]]
    assert views.view(3, mirrored=True).groups.tolist() == [[0, 1], [0, 1]]
    patches = views.view(4).patches
    assert patches is not None
    assert patches[:, 0].tolist() == [140, 40, 140, 40]
    with caplog.at_level(logging.WARNING):
        assert views.readable().tolist() == [0, 1, 3, 4]
    assert "1 of 5 photos cannot be read" in caplog.text
    assert "2.png" in caplog.text


def test_processes_share_the_chunks_and_a_stopped_one_goes_on(tmp_path: Path) -> None:
    views = Views(tmp_path, 5, flipped=True)
    mine, theirs = views.missing(0, 2), views.missing(1, 2)
    assert sorted(mine + theirs) == sorted(views.missing())
    views.prepare(Shades(), look, mine[:1])
    assert views.missing(0, 2) == mine[1:]
    assert views.missing(1, 2) == theirs
    assert not list(tmp_path.glob("*.part"))


def test_no_readable_photo_is_an_error(tmp_path: Path) -> None:
    class Damaged(Shades):
        def photo(self, index: int) -> bytes:
            return b""

    views = Views(tmp_path, 5)
    views.prepare(Damaged(), look, views.missing())
    with pytest.raises(BadInput, match="none of the 5 training photos"):
        views.readable()
