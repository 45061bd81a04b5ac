"""The photo's own texture in a smooth fill: as lively as its surroundings, from known places alone, nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unsay.bundle import Bundle
from unsay.evaluation.metrics import texture_ratio
from unsay.inpainting import fill_hole
from unsay.inpainting import texture as module
from unsay.inpainting.hole import Box
from unsay.inpainting.texture import copy_detail, find_sources, joined
from unsay.options import InpaintOptions
from unsay.results import Mask, Pixels

SIDE = 128


def grain(height: int = SIDE, width: int = SIDE, size: float = 1.0, seed: int = 0) -> Pixels:
    """Grey noise blurred by `size` pixels, of a deviation of 25 levels."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width, 1)), (0, 0), size)
    return np.rint(128 + 25 * noise[..., None] / noise.std()).clip(0, 255).astype(np.uint8).repeat(3, 2)


def square(height: int = SIDE, width: int = SIDE) -> Mask:
    hole = np.zeros((height, width), bool)
    hole[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = True
    return hole


def textured(photo: Pixels, hole: Mask, scale: float = 1.0) -> Pixels:
    """As `fill_hole` does with one window; `photo` at full size, already filled."""
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    missing = cv2.resize(hole.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    whole = Box(0, 0, *size)
    return copy_detail(photo, hole, find_sources(small, missing, whole, whole), scale)


def test_a_flat_fill_in_grain_becomes_about_as_lively_as_the_grain() -> None:
    truth, hole = grain(), square()
    flat = np.where(hole[..., None], np.uint8(128), truth)
    assert texture_ratio(flat, truth, hole) < 0.01
    assert 0.7 < texture_ratio(textured(flat, hole), truth, hole) < 1.3


def test_detail_finer_than_the_networks_scale_is_copied_too() -> None:
    truth, hole = grain(512, 512), square(512, 512)
    flat = np.where(hole[..., None], np.uint8(128), truth)
    assert 0.6 < texture_ratio(textured(flat, hole, 0.25), truth, hole) < 1.4


def test_known_pixels_stay_and_a_calm_photo_stays_calm() -> None:
    hole = square()
    ramp = np.linspace(40, 200, SIDE).astype(np.uint8)[None, :, None].repeat(SIDE, 0).repeat(3, 2)
    found = textured(ramp, hole)
    np.testing.assert_array_equal(found[~hole], ramp[~hole])
    assert np.abs(found.astype(int) - ramp).max() <= 2
    noisy = np.where(hole[..., None], np.uint8(128), grain())
    np.testing.assert_array_equal(textured(noisy, hole)[~hole], noisy[~hole])


def test_texture_comes_from_where_the_colours_are_alike() -> None:
    lively, hole = grain(), np.zeros((SIDE, SIDE), bool)
    calm = np.full_like(lively, 30)
    photo = np.concatenate([calm[:, : SIDE // 2], lively[:, SIDE // 2 :]], 1)
    hole[40:88, 8:56] = hole[40:88, 72:120] = True
    photo[40:88, 72:120] = 128
    found = textured(photo, hole).astype(float)
    assert found[44:84, 76:116].std() > 10
    assert found[44:84, 12:52].std() < 2


def test_what_a_filled_tile_would_repeat_is_avoided() -> None:
    photo, hole = np.where(square()[..., None], np.uint8(128), grain()), square()
    whole = Box(0, 0, SIDE, SIDE)
    found = find_sources(photo, hole, whole, whole)
    _, counts = np.unique(found.sources, axis=0, return_counts=True)
    assert counts.max() <= 4
    assert len(counts) > len(found.tiles) / 2


def test_cores_of_a_grid_have_the_tiles_of_the_whole() -> None:
    photo, hole, whole = grain(), square(), Box(0, 0, SIDE, SIDE)
    cores = [Box(x, y, x + SIDE // 2, y + SIDE // 2) for y in (0, SIDE // 2) for x in (0, SIDE // 2)]
    parts = joined([find_sources(photo, hole, core, whole) for core in cores])
    together = {tuple(t) for t in parts.tiles.tolist()}
    assert together == {tuple(t) for t in find_sources(photo, hole, whole, whole).tiles.tolist()}
    assert len(together) == len(parts.tiles)


@pytest.mark.parametrize("shape", [(4, 4), (20, 20), (3, 400), (130, 17)])
def test_without_room_to_copy_from_the_fill_stays(shape: tuple[int, int]) -> None:
    photo, hole = grain(*shape), np.ones(shape, bool)
    hole[:1] = False
    np.testing.assert_array_equal(textured(photo, hole), photo)
    np.testing.assert_array_equal(textured(photo, np.zeros(shape, bool)), photo)


def test_very_large_windows_get_their_detail_at_a_smaller_size(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, hole = grain(256, 256, 3.0), square(256, 256)
    flat = np.where(hole[..., None], np.uint8(128), truth)
    monkeypatch.setattr(module, "MAX_PIXELS", 130 * 130)
    found = textured(flat, hole, 0.5)
    np.testing.assert_array_equal(found[~hole], truth[~hole])
    assert 0.5 < texture_ratio(found, truth, hole) < 1.3


def test_the_switch_and_what_lies_under_the_hole(tiny_bundle: Bundle) -> None:
    photo, hole = grain(200, 300), square(200, 300)
    other = np.where(hole[..., None], grain(200, 300, seed=1), photo)
    with_texture, again = (fill_hole(p, hole, tiny_bundle)[0].pixels for p in (photo, other))
    inside = hole[hole.any(1)][:, hole.any(0)]
    np.testing.assert_array_equal(with_texture[inside], again[inside])
    soft = fill_hole(photo, hole, tiny_bundle, InpaintOptions(texture=False))[0].pixels
    assert not np.array_equal(soft[inside], with_texture[inside])
