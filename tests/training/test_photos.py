"""Photos for training: layouts of data sets, weights, crops."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.training.layouts import LAYOUTS, layout_photos
from unsay.training.photos import Photos, read_folders


def write(path: Path, value: int = 0, height: int = 60, width: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))


def names(layout: str, root: Path, split: str) -> list[str]:
    return [str(p.relative_to(root)) for p in layout_photos(layout, root, split)]


def test_plain_folders(tmp_path: Path) -> None:
    write(tmp_path / "deep/b.jpg")
    write(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").write_text("none")
    assert names("folders", tmp_path, "train") == ["a.PNG", "deep/b.jpg"]


def test_places2(tmp_path: Path) -> None:
    write(tmp_path / "data_large/a/abbey/00000001.jpg")
    write(tmp_path / "data_large/y/youth_hostel/00000002.jpg")
    write(tmp_path / "val_large/Places365_val_00000001.jpg")
    write(tmp_path / "test_large/Places365_test_00000001.jpg")
    train = ["data_large/a/abbey/00000001.jpg", "data_large/y/youth_hostel/00000002.jpg"]
    assert names("places2", tmp_path, "train") == train
    assert names("places2", tmp_path, "val") == ["val_large/Places365_val_00000001.jpg"]
    small = tmp_path / "small"
    write(small / "data_256/a/abbey/00000001.jpg")
    assert names("places2", small, "train") == ["data_256/a/abbey/00000001.jpg"]
    with pytest.raises(BadInput, match="has no val_large or val_256"):
        layout_photos("places2", small, "val")


@pytest.mark.parametrize(("photos", "lists"), [("img_align_celeba", "."), ("Img/img_align_celeba", "Eval")])
def test_celeba(tmp_path: Path, photos: str, lists: str) -> None:
    for number in range(1, 6):
        write(tmp_path / photos / f"{number:06d}.jpg")
    (tmp_path / lists).mkdir(exist_ok=True)
    lines = ["000001.jpg 0", "000002.jpg 1", "000003.jpg 2", "000004.jpg 0"]  # 000005 is in no list
    (tmp_path / lists / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    assert names("celeba", tmp_path, "train") == [f"{photos}/000001.jpg", f"{photos}/000004.jpg"]
    assert names("celeba", tmp_path, "val") == [f"{photos}/000002.jpg"]
    (tmp_path / lists / "list_eval_partition.txt").write_text("not a list of that kind\n")
    with pytest.raises(BadInput, match="is not CelebA's list"):
        layout_photos("celeba", tmp_path)


def test_celeba_without_its_list(tmp_path: Path) -> None:
    write(tmp_path / "img_align_celeba/000001.jpg")
    with pytest.raises(BadInput, match=r"has no list_eval_partition\.txt or Eval/list_eval_partition\.txt"):
        layout_photos("celeba", tmp_path)


def test_celeba_hq(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "CelebA-HQ-img" / f"{number}.jpg")
    every = [f"CelebA-HQ-img/{number}.jpg" for number in range(3)]
    assert names("celeba-hq", tmp_path, "train") == every
    with pytest.raises(BadInput, match=r"has no split: put CelebA-HQ-to-CelebA-mapping\.txt"):
        layout_photos("celeba-hq", tmp_path, "val")
    rows = ["     idx    orig_idx    orig_file", "0  119613  119614.jpg", "1  99094  099095.jpg", "2  5  000006.jpg"]
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(rows))
    (tmp_path / "list_eval_partition.txt").write_text("119614.jpg 1\n099095.jpg 0\n000006.jpg 2\n")
    assert names("celeba-hq", tmp_path, "train") == every[1:2]
    assert names("celeba-hq", tmp_path, "val") == every[:1]
    write(tmp_path / "flat/00001.png")
    assert names("celeba-hq", tmp_path / "flat", "train") == ["00001.png"]


def test_paris_streetview(tmp_path: Path) -> None:
    write(tmp_path / "paris_train_original/48.8_2.3_0.JPG")
    write(tmp_path / "paris_eval/paris_eval_gt/001_im.png")
    write(tmp_path / "paris_eval/paris_eval_corrupted/001_im.png")
    assert names("paris-streetview", tmp_path, "train") == ["paris_train_original/48.8_2.3_0.JPG"]
    assert names("paris-streetview", tmp_path, "val") == ["paris_eval/paris_eval_gt/001_im.png"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_folder_is_said(tmp_path: Path, layout: str) -> None:
    with pytest.raises(BadInput, match=str(tmp_path)):
        layout_photos(layout, tmp_path)


def test_unknown_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown layout 'places'; known: folders, places2"):
        layout_photos("places", tmp_path)
    with pytest.raises(BadInput, match="unknown split 'test'"):
        layout_photos("folders", tmp_path, "test")


@pytest.mark.parametrize("in_memory", [True, False])
def test_folders_are_drawn_from_by_weight_and_held_back_photos_left_out(tmp_path: Path, in_memory: bool) -> None:
    for name, value in (("a", 10), ("b", 200)):
        for i in range(2):
            write(tmp_path / name / f"{i}.png", value)
    folders = [tmp_path / "a", tmp_path / "b"]
    photos = read_folders(folders, [0.0, 1.0], in_memory=in_memory)
    assert all(photos.crop(np.random.default_rng(i), 32).mean() == 200 for i in range(5))
    assert read_folders(folders, in_memory=in_memory).weights == (0.5, 0.5)
    assert len(read_folders([tmp_path / "a"], leave_out=["0.png"], in_memory=in_memory)) == 1
    with pytest.raises(BadInput, match=r"every photo under .* is left out"):
        read_folders([tmp_path / "a"], leave_out=["0.png", "1.png"])
    with pytest.raises(BadInput, match="no photos under"):
        read_folders([tmp_path / "none"])
    with pytest.raises(BadInput, match="1 weights for 2 folders"):
        read_folders(folders, [1.0])
    with pytest.raises(BadInput, match=r"weights are \[0\.0, 0\.0\]"):
        read_folders(folders, [0.0, 0.0])


def test_crops_from_memory_and_disk_are_the_same(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "noise.png"), noise)
    ours, theirs = (read_folders([tmp_path], in_memory=kept) for kept in (True, False))
    for seed in range(4):
        crops = [photos.crop(np.random.default_rng(seed), 32, 40) for photos in (ours, theirs)]
        assert np.array_equal(*crops)
    assert isinstance(theirs.groups[0][0], Path)


def test_the_papers_framing(tmp_path: Path) -> None:
    """The shorter side is brought to N, the crop is at that scale, mirrored half of the time."""
    ramp = np.zeros((100, 200, 3), np.uint8)
    ramp[..., 2] = np.arange(200)[None]  # red is the column, green the row
    ramp[..., 1] = np.arange(100)[:, None]
    cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
    photos, mirrored, places = read_folders([tmp_path]), 0, set()
    for seed in range(40):
        crop = photos.crop(np.random.default_rng(seed), 32, short_side=50).astype(int)
        assert crop.shape == (32, 32, 3)
        across, down = crop[16, 31, 0] - crop[16, 0, 0], crop[31, 16, 1] - crop[0, 16, 1]
        assert abs(abs(across) - 62) <= 2, "two of the photo's pixels to one of the crop's"
        assert abs(down - 62) <= 2
        mirrored += across < 0
        places.add((int(crop[0, :, 0].min()), int(crop[0, 0, 1])))
    assert 10 < mirrored < 30
    assert len(places) > 20


def test_pieces_of_random_scale_and_stretch(tmp_path: Path) -> None:
    """A piece is `scales` crops on its longer side; its sides differ by at most `stretch`, either way."""
    ramp = np.zeros((200, 200, 3), np.uint8)
    ramp[..., 2] = np.arange(200)[None]
    ramp[..., 1] = np.arange(200)[:, None]
    cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
    photos, ratios, sides = read_folders([tmp_path]), [], []
    for seed in range(60):
        crop = photos.crop(np.random.default_rng(seed), 64, scales=(1.5, 2.5), stretch=1.5).astype(int)
        assert crop.shape == (64, 64, 3)
        across, down = abs(crop[32, 63, 0] - crop[32, 0, 0]), crop[63, 32, 1] - crop[0, 32, 1]
        ratios.append(across / down)
        sides.append(max(across, down))
    assert 1 / 1.6 < min(ratios) < 0.8
    assert 1.2 < max(ratios) < 1.6
    assert 88 < min(sides) < 110
    assert 145 < max(sides) < 162


def test_big_photos_are_kept_small(tmp_path: Path) -> None:
    write(tmp_path / "big.png", 50, 60, 300)
    (kept,) = read_folders([tmp_path], long_side=100).groups[0]
    assert isinstance(kept, bytes)
    assert cv2.imdecode(np.frombuffer(kept, np.uint8), cv2.IMREAD_COLOR).shape == (20, 100, 3)


def test_damaged_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Read at the start they end the run; on the disk the next one is taken, and the log says so."""
    write(tmp_path / "a.png", 7)
    (tmp_path / "b.png").write_bytes(b"cut off")
    with pytest.raises(BadInput, match=r"b\.png: a training photo of 7 bytes cannot be decoded"):
        read_folders([tmp_path])
    photos = read_folders([tmp_path], in_memory=False)
    with caplog.at_level(logging.WARNING):
        assert all((photos.crop(np.random.default_rng(seed), 32) == 7).all() for seed in range(6))
    assert "b.png" in caplog.text
    with pytest.raises(BadInput, match="none of 1 training photos"):
        Photos(((b"nothing",),), (1.0,)).crop(np.random.default_rng(0), 32)
