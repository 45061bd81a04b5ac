"""Photographic cut-outs and photos to lay them on: which there are, what each shows, which half they belong to.

Cut-outs are PNGs with alpha, each beside a text file whose first line says in English what it is. The known ones
(Debian package tuxpaint-stamps-default) are listed in `cutouts.tsv`: the photographs among them, looked at one by
one, with the noun that a person would name them by. Cut-outs of other folders are named by their text file.
`backgrounds.tsv` lists the photographs among the free wallpapers (mate-backgrounds, plasma-workspace-wallpapers).
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput

SPLITS = ("train", "test", "all")
PLACES = ("ground", "air", "water", "any")
SIZES = ("small", "medium", "large")
"""What a thing measures in the world: fits in two hands; up to a person's height; larger."""
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FAINT = 16
"""Alpha (of 255) below which a cut-out's pixel counts as empty: the haze that scissors leave behind."""

_LEADING = re.compile(r"^(a|an|the|some|two|three|our|another|one)\s+", re.IGNORECASE)
_TAIL = re.compile(r"\s+(?:from|that|which|who|in|on|with|for|at|by|covered|resembles|is|are|was|to)\s.*$")


@dataclass(frozen=True)
class Cutout:
    """One cut-out: `noun` is what a person calls it, `phrase` has its article and attributes."""

    path: Path
    noun: str
    phrase: str
    place: str = "any"
    size: str = ""
    """One of `SIZES`, or "" where it is not known: it then goes with every background and beside every thing."""


@dataclass(frozen=True)
class Background:
    """One photo to lay things on, by its file's name; a wallpaper by its folder's: all their files are called alike.

    `holds`: nouns that it shows itself, so that no such thing is laid on it. `kinds`: the (place, size) of things that
    are believable here, None: all. `ground`: the row, as a share of the height, from which down a thing may stand.
    """

    path: Path
    name: str
    phrase: str = ""
    holds: frozenset[str] = frozenset()
    kinds: frozenset[str] | None = None
    ground: float = 0.66

    def suits(self, cutout: Cutout) -> bool:
        """Whether the thing could stand, fly or swim here at a believable size, without a namesake in the photo."""
        if cutout.noun in self.holds:
            return False
        return self.kinds is None or not cutout.size or f"{cutout.place}:{cutout.size}" in self.kinds


def in_split(name: str, split: str) -> bool:
    """Whether a file name belongs to `split`: first hexadecimal digit of its sha256, 0 to 3 is "test"."""
    if split not in SPLITS:
        raise BadInput(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    is_test = hashlib.sha256(name.encode()).hexdigest()[0] in "0123"
    return split == "all" or is_test == (split == "test")


def list_cutouts(folders: list[Path], split: str) -> list[Cutout]:
    """The cut-outs of a split under `folders`, ordered by path.

    Under a folder that holds any file of `cutouts.tsv`, those alone are taken. Raises `BadInput` if there are none.
    """
    found: list[Cutout] = []
    for folder in folders:
        files = _files(folder, (".png",))
        listed = [cutout for path in files if (cutout := _listed(path, folder)) is not None]
        found += listed or [cutout for path in files if (cutout := _described(path)) is not None]
    chosen = [c for c in found if in_split(c.path.name, split)]
    if not chosen:
        where = ", ".join(map(str, folders))
        raise BadInput(f"no cut-outs of the split {split!r} under {where}: expected PNG files, each beside a .txt line")
    return chosen


def list_backgrounds(folders: list[Path], split: str) -> list[Background]:
    """The photos of a split under `folders`, ordered by path; drawn and rendered wallpapers are left out.

    Raises `BadInput` if there are none.
    """
    seen: set[Path] = set()
    found: list[Background] = []
    for folder in folders:
        for path in _files(folder, PHOTO_SUFFIXES):
            if path.is_symlink() or path.resolve() in seen:  # wallpapers link one picture under a dozen names
                continue
            seen.add(path.resolve())
            background = _background(path)
            if background is not None and in_split(background.name, split):
                found.append(background)
    if not found:
        raise BadInput(f"no photos of the split {split!r} under {', '.join(map(str, folders))}: give another folder")
    return found


def read_cutout(path: Path) -> npt.NDArray[np.uint8]:
    """The cut-out [h, w, 4] uint8 RGBA, cropped to what it shows; haze and loose specks are emptied.

    Raises `BadInput` for a file without alpha or with nothing in it.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        raise BadInput(f"{path} is not a PNG with an alpha channel: leave it out or cut it out first")
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    rgba = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA), np.uint8)
    rgba[..., 3][~_pieces(rgba[..., 3])] = 0
    rows, columns = np.nonzero(rgba[..., 3])
    if not rows.size:
        raise BadInput(f"{path} is empty: all of it is transparent")
    return np.ascontiguousarray(rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])


def noun_of(line: str) -> str:
    """The noun of a line such as "A pair of red boots, from Spain." by simple means: "boots" (ours)."""
    text = re.split(r"[.,;:!?(—–]", line.strip())[0]
    text = re.sub(r"[\"'“”‘’]\w+[\"'“”’]\s*|[\"“”]", "", text).strip()
    text = _TAIL.sub("", _LEADING.sub("", text))
    head, _, tail = text.partition(" of ")
    if tail and head.split()[-1].lower() in {"pair", "bunch", "head", "slice", "string", "glass", "quarter", "set"}:
        text = _LEADING.sub("", tail)
    elif tail:
        text = head
    return text.split()[-1].lower() if text.split() else ""


def _pieces(alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha >= FAINT).astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    kept = areas >= 0.01 * areas.sum() if count > 1 else np.zeros(count, bool)
    kept[0] = False
    return np.asarray(kept[labels], bool)


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: scripts/fetch-free-photos downloads free cut-outs and photos")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes)


@lru_cache(maxsize=2)
def _table(name: str) -> dict[str, tuple[str, ...]]:
    """A packaged table by its first column."""
    text = (resources.files("unsay.training") / name).read_text(encoding="utf-8")
    rows = csv.reader(text.splitlines()[1:], delimiter="\t")
    return {row[0]: tuple(row[1:]) for row in rows}


def _listed(path: Path, folder: Path) -> Cutout | None:
    parts = (folder.name, *path.relative_to(folder).parts)
    for start in range(len(parts)):
        entry = _table("cutouts.tsv").get("/".join(parts[start:]))
        if entry is not None:
            return Cutout(path, *entry)
    return None


def _described(path: Path) -> Cutout | None:
    text = path.with_suffix(".txt")
    line = text.read_text(encoding="utf-8").split("\n", 1)[0].strip() if text.is_file() else ""
    noun = noun_of(line)
    if not noun:
        return None
    phrase = re.sub(r"[.!?]+$", "", line)
    return Cutout(path, noun, phrase[0].lower() + phrase[1:])


def _background(path: Path) -> Background | None:
    known = _table("backgrounds.tsv")
    name = path.name
    if "contents" in path.parts:  # a wallpaper: NAME/contents/images/WIDTHxHEIGHT.jpg
        name = path.parts[path.parts.index("contents") - 1]
        if path.parent.name != "images" or name not in known:
            return None
    if path.parent.parent.name == "mate" and path.parent.name != "nature":
        return None
    if name not in known:
        return Background(path, name)
    phrase, holds, kinds, ground = known[name]
    return Background(path, name, phrase, frozenset(holds.split()), frozenset(kinds.split()), float(ground))
