"""The frozen trunk's maps of every training photo, computed once and kept as memory-mapped fp16 arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.segmentation.trunk import prepare, working_size

FINE, LAST = "fine.npy", "last.npy"


@dataclass(frozen=True, eq=False)
class Features:
    """`names[i]` is the photo of `fine[i]` [112, 2h, 2w] and `last[i]` [320, h, w], both fp16, on disk."""

    names: list[str]
    fine: Any
    last: Any


def read_features(folder: Path) -> Features:
    """Open what `cache_features` wrote. Raises `BadInput` where it is incomplete."""
    done = folder / "done.json"
    if not done.is_file():
        raise BadInput(f"{folder} holds no complete features: run the training again to compute them")
    names = json.loads(done.read_text())["names"]
    return Features(names, np.load(folder / FINE, mmap_mode="r"), np.load(folder / LAST, mmap_mode="r"))


def cache_features(photos: list[Path], session: Any, folder: Path, side: int) -> Features:
    """Run the trunk over square-ish `photos` of one size at long side `side`; skip the work if it is already there."""
    names = [p.name for p in photos]
    done = folder / "done.json"
    wanted = {"names": names, "side": side}
    if done.is_file() and json.loads(done.read_text()) == wanted:
        return read_features(folder)
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    _compute(photos, session, folder, side)
    done.write_text(json.dumps(wanted))
    return read_features(folder)


def read_rgb(path: Path) -> np.ndarray:
    """A training photo [H, W, 3] uint8 RGB. Raises `BadInput` for a file that is no photo."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise BadInput(f"{path} is not a photo that can be read")
    return np.ascontiguousarray(bgr[..., ::-1])


def _compute(photos: list[Path], session: Any, folder: Path, side: int) -> None:
    first = read_rgb(photos[0])
    height, width = working_size(first.shape[0], first.shape[1], side)
    shapes = {FINE: (112, height // 16, width // 16), LAST: (320, height // 32, width // 32)}
    maps = {
        name: np.lib.format.open_memmap(folder / name, "w+", np.float16, (len(photos), *shape))
        for name, shape in shapes.items()
    }
    for index, path in enumerate(photos):
        fine, last = session.run(["fine", "last"], {"pixels": prepare(read_rgb(path), (height, width))})
        maps[FINE][index], maps[LAST][index] = fine[0], last[0]
    for array in maps.values():
        array.flush()
