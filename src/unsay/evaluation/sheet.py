"""A picture sheet of any evaluation: one row a case, one column a picture, labelled."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from unsay.errors import BadInput
from unsay.results import Mask, Pixels

CELL = 256
"""Longer side of a picture on the sheet, in pixels."""
BAR = 18
"""Height of a line of text."""
MAX_ROWS = 64
HOLE_COLOUR = (255, 0, 200)


@dataclass
class Sheet:
    """Collects rows of pictures, shrunk as they come so that memory stays small, and writes them as one picture.

    `rows`: how many are kept; later ones are ignored. Pictures are [H, W, 3] uint8 RGB.
    """

    path: Path
    rows: int = 12
    cell: int = CELL
    _kept: list[tuple[str, dict[str, Pixels]]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            raise BadInput(f"the sheet {self.path} must end in .jpg or .png")
        if not 1 <= self.rows <= MAX_ROWS:
            raise BadInput(f"{self.rows} rows on a sheet; from 1 to {MAX_ROWS} are possible")

    @property
    def full(self) -> bool:
        """Whether further rows are ignored."""
        return len(self._kept) >= self.rows

    def add(self, title: str, **pictures: Pixels) -> None:
        """One row: `title` above its pictures, each under its keyword (underscores become spaces)."""
        if not self.full:
            self._kept.append((title, {name: _shrunk(p, self.cell) for name, p in pictures.items()}))

    def write(self) -> Path:
        """Write the sheet atomically and return its path. Raises `BadInput` if there is no row, or it cannot be."""
        if not self._kept:
            raise BadInput(f"nothing to draw on the sheet {self.path}: no case was judged")
        columns = list(dict.fromkeys(name for _, pictures in self._kept for name in pictures))
        sheet = np.concatenate([self._row(title, pictures, columns) for title, pictures in self._kept])
        done, data = cv2.imencode(self.path.suffix, np.ascontiguousarray(sheet[..., ::-1]))
        if not done:
            raise BadInput(f"the sheet {self.path} cannot be encoded at {sheet.shape[1]}x{sheet.shape[0]} pixels")
        scratch = self.path.with_name(self.path.name + ".part")
        try:
            scratch.write_bytes(data.tobytes())
            os.replace(scratch, self.path)
        except OSError as error:
            raise BadInput(f"cannot write the sheet {self.path}: {error}") from error
        return self.path

    def _row(self, title: str, pictures: dict[str, Pixels], columns: list[str]) -> Pixels:
        height = max(p.shape[0] for p in pictures.values())
        row = np.full((height + 2 * BAR + 4, len(columns) * (self.cell + 4), 3), 255, np.uint8)
        _write_text(row, title, 2, BAR - 5)
        for i, name in enumerate(columns):
            if name in pictures:
                x = i * (self.cell + 4)
                picture = pictures[name]
                _write_text(row[:, x : x + self.cell], name.replace("_", " "), 2, 2 * BAR - 5)
                row[2 * BAR : 2 * BAR + picture.shape[0], x : x + picture.shape[1]] = picture
        return row


def show_hole(rgb: Pixels, hole: Mask) -> Pixels:
    """The photo with its hole in a loud colour, [H, W, 3] uint8."""
    return np.where(hole[..., None], np.array(HOLE_COLOUR, np.uint8), rgb)


def _shrunk(picture: Pixels, side: int) -> Pixels:
    scale = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _write_text(canvas: Pixels, text: str, x: int, y: int) -> None:
    """Draw `text` in place, its foot at (x, y); letters that OpenCV's fonts lack become question marks."""
    plain = text.encode("ascii", "replace").decode()
    drawn = np.ascontiguousarray(canvas)
    cv2.putText(drawn, plain, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    canvas[:] = drawn
