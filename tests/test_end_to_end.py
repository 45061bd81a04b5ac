"""The packaged bundle on a photo: a cat laid on gravel (scikit-image's photos, CC0)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

import unsay
from unsay.photo.jpeg import read_blocks, read_jpeg


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """The picture [480, 640, 3] uint8 and where the cat truly is [480, 640] bool."""
    rgb = cv2.resize(np.stack([skimage.data.gravel()] * 3, -1), (640, 480), interpolation=cv2.INTER_AREA)
    cat = cv2.resize(skimage.data.chelsea(), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    shape = np.zeros(cat.shape[:2], np.uint8)
    cv2.ellipse(shape, (133, 98), (119, 94), 0, 0, 360, 1, -1)
    truth = np.zeros(rgb.shape[:2], bool)
    truth[200 : 200 + cat.shape[0], 150 : 150 + cat.shape[1]] = shape > 0
    rgb[truth] = cat[shape > 0]
    return rgb, truth


def test_the_readme_s_pictures_are_what_the_demo_makes() -> None:
    """The same photo but for the orca: at most a tenth of its blocks, those that the fill touches, are others."""
    pictures = Path(__file__).parents[1] / "docs" / "pictures"
    before, after = ((pictures / f"demo-{name}.jpg").read_bytes() for name in ("before", "after"))
    assert before == (Path(__file__).parents[1] / "examples" / "sea.jpg").read_bytes()
    pairs = zip(read_blocks(read_jpeg(before)), read_blocks(read_jpeg(after)), strict=True)
    other = np.concatenate([(one != two).any(axis=2).ravel() for one, two in pairs])
    assert 0.01 < other.mean() < 0.1


def test_the_word_finds_the_thing(scene: tuple[np.ndarray, np.ndarray]) -> None:
    rgb, truth = scene
    found = unsay.segment(rgb, ["cat", "aeroplane"])
    mask = found.mask("cat")
    assert (mask & truth).sum() > 0.9 * truth.sum()
    assert (mask & truth).sum() > 0.5 * (mask | truth).sum()  # on texture the mask takes a rim of the ground along
    assert found.found == ("cat",)
    assert found.scores["cat"] > found.scores["aeroplane"]


@pytest.mark.slow
def test_the_command_erases_it(scene: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """Outside the mask that it reports nothing changes, inside the cat is gone, and a second look finds none."""
    rgb, truth = scene
    cv2.imwrite(str(tmp_path / "photo.png"), rgb[..., ::-1])
    command = [sys.executable, "-m", "unsay.cli", "erase", "photo.png", "cat", "--json", "--mask-out", "hole.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, text=True)
    told = json.loads(done.stdout)
    assert done.stderr == ""
    assert told["output"] == "photo.unsaid.png"
    out = cv2.imread(str(tmp_path / "photo.unsaid.png"))[..., ::-1]
    hole = cv2.imread(str(tmp_path / "hole.png"), cv2.IMREAD_UNCHANGED) > 0
    np.testing.assert_array_equal(out[~hole], rgb[~hole])
    assert told["hole_share"] == pytest.approx(hole.mean(), abs=1e-5)
    assert (hole & truth).sum() > 0.9 * truth.sum()
    assert np.abs(out.astype(int) - rgb)[truth & hole].mean() > 10
    assert unsay.segment(out, ["cat"]).scores["cat"] < told["scores"]["cat"]
