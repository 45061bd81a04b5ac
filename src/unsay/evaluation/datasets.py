"""The published data sets with true masks, read in their own layouts: one table of paths and stored values a set.

Layouts as in the official releases or, where the field reads a conversion, as mmsegmentation's converters write them
(Pascal Context, COCO-Stuff) and GroupViT's (COCO-Object); docs/protocols.md draws them as trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.evaluation.confusion import IGNORED
from unsay.evaluation.voc import read_indices
from unsay.results import Pixels

DATA = resources.files("unsay.evaluation") / "data"
OFFICIAL = "official"
Values = dict[int, int]
"""Stored value of a mask -> class index, or 255 = ignored. A value that is not in it is an error."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One photo [H, W, 3] uint8 RGB and its truth [H, W] uint8: a class index, 255 = ignored."""

    name: str
    rgb: Pixels
    truth: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Masks:
    """Where masks lie, `{split}` and `{name}` to be filled in, and what their stored values mean."""

    path: str
    values: Values


@dataclass(frozen=True)
class DataSet:
    """One published set. The name of a photo is the part of its path that `{name}` stands for.

    `classes`: the number of them, background included. `background`: class 0 is "none of the others".
    `names`: the file of class names; `skip`: 1 where its first line, the background, is no class of this set.
    `masks`: the first of them that exists for a photo is read. `listing`: the file that lists the names of a split;
    None: all masks of the split that are there. `splits`: which is judged by default, the first that the folder has.
    """

    name: str
    classes: int
    background: bool
    names: str
    skip: int
    photo: str
    masks: tuple[Masks, ...]
    listing: str | None
    splits: tuple[str, ...]

    def class_names(self, family: str) -> list[list[str]]:
        """Each class's names in index order, synonyms after the first, as the `family` of protocols publishes them."""
        lines = _read_lines(f"classes/{self.names_file(family)}")[self.skip :]
        return [[name.strip() for name in line.split(",")] for line in lines]

    def names_file(self, family: str) -> str:
        """The packaged file that `class_names` reads: the family's own where it edits the names, else the official."""
        own = f"{family}/{self.names}.txt"
        return own if (DATA / "classes" / own).is_file() else f"{OFFICIAL}/{self.names}.txt"

    def default_split(self, data: Path) -> str:
        """The split that is judged if none is named."""
        return next((s for s in self.splits if self._has(data, s)), self.splits[-1])

    def photo_names(self, data: Path, split: str) -> list[str]:
        """The names of a split's photos, in order. Raises `BadInput` for a folder or split that is not there."""
        if not data.is_dir():
            raise BadInput(f"{data} is no folder: give the one that holds the set (docs/protocols.md says where from)")
        if not self._has(data, split):
            known = ", ".join(self._known_splits(data)) or f"none: not a folder in the layout of {self.name}"
            raise BadInput(f"{data} has no split {split!r}; it has: {known}")
        if self.listing is not None:
            return (data / self.listing.format(split=split)).read_text(encoding="utf-8").split()
        if found := {name for masks in self.masks for name in _names_on_disk(data, masks.path, split)}:
            return sorted(found)
        wanted = " or ".join(m.path.format(split=split, name="*") for m in self.masks)
        raise BadInput(f"{data} has no masks {wanted}: convert the set's masks first, docs/protocols.md says how")

    def read(self, data: Path, split: str, limit: int | None = None) -> Iterator[Sample]:
        """The photos of a split with their truth, at most `limit`.

        Raises `BadInput` for a photo or mask that is missing, of another size, or holds a value that is no class.
        """
        if limit is not None and limit < 1:
            raise BadInput(f"a limit of {limit} photos judges nothing: give at least 1")
        for name in self.photo_names(data, split)[:limit]:
            path = data / self.photo.format(split=split, name=name)
            photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if photo is None:
                raise BadInput(f"{data} lacks the photo {path.relative_to(data)} that its split {split!r} lists")
            truth = self._truth(data, split, name)
            if photo.shape[:2] != truth.shape:
                raise BadInput(f"{name}: the photo is {photo.shape[:2]}, its mask {truth.shape}")
            yield Sample(name, np.ascontiguousarray(photo[..., ::-1]), truth)

    def _truth(self, data: Path, split: str, name: str) -> npt.NDArray[np.uint8]:
        places = [data / m.path.format(split=split, name=name) for m in self.masks]
        for masks, path in zip(self.masks, places, strict=True):
            if path.is_file():
                return to_classes(read_indices(path), masks.values, path, self.name)
        raise BadInput(f"{data} lacks the mask {places[0].relative_to(data)} that its split {split!r} lists")

    def _has(self, data: Path, split: str) -> bool:
        if self.listing is not None:
            return (data / self.listing.format(split=split)).is_file()
        return bool(split) and _split_folder(data, self.masks[0].path, split).is_dir()

    def _known_splits(self, data: Path) -> list[str]:
        if self.listing is not None:
            folder = (data / self.listing).parent
            return sorted(p.stem for p in folder.glob("*.txt"))
        return sorted(p.name for p in _split_folder(data, self.masks[0].path, "").glob("*") if p.is_dir())


