"""Each published set on a small tree in its own layout: names, photos, class indices; what is said when one lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.evaluation.datasets import OFFICIAL, SETS, find_set, read_templates
from unsay.evaluation.protocols import PROTOCOLS
from unsay.evaluation.voc import colour_map, read_indices

SHAPE = (6, 8)
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(photo, mask, value, ...)`: a photo, and a mask whose first pixels are the values, the rest the last."""

    def make(photo: str, mask: str, *values: int, colours: bool = False) -> None:
        stored = np.full(SHAPE, values[-1], np.uint8)
        stored.ravel()[: len(values)] = values
        for path, pixels in ((photo, np.full((*SHAPE, 3), 90, np.uint8)), (mask, stored)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            drawn = colour_map()[pixels][..., ::-1] if colours and path == mask else pixels
            assert cv2.imwrite(str(tmp_path / path), drawn)

    return make


def listing(root: Path, path: str, *names: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("".join(f"{name}\n" for name in names))


def truths(root: Path, name: str, split: str, pixels: int) -> dict[str, list[int]]:
    return {s.name: s.truth.ravel()[:pixels].tolist() for s in SETS[name].read(root, split)}


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize(("name", "expected"), [("voc21", [0, 1, 20, 255]), ("voc20", [255, 0, 19, 255])])
def test_voc(tmp_path: Path, write: Write, name: str, expected: list[int], colours: bool) -> None:
    for photo in ("2007_a", "2007_b", "unlisted"):
        write(f"JPEGImages/{photo}.jpg", f"SegmentationClass/{photo}.png", 0, 1, 20, 255, colours=colours)
    listing(tmp_path, "ImageSets/Segmentation/val.txt", "2007_b", "2007_a")
    assert SETS[name].default_split(tmp_path) == "val"
    assert truths(tmp_path, name, "val", 4) == {"2007_b": expected, "2007_a": expected}
    listing(tmp_path, "ImageSets/Segmentation/dev.txt", "2007_a")
    assert SETS[name].default_split(tmp_path) == "dev"


@pytest.mark.parametrize(("name", "expected"), [("context60", [0, 1, 59]), ("context59", [255, 0, 58])])
def test_pascal_context(tmp_path: Path, write: Write, name: str, expected: list[int]) -> None:
    write("JPEGImages/2008_a.jpg", "SegmentationClassContext/2008_a.png", 0, 1, 59)
    listing(tmp_path, "ImageSets/SegmentationContext/val.txt", "2008_a")
    assert truths(tmp_path, name, SETS[name].default_split(tmp_path), 3) == {"2008_a": expected}


def test_coco_masks_of_other_kinds_in_the_folder_are_left_alone(tmp_path: Path, write: Write) -> None:
    folder = "annotations/val2017/000000000139"
    write("images/val2017/000000000139.jpg", f"{folder}.png", 181)
    write("images/val2017/000000000139.jpg", f"{folder}_instanceTrainIds.png", 0, 80, 255)
    write("images/val2017/000000000139.jpg", f"{folder}_labelTrainIds.png", 0, 170, 255)
    assert truths(tmp_path, "coco-object", "val2017", 3) == {"000000000139": [0, 80, 255]}
    assert truths(tmp_path, "coco-stuff", "val2017", 3) == {"000000000139": [0, 170, 255]}


def test_ade20k(tmp_path: Path, write: Write) -> None:
    for name in ("ADE_val_00000002", "ADE_val_00000001"):
        write(f"images/validation/{name}.jpg", f"annotations/validation/{name}.png", 0, 1, 150)
    expected = [255, 0, 149]
    found = truths(tmp_path, "ade20k", "validation", 3)
    assert list(found.items()) == [("ADE_val_00000001", expected), ("ADE_val_00000002", expected)]


def test_cityscapes_reads_train_ids_and_else_the_official_ids(tmp_path: Path, write: Write) -> None:
    for frame, ending, values in (("1", "labelTrainIds", (0, 18, 255)), ("2", "labelIds", (7, 33, 0, 9, 29, 255))):
        base = f"val/bonn/bonn_{frame}"
        write(f"leftImg8bit/{base}_leftImg8bit.png", f"gtFine/{base}_gtFine_{ending}.png", *values)
    write("leftImg8bit/val/bonn/bonn_1_leftImg8bit.png", "gtFine/val/bonn/bonn_1_gtFine_labelIds.png", 1)
    found = truths(tmp_path, "cityscapes", "val", 6)
    assert found == {"bonn/bonn_1": [0, 18, 255, 255, 255, 255], "bonn/bonn_2": [0, 18, 255, 255, 255, 255]}


@pytest.mark.parametrize("name", list(SETS))
def test_class_names_are_as_many_as_the_name_of_the_set_says(name: str) -> None:
    counts = {"coco-object": 81, "coco-stuff": 171, "ade20k": 150, "cityscapes": 19}
    expected = counts.get(name) or int(name[-2:])
    for family in (OFFICIAL, *PROTOCOLS):
        names = SETS[name].class_names(family)
        assert len(names) == SETS[name].classes == expected
        flat = [n for synonyms in (names[1:] if SETS[name].background else names) for n in synonyms]
        assert all(n == n.strip() != "" for n in flat)
        assert len(set(flat)) == len(flat)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("voc21", {0: "background", 1: "aeroplane", 11: "diningtable", 12: "dog", 20: "tvmonitor"}),
        ("voc20", {0: "aeroplane", 19: "tvmonitor"}),
        ("context60", {0: "background", 2: "bag", 16: "ceiling", 37: "person", 59: "wood"}),
        ("context59", {0: "aeroplane", 58: "wood"}),
        ("coco-object", {0: "background", 1: "person", 40: "bottle", 80: "toothbrush"}),
        ("coco-stuff", {0: "person", 79: "toothbrush", 80: "banner", 150: "stone", 170: "wood"}),
        ("ade20k", {0: "wall", 12: "person", 43: "signboard", 100: "poster", 149: "flag"}),
        ("cityscapes", {0: "road", 8: "vegetation", 11: "person", 18: "bicycle"}),
    ],
)
def test_class_names_stand_in_the_published_order(name: str, places: dict[int, str]) -> None:
    names = SETS[name].class_names(OFFICIAL)
    assert {index: names[index][0] for index in places} == places


