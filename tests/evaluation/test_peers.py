"""The fillers beside ours: each fills the hole alone, is named in full, or is left out with a reason."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import skimage

import unsay
from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.evaluation import peers
from unsay.evaluation.absent import Absent
from unsay.evaluation.peers import PEERS, Filler, lay_over, open_peers, ours, shrunk_to
from unsay.results import Mask, Patch, Pixels


@pytest.fixture
def stub_patchmatch(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The parts of the package that are used: it fills with the mean colour, and paints a corner outside too."""
    seeds: list[int] = []

    def inpaint(image: Pixels, mask: Pixels, patch_size: int) -> Pixels:
        assert (mask.dtype, set(np.unique(mask)), patch_size) == (np.uint8, {0, 255}, 3)
        filled = image.copy()
        filled[mask > 0] = image[mask == 0].mean(0)
        filled[0, 0] = 255
        return filled

    stub = types.SimpleNamespace(patchmatch_available=True, inpaint=inpaint, set_random_seed=seeds.append, seeds=seeds)
    monkeypatch.setitem(sys.modules, "patchmatch", stub)
    monkeypatch.setattr(peers, "version", lambda _: "9.9")
    return stub


@pytest.mark.parametrize("name", PEERS)
def test_peers_fill_the_hole_alone(
    name: str, make_rgb: Callable[..., Pixels], stub_patchmatch: types.SimpleNamespace
) -> None:
    rgb = make_rgb(40, 50)
    hole = np.zeros((40, 50), bool)
    hole[10:30, 15:35] = True
    (filler,) = open_peers([name])
    assert isinstance(filler, Filler)
    filled = filler.fill(rgb, hole)
    assert filled.dtype == np.uint8
    assert np.array_equal(filled[~hole], rgb[~hole])
    assert np.abs(filled[hole].astype(int) - rgb[hole]).mean() < 30
    other = np.where(hole[..., None], 255 - rgb, rgb)
    assert np.array_equal(filler.fill(other, hole), filled)  # what lies under the hole is not looked at


def test_every_peer_is_named_with_package_version_and_settings(stub_patchmatch: types.SimpleNamespace) -> None:
    settings = {one.name: one.settings for one in open_peers(list(PEERS)) if isinstance(one, Filler)}
    assert settings["Telea"] == settings["Navier-Stokes"] == f"OpenCV {cv2.__version__}, radius 5"
    assert settings["PatchMatch"] == "pypatchmatch 9.9, patch radius 3"
    assert settings["biharmonic"] == "scikit-image 9.9, long side at most 512"


def test_versions_are_the_packages_own() -> None:
    (filler,) = open_peers(["biharmonic"])
    assert isinstance(filler, Filler)
    assert filler.version == skimage.__version__


def test_the_random_search_always_starts_alike(
    stub_patchmatch: types.SimpleNamespace, make_rgb: Callable[..., Pixels]
) -> None:
    (filler,) = open_peers(["patchmatch"])
    assert isinstance(filler, Filler)
    hole = np.eye(20, dtype=bool)
    for _ in range(2):
        filler.fill(make_rgb(20, 20), hole)
    assert stub_patchmatch.seeds == [0, 0]


def test_peers_that_are_not_installed_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "patchmatch", None)
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    assert open_peers(["biharmonic", "patchmatch"]) == [
        Absent("biharmonic", "not installed: pip install scikit-image"),
        Absent("PatchMatch", "not installed: pip install pypatchmatch"),
    ]


def test_patchmatch_without_its_library_is_said(stub_patchmatch: types.SimpleNamespace) -> None:
    stub_patchmatch.patchmatch_available = False
    (absent,) = open_peers(["patchmatch"])
    assert isinstance(absent, Absent)
    assert "without its compiled library" in absent.reason


def test_an_unknown_peer_is_refused() -> None:
    with pytest.raises(BadInput, match="there is no peer 'lama': choose from telea, navier-stokes, biharmonic"):
        open_peers(["telea", "lama"])


def test_a_peer_that_is_run_smaller_sees_nothing_of_the_truth() -> None:
    rng = np.random.default_rng(0)
    rgb, hole = np.asarray(rng.integers(0, 200, (60, 90, 3)), np.uint8), np.zeros((60, 90), bool)
    hole[13:40, 31:60] = True
    seen: list[tuple[Pixels, Mask]] = []

    def watch(small: Pixels, missing: Mask) -> Pixels:
        seen.append((np.where(missing[..., None], 0, small), missing))
        return np.full_like(small, 255)

    filled = shrunk_to(40, watch, rgb, hole)
    shrunk_to(40, watch, np.where(hole[..., None], 255 - rgb, rgb), hole)
    assert seen[0][0].shape == (27, 40, 3)
    assert np.array_equal(seen[0][0], seen[1][0])
    assert np.array_equal(filled[~hole], rgb[~hole])
    assert (filled[hole] == 255).all()
    shrunk_to(90, watch, rgb, hole)
    assert seen[2][0].shape == (60, 90, 3)


def test_patches_are_laid_over_by_their_weight() -> None:
    rgb = np.full((4, 6, 3), 100, np.uint8)
    weight = np.array([[0.0, 0.5, 1.0]], np.float32)
    out = lay_over(rgb, [Patch(2, 1, np.full((1, 3, 3), 200, np.uint8), weight)])
    assert out[1, :, 0].tolist() == [100, 100, 100, 150, 200, 100]
    assert (rgb == 100).all()


def test_our_filler_leaves_the_rest_alone(tiny_bundle: Bundle, make_rgb: Callable[..., Pixels]) -> None:
    rgb = make_rgb(50, 60)
    hole = np.zeros((50, 60), bool)
    hole[20:30, 20:40] = True
    filler = ours(tiny_bundle)
    filled = filler.fill(rgb, hole)
    assert np.array_equal(filled[~hole], rgb[~hole])
    assert (filled[hole] != rgb[hole]).any()
    assert (
        filler.settings
        == f"Unsay {unsay.__version__}, bundle tiny 0.1.0, grow 0, feather 0, rim as the bundle says, texture True"
    )
