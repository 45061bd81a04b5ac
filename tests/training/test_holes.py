"""Where holes come from: drawn ones, silhouettes of cut-outs, folders of mask images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.results import Mask
from unsay.training.cutouts import in_split
from unsay.training.holes import DrawnHoles, FolderHoles, MaskConfig, open_holes, read_silhouettes
from unsay.training.masks import BANDS, KINDS, random_hole


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed or (0,))


def name_in(split: str, start: int = 0) -> str:
    return next(f"{i}.png" for i in range(start, 10_000) if in_split(f"{i}.png", split))


def write_masks(folder: Path, ratios: list[float], side: int = 64) -> Path:
    """Grey-edged squares of the given ratios in the middle: white on black."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, ratio in enumerate(ratios):
        mask, half = np.zeros((side, side), np.uint8), side * np.sqrt(ratio) / 2
        low, high = round(side / 2 - half), round(side / 2 + half)
        mask[low - 1 : high + 1, low - 1 : high + 1] = 90  # a soft edge that is not yet hole
        mask[low:high, low:high] = 255
        cv2.imwrite(str(folder / f"{i}.png"), mask)
    return folder


def test_the_default_draws_what_masks_draws_in_all_bands() -> None:
    holes, bands = open_holes(MaskConfig()), set()
    for seed in range(40):
        hole, twin = holes.draw(rng(seed), 40, 56), rng(seed)
        assert np.array_equal(hole, random_hole(twin, 40, 56, int(twin.integers(6))))
        bands.add(next(b for b, (low, high) in enumerate(BANDS) if low < hole.mean() <= high))
    assert bands == set(range(6))


