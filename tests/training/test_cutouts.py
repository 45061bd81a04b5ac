from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.training.cutouts import Background, Cutout, in_split, list_backgrounds, list_cutouts, noun_of, read_cutout


def write_cutout(path: Path, line: str = "A ball.", *, specks: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((60, 80, 4), np.uint8)
    image[..., :3] = 90
    cv2.circle(image, (40, 30), 20, (30, 60, 200, 255), -1)
    if specks:
        image[2, 2, 3], image[:, 70:, 3] = 255, 9
    cv2.imwrite(str(path), image)
    path.with_suffix(".txt").write_text(f"{line}\nde.utf8=Ein Ball.\n", encoding="utf-8")
    return path


def write_photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((30, 40, 3), 128, np.uint8))
    return path


def test_the_split_is_by_the_first_digit_of_the_names_sha256() -> None:
    # sha256("frog.png") begins with 2, sha256("crow.png") with 4
    assert [in_split("frog.png", s) for s in ("train", "test", "all")] == [False, True, True]
    assert [in_split("crow.png", s) for s in ("train", "test", "all")] == [True, False, True]
    names = [f"{i}.jpg" for i in range(2000)]
    assert 0.22 < np.mean([in_split(n, "test") for n in names]) < 0.28
    with pytest.raises(BadInput, match="unknown split 'val'; known: train, test, all"):
        in_split("a.png", "val")


@pytest.mark.parametrize(
    ("line", "noun"),
    [
        ("A frog.", "frog"),
        ("An Indian blackbuck.", "blackbuck"),
        ("A pair of closed scissors.", "scissors"),
        ("A spiny lobster, from the Hawaiian islands.", "lobster"),
        ("A “Granny Smith” apple.", "apple"),
        ("A peacock (a male peafowl).", "peacock"),
        ("A string of garlic.", "garlic"),
        ("The baby of a gnu.", "baby"),
        ("A wooden toy from Germany.", "toy"),
        ("", ""),
    ],
)
def test_the_noun_of_a_line(line: str, noun: str) -> None:
    assert noun_of(line) == noun


def test_listed_cutouts_have_their_own_noun_and_the_rest_of_that_folder_is_left_out(tmp_path: Path) -> None:
    write_cutout(tmp_path / "stamps/animals/birds/drake.png", "A drake.")
    write_cutout(tmp_path / "stamps/symbols/math/1.png", "One.")
    for folder in (tmp_path, tmp_path / "stamps", tmp_path / "stamps/animals"):
        (duck,) = list_cutouts([folder], "all")
        assert (duck.noun, duck.phrase, duck.place, duck.size) == ("duck", "a brown duck", "ground", "medium")


def test_other_cutouts_are_named_by_their_line(tmp_path: Path) -> None:
    write_cutout(tmp_path / "mine.png", "A Big red ball.")
    write_cutout(tmp_path / "unnamed.png").with_suffix(".txt").unlink()
    (ball,) = list_cutouts([tmp_path], "all")
    assert (ball.noun, ball.phrase, ball.place, ball.size) == ("ball", "a Big red ball", "any", "")


def test_an_empty_or_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no cut-outs of the split 'train' under"):
        list_cutouts([tmp_path], "train")
    with pytest.raises(BadInput, match="no photos of the split 'test' under"):
        list_backgrounds([tmp_path], "test")
    with pytest.raises(BadInput, match="is not a folder: scripts/fetch-free-photos"):
        list_cutouts([tmp_path / "none"], "train")


def test_of_the_free_wallpapers_only_the_photographs_are_taken_and_once(tmp_path: Path) -> None:
    kite = write_photo(tmp_path / "wallpapers/Kite/contents/images/2560x1600.jpg")
    (kite.parent / "800x600.jpg").symlink_to(kite.name)
    write_photo(tmp_path / "wallpapers/Kite/contents/screenshot.jpg")
    write_photo(tmp_path / "wallpapers/Patak/contents/images/5120x2880.png")
    write_photo(tmp_path / "backgrounds/mate/abstract/Waves.png")
    write_photo(tmp_path / "backgrounds/mate/nature/Dune.jpg")
    write_photo(tmp_path / "own/holiday.jpg")
    names = [b.name for b in list_backgrounds([tmp_path], "all")]
    assert names == ["Dune.jpg", "holiday.jpg", "Kite"]
    assert [b.name for b in list_backgrounds([tmp_path], "test")] == [n for n in names if in_split(n, "test")]


def test_a_background_takes_what_is_believable_there() -> None:
    kite = Background(Path("k"), "Kite", holds=frozenset({"kite"}), kinds=frozenset({"air:large"}))
    assert kite.suits(Cutout(Path("c"), "airplane", "an airplane", "air", "large"))
    assert not kite.suits(Cutout(Path("c"), "cow", "a cow", "ground", "large"))
    assert not kite.suits(Cutout(Path("c"), "kite", "a kite", "air", "large"))
    assert kite.suits(Cutout(Path("c"), "thing", "a thing"))
    assert Background(Path("k"), "own.jpg").suits(Cutout(Path("c"), "cow", "a cow", "ground", "large"))


def test_a_cutout_is_cropped_and_cleared_of_haze_and_specks(tmp_path: Path) -> None:
    rgba = read_cutout(write_cutout(tmp_path / "ball.png", specks=True))
    assert rgba.shape == (41, 41, 4)
    assert tuple(rgba[20, 20]) == (200, 60, 30, 255)
    assert set(np.unique(rgba[..., 3])) == {0, 255}


def test_what_is_no_cutout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a PNG with an alpha channel"):
        read_cutout(write_photo(tmp_path / "photo.png"))
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(BadInput, match="all of it is transparent"):
        read_cutout(tmp_path / "empty.png")