def to_classes(stored: npt.NDArray[np.uint8], values: Values, path: Path, name: str) -> npt.NDArray[np.uint8]:
    """A mask's stored values [H, W] as class indices. Raises `BadInput` for a value that the set does not have."""
    for value in np.unique(stored).tolist():
        if value not in values:
            raise BadInput(f"{path} holds the value {value}, which is no class of {name}: is it a mask of another set?")
    table = np.full(256, IGNORED, np.uint8)
    table[list(values)] = list(values.values())
    return np.asarray(table[stored], np.uint8)


def find_set(name: str) -> DataSet:
    """A set by its name. Raises `BadInput` naming the known ones."""
    if name not in SETS:
        raise BadInput(f"unknown data set {name!r}; known: {', '.join(SETS)}")
    return SETS[name]


def read_templates(name: str) -> list[str]:
    """A packaged list of prompt templates, `{}` for the class name."""
    return _read_lines(f"templates/{name}.txt")


def _read_lines(path: str) -> list[str]:
    return [line for line in (DATA / path).read_text(encoding="utf-8").splitlines() if line.strip()]


def _names_on_disk(data: Path, pattern: str, split: str) -> list[str]:
    """The names for which `pattern` has a file in the split's folder or those below it."""
    folder = _split_folder(data, pattern, split)
    ending = pattern.rpartition("{name}")[2]
    return [p.relative_to(folder).as_posix()[: -len(ending)] for p in folder.rglob(f"*{ending}")]


def _split_folder(data: Path, pattern: str, split: str) -> Path:
    return data / pattern.partition("/{name}")[0].format(split=split)


def _straight(classes: int) -> Values:
    """Stored as they are."""
    return {**{i: i for i in range(classes)}, IGNORED: IGNORED}


def _less_one(classes: int) -> Values:
    """0 is ignored, i is class i - 1 (mmsegmentation's `reduce_zero_label`)."""
    return {**{i + 1: i for i in range(classes)}, 0: IGNORED, IGNORED: IGNORED}


def _cityscapes_ids() -> Values:
    """The official label ids 0..33 and 255 (license plates): 19 of them are judged, the others ignored."""
    judged = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    return {**dict.fromkeys(range(34), IGNORED), **{v: i for i, v in enumerate(judged)}, IGNORED: IGNORED}


def _voc(name: str, classes: int, background: bool) -> DataSet:
    values = _straight(classes) if background else _less_one(classes)
    masks = Masks("SegmentationClass/{name}.png", values)
    listing = "ImageSets/Segmentation/{split}.txt"
    photo = "JPEGImages/{name}.jpg"
    skip = 0 if background else 1
    return DataSet(name, classes, background, "voc21", skip, photo, (masks,), listing, ("dev", "val"))


def _context(name: str, classes: int, background: bool) -> DataSet:
    values = _straight(classes) if background else _less_one(classes)
    masks = Masks("SegmentationClassContext/{name}.png", values)
    listing = "ImageSets/SegmentationContext/{split}.txt"
    photo = "JPEGImages/{name}.jpg"
    skip = 0 if background else 1
    return DataSet(name, classes, background, "context60", skip, photo, (masks,), listing, ("val",))


def _coco(name: str, classes: int, background: bool, ending: str) -> DataSet:
    masks = Masks("annotations/{split}/{name}" + ending, _straight(classes))
    return DataSet(name, classes, background, name, 0, "images/{split}/{name}.jpg", (masks,), None, ("val2017",))


_ALL = (
    _voc("voc21", 21, True),
    _voc("voc20", 20, False),
    _context("context60", 60, True),
    _context("context59", 59, False),
    _coco("coco-object", 81, True, "_instanceTrainIds.png"),
    _coco("coco-stuff", 171, False, "_labelTrainIds.png"),
    DataSet(
        "ade20k",
        150,
        False,
        "ade20k",
        0,
        "images/{split}/{name}.jpg",
        (Masks("annotations/{split}/{name}.png", _less_one(150)),),
        None,
        ("validation",),
    ),
    DataSet(
        "cityscapes",
        19,
        False,
        "cityscapes",
        0,
        "leftImg8bit/{split}/{name}_leftImg8bit.png",
        (
            Masks("gtFine/{split}/{name}_gtFine_labelTrainIds.png", _straight(19)),
            Masks("gtFine/{split}/{name}_gtFine_labelIds.png", _cityscapes_ids()),
        ),
        None,
        ("val",),
    ),
)
SETS: dict[str, DataSet] = {s.name: s for s in _ALL}
"""The known sets by name; the number in a name is that of its classes."""