def test_bands_and_kinds_can_be_chosen() -> None:
    holes = open_holes(MaskConfig(bands=(1, 4), kinds=("polygons",)))
    ratios = [float(holes.draw(rng(seed), 64, 64).mean()) for seed in range(12)]
    assert all(0.1 < r <= 0.2 or 0.4 < r <= 0.5 for r in ratios)
    assert any(r > 0.4 for r in ratios)
    assert any(r < 0.4 for r in ratios)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MaskConfig(bands=(6,)), "band 6 does not exist"),
        (MaskConfig(bands=()), "masks.bands is empty"),
        (MaskConfig(kinds=("stars",)), r"masks.kinds are \['stars'\]; give at least one of strokes"),
        (MaskConfig(kinds=()), r"masks.kinds are \[\]"),
        (MaskConfig(kinds=("silhouettes",)), "set masks.silhouettes to a folder"),
        (MaskConfig(folder="nowhere"), "no mask images under nowhere"),
    ],
)
def test_what_cannot_be_drawn_is_said(config: MaskConfig, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        open_holes(config)


# --- silhouettes ------------------------------------------------------------------------------------------------------


def write_cutout(path: Path, *, alpha: bool = True, dtype: type = np.uint8) -> None:
    """An upright ring of 30 x 60 pixels: as a hole it has a hole of its own."""
    picture = np.zeros((80, 100, 4 if alpha else 3), dtype)
    if alpha:
        solid = picture[10:70, 40:70, 3]
        solid[:] = np.iinfo(dtype).max
        solid[20:40, 10:20] = 0
    cv2.imwrite(str(path), picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_silhouettes_are_cut_to_what_shows(tmp_path: Path, dtype: type) -> None:
    write_cutout(tmp_path / name_in("train"), dtype=dtype)
    (outline,) = read_silhouettes(tmp_path)
    assert outline.shape == (60, 30)
    assert int((outline > 127).sum()) == 60 * 30 - 20 * 10


def test_silhouettes_of_test_scenes_and_pictures_without_alpha_are_left_out(tmp_path: Path) -> None:
    write_cutout(tmp_path / name_in("test"))
    write_cutout(tmp_path / name_in("train"), alpha=False)
    with pytest.raises(BadInput, match="no cut-outs for training"):
        read_silhouettes(tmp_path)


@pytest.mark.parametrize("band", range(len(BANDS)))
def test_silhouettes_keep_to_their_band_and_their_shape(tmp_path: Path, band: int) -> None:
    write_cutout(tmp_path / name_in("train"))
    holes = open_holes(MaskConfig(bands=(band,), kinds=("silhouettes",), silhouettes=str(tmp_path)))
    drawn = [holes.draw(rng(seed), 128, 128) for seed in range(8)]
    assert all(BANDS[band][0] < hole.mean() <= BANDS[band][1] for hole in drawn)
    inner = [cv2.connectedComponents((~hole).astype(np.uint8))[0] > 2 for hole in drawn]  # more than the outside
    assert any(inner)
    assert np.array_equal(drawn[3], holes.draw(rng(3), 128, 128))
    assert not np.array_equal(drawn[3], drawn[4])


# --- mask images ------------------------------------------------------------------------------------------------------


def test_mask_images_keep_to_the_band_asked_for(tmp_path: Path) -> None:
    folder = write_masks(tmp_path, [0.05, 0.15, 0.25, 0.35, 0.45, 0.55])
    for band in range(6):
        holes = FolderHoles(folder, (band,))
        for seed in range(6):
            hole = holes.draw(rng(seed), 48, 40)
            assert hole.dtype == np.bool_
            assert hole.shape == (48, 40)
            assert BANDS[band][0] < hole.mean() <= BANDS[band][1]


def test_no_corner_becomes_a_hole_and_edges_are_hard(tmp_path: Path) -> None:
    """The squares lie in the middle: whatever is done to them, the frame's corners stay, and the holes stay squares."""
    holes = FolderHoles(write_masks(tmp_path, [0.25]), (2,))
    seen = set()
    for seed in range(40):
        hole = holes.draw(rng(seed), 64, 64)
        assert not hole[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        ys, xs = np.nonzero(hole)
        assert hole[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()
        seen.add((int(ys.min()), int(xs.min()), len(ys)))
    assert len(seen) > 10, "crops differ"


def test_mask_images_are_turned_by_quarters_and_mirrored(tmp_path: Path) -> None:
    """An L has eight views; each comes."""
    mask = np.zeros((64, 64), np.uint8)
    mask[22:42, 24:30] = mask[36:42, 24:38] = 255
    cv2.imwrite(str(tmp_path / "l.png"), mask)
    views = [framed(np.rot90(m, k)) for m in (mask > 0, (mask > 0)[:, ::-1]) for k in range(4)]
    holes, found = FolderHoles(tmp_path, (0,)), set()
    for seed in range(80):
        fits = [float((framed(holes.draw(rng(seed), 64, 64)) == view).mean()) for view in views]
        if max(fits) > 0.95:  # not one that the crop has cut off
            found.add(int(np.argmax(fits)))
    assert found == set(range(8))


def framed(hole: Mask) -> Mask:
    """What is in the hole's frame, at one size."""
    x, y, width, height = cv2.boundingRect(hole.astype(np.uint8))
    piece = hole[y : y + height, x : x + width].astype(np.uint8)
    return np.asarray(cv2.resize(piece, (20, 20), interpolation=cv2.INTER_NEAREST), bool)


def test_black_can_be_the_hole(tmp_path: Path) -> None:
    write_masks(tmp_path, [0.75])
    hole = FolderHoles(tmp_path, (2,), black=True).draw(rng(1), 64, 64)
    assert hole[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert not hole[32, 32]


def test_a_band_without_masks_is_said(tmp_path: Path) -> None:
    write_masks(tmp_path, [0.15, 0.9])
    with pytest.raises(BadInput, match="has a ratio in band 3"):
        FolderHoles(tmp_path, (1, 3))
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"bad\.png cannot be decoded"):
        FolderHoles(tmp_path, (1,))


def test_drawn_holes_are_plain_values() -> None:
    assert open_holes(MaskConfig()) == DrawnHoles(tuple(range(6)), KINDS)