def test_sclip_has_its_synonyms_and_background_words() -> None:
    names = SETS["voc21"].class_names("sclip")
    assert len(names[0]) == 26
    assert names[0][0] == "sky"
    assert names[4] == ["ship"]
    assert names[20] == ["television monitor", "tv monitor", "monitor", "television", "screen"]
    assert SETS["voc20"].class_names("sclip") == names[1:]
    assert SETS["context60"].names_file("sclip") == "official/context60.txt"


def test_the_eighty_templates_each_take_a_name() -> None:
    templates = read_templates("openai-imagenet-80")
    assert len(set(templates)) == len(templates) == 80
    assert all(t.count("{}") == 1 for t in templates)


def test_what_lacks_is_named(tmp_path: Path, write: Write) -> None:
    with pytest.raises(BadInput, match="unknown data set 'voc'; known: voc21, voc20, context60"):
        find_set("voc")
    with pytest.raises(BadInput, match="no split 'val'; it has: none: not a folder in the layout of voc21"):
        SETS["voc21"].photo_names(tmp_path, "val")
    write("JPEGImages/a.jpg", "SegmentationClass/b.png", 1)
    listing(tmp_path, "ImageSets/Segmentation/train.txt", "a")
    with pytest.raises(BadInput, match="no split 'val'; it has: train"):
        SETS["voc21"].photo_names(tmp_path, "val")
    with pytest.raises(BadInput, match=r"lacks the mask SegmentationClass/a.png that its split 'train' lists"):
        next(SETS["voc21"].read(tmp_path, "train"))
    listing(tmp_path, "ImageSets/Segmentation/train.txt", "b")
    with pytest.raises(BadInput, match=r"lacks the photo JPEGImages/b.jpg that its split 'train' lists"):
        next(SETS["voc21"].read(tmp_path, "train"))
    write("images/val2017/1.jpg", "annotations/val2017/1.png", 3)
    with pytest.raises(BadInput, match=r"no masks annotations/val2017/\*_labelTrainIds.png: convert"):
        SETS["coco-stuff"].photo_names(tmp_path, "val2017")
    with pytest.raises(BadInput, match="no split 'val'; it has: val2017"):
        SETS["coco-stuff"].photo_names(tmp_path, "val")


def test_masks_of_another_set_are_refused(tmp_path: Path, write: Write) -> None:
    write("JPEGImages/a.jpg", "SegmentationClass/a.png", 3, 21)
    listing(tmp_path, "ImageSets/Segmentation/val.txt", "a")
    with pytest.raises(BadInput, match=r"a.png holds the value 21, which is no class of voc21"):
        next(SETS["voc21"].read(tmp_path, "val"))
    cv2.imwrite(str(tmp_path / "SegmentationClass/a.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(BadInput, match=r"the photo is \(6, 8\), its mask \(5, 5\)"):
        next(SETS["voc21"].read(tmp_path, "val"))
    cv2.imwrite(str(tmp_path / "odd.png"), np.full((4, 4, 3), 7, np.uint8))
    with pytest.raises(BadInput, match="#070707"):
        read_indices(tmp_path / "odd.png")
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((4, 4), np.uint16))
    with pytest.raises(BadInput, match="holds uint16 values"):
        read_indices(tmp_path / "deep.png")
