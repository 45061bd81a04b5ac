from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage

from unsay.bundle import MANIFEST, Bundle, load_bundle
from unsay.errors import BadInput, BundleError
from unsay.inpainting import fill_hole
from unsay.inpainting.filler import Filler
from unsay.inpainting.hole import Box
from unsay.options import InpaintOptions
from unsay.results import Patch, Pixels
from unsay.training.bundling import write_part

MakeRgb = Callable[..., Pixels]


def laid_over(rgb: Pixels, patches: list[Patch]) -> Pixels:
    out = rgb.astype(np.float32)
    for patch in patches:
        rows, columns = slice(patch.y, patch.y + patch.pixels.shape[0]), slice(patch.x, patch.x + patch.pixels.shape[1])
        out[rows, columns] += (patch.pixels - out[rows, columns]) * patch.weight[..., None]
    return np.rint(out).astype(np.uint8)


@given(
    shape=st.tuples(st.integers(20, 150), st.integers(20, 150)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    size=st.tuples(st.integers(1, 140), st.integers(1, 140)),
    options=st.builds(InpaintOptions, grow=st.integers(0, 5), feather=st.integers(0, 3)),
)
def test_patches_change_the_grown_hole_alone(tiny_bundle, make_rgb, **drawn) -> None:  # type: ignore[no-untyped-def]
    shape, corner, size, options = drawn["shape"], drawn["corner"], drawn["size"], drawn["options"]
    hole = np.zeros(shape, bool)
    y, x = int(corner[0] * (shape[0] - 1)), int(corner[1] * (shape[1] - 1))
    hole[y : y + size[0], x : x + size[1]] = True
    grown = ndimage.distance_transform_edt(~hole) <= options.grow
    assume(not grown.all())
    rgb = make_rgb(*shape)
    patches = fill_hole(rgb, hole, tiny_bundle, options)
    np.testing.assert_array_equal(laid_over(rgb, patches)[~grown], rgb[~grown])
    covered = np.zeros(shape)
    for patch in patches:
        covered[patch.y : patch.y + patch.weight.shape[0], patch.x : patch.x + patch.weight.shape[1]] += (
            patch.weight > 0
        )
    np.testing.assert_array_equal(covered, grown)


def test_a_uniform_photo_is_filled_with_its_colour(tiny_bundle: Bundle) -> None:
    rgb = np.full((301, 407, 3), (200, 90, 30), np.uint8)
    hole = np.zeros((301, 407), bool)
    hole[20:210, 30:290] = hole[290:, 400:] = True
    spoiled = rgb.copy()
    spoiled[hole] = 0
    np.testing.assert_allclose(laid_over(spoiled, fill_hole(spoiled, hole, tiny_bundle)), rgb, atol=1)


def test_a_large_hole_never_shows_what_was_under_it(tiny_bundle: Bundle, make_rgb: MakeRgb) -> None:
    hole = np.zeros((400, 400), bool)
    hole[50:330, 60:350] = True
    one, other = make_rgb(400, 400), make_rgb(400, 400)
    other[hole] = 255 - other[hole]
    for a, b in zip(fill_hole(one, hole, tiny_bundle), fill_hole(other, hole, tiny_bundle), strict=True):
        np.testing.assert_array_equal(a.pixels[a.weight > 0], b.pixels[b.weight > 0])


def test_tiles_agree_with_one_large_window(tmp_path: Path, tiny_bundle: Bundle) -> None:
    """A scratch across a smooth picture: the same fill whether seen in tiles of 128 pixels or at once."""
    rgb = np.repeat(np.linspace(0, 255, 600).astype(np.uint8)[None, :, None], 300, 0).repeat(3, 2)
    hole = np.zeros(rgb.shape[:2], bool)
    hole[148:153] = True
    np.testing.assert_allclose(laid_over(rgb, fill_hole(rgb, hole, tiny_bundle)), rgb, atol=2)


def test_a_tile_takes_what_the_one_before_filled_as_known(
    tiny_bundle: Bundle, make_rgb: MakeRgb, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    plain = Filler.fill

    def watched(self: Filler, rgb: Pixels, hole: np.ndarray) -> Pixels:
        seen.append(hole.copy())
        return plain(self, rgb, hole)

    monkeypatch.setattr(Filler, "fill", watched)
    hole = np.zeros((100, 600), bool)
    hole[48:53] = True
    fill_hole(make_rgb(100, 600), hole, tiny_bundle)
    assert len(seen) > 5
    assert all(tile[:, -1].any() for tile in seen)
    assert not any(tile[:, :24].any() for tile in seen[1:])


def test_empty_and_full_holes(tiny_bundle: Bundle, make_rgb: MakeRgb) -> None:
    assert fill_hole(make_rgb(20, 30), np.zeros((20, 30), bool), tiny_bundle) == []
    with pytest.raises(BadInput, match=r"the hole covers the whole photo \(30x20\).*choose less"):
        fill_hole(make_rgb(20, 30), np.ones((20, 30), bool), tiny_bundle)
    almost = np.ones((20, 30), bool)
    almost[3, 4] = False
    assert len(fill_hole(make_rgb(20, 30), almost, tiny_bundle)) == 1
    with pytest.raises(BadInput, match="grown by 3 pixels covers"):
        fill_hole(make_rgb(20, 30), almost, tiny_bundle, InpaintOptions(grow=3))
    with pytest.raises(BadInput, match="the mask is 20x30 pixels, the photo 30x20"):
        fill_hole(make_rgb(20, 30), almost.T, tiny_bundle)


def test_the_same_twice(tiny_bundle: Bundle, make_rgb: MakeRgb) -> None:
    rgb, hole = make_rgb(90, 120), np.zeros((90, 120), bool)
    hole[30:60, 30:80] = True
    first, second = (fill_hole(rgb, hole, tiny_bundle)[0] for _ in range(2))
    assert first.pixels.tobytes() == second.pixels.tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (15, 16), (17, 33), (130, 5)])
def test_padding_is_taken_off_again(tiny_bundle: Bundle, make_rgb: MakeRgb, shape: tuple[int, int]) -> None:
    rgb, hole = make_rgb(*shape), np.zeros(shape, bool)
    hole[-1, -1] = True
    filled = Filler.of(tiny_bundle).fill(rgb, hole)
    assert filled.shape == rgb.shape
    np.testing.assert_array_equal(filled[~hole], rgb[~hole])


def edited(source: Bundle, folder: Path, **changes: Any) -> Bundle:
    (folder / "filler.onnx").write_bytes((source.path / "filler.onnx").read_bytes())
    manifest = json.loads((source.path / MANIFEST).read_text())
    manifest["inpaint"].update(changes)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return load_bundle(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"mask": "both"},
        {"multiple": 0},
        {"max_side": 8},
        {"std": [1, 1]},
        {"std": [1, 0, 1]},
        {"mean": None},
        {"file": 3},
        {"mask": [1, 1]},
        {"mask": [1]},
        {"layout": "CHWN"},
        {"colours": "cmyk"},
        {"pad": "zero"},
        {"grow": -1},
        {"output_std": [1, 1, 0]},
        {"inputs": {"image": ["image"]}},
        {"inputs": {"image": ["image"], "mask": ["mask", "depth"]}},
        {"inputs": {"picture": ["image"], "mask": ["mask"]}},
        {"inputs": {"image": ["image"], "mask": ["mask", "box"]}},
        {"inputs": {"image": ["image"], "mask": ["mask"], "box": ["box"]}},
        {"inputs": {"image": ["image"], "mask": ["mask"], "box": ["box"], "more": ["box"]}},
        {"data": "absent.data"},
        {"output": "result"},
    ],
)
def test_a_manifest_that_makes_no_sense(tiny_bundle: Bundle, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Filler.of(edited(tiny_bundle, tmp_path, **changes))


def test_the_mask_can_be_the_other_way_round(tiny_bundle: Bundle, tmp_path: Path, make_rgb: MakeRgb) -> None:
    """The averaging network told that its mask means fill averages nothing: zero, which is the mean colour."""
    hole = np.zeros((64, 64), bool)
    hole[20:30, 20:30] = True
    filled = Filler.of(edited(tiny_bundle, tmp_path, mask="fill")).fill(make_rgb(64, 64), ~hole)
    keep = Filler.of(tiny_bundle).fill(make_rgb(64, 64), ~hole)
    assert np.abs(filled.astype(int) - keep.astype(int))[~hole].mean() > 5


def test_what_is_filled_does_not_depend_on_how_a_network_is_asked(
    tiny_bundle: Bundle, tmp_path: Path, make_rgb: MakeRgb
) -> None:
    """A network that makes the whole image, and one that makes the box around the hole alone."""
    local = load_bundle(write_boxed(tiny_bundle, tmp_path), threads=1)
    rgb, hole = make_rgb(70, 90), np.zeros((70, 90), bool)
    hole[20:33, 40:61] = hole[50:52, 88:] = True
    found, expected = (Filler.of(bundle).fill(rgb, hole) for bundle in (local, tiny_bundle))
    np.testing.assert_array_equal(found, expected)
    assert Filler.of(local).raw(rgb, hole, Box(5, 10, 25, 40)).shape == (30, 20, 3)
    nothing = np.zeros((70, 90), bool)
    np.testing.assert_array_equal(Filler.of(local).fill(rgb, nothing), rgb)


def write_boxed(source: Bundle, folder: Path) -> Path:
    """The bundle with a filler that takes a box and gives it alone."""
    model = onnx.load(source.path / "filler.onnx")
    graph = model.graph
    graph.node[-1].output[0] = "whole"
    axes = numpy_helper.from_array(np.array([2, 3]), "both")
    graph.initializer.append(axes)
    for name, start in (("starts", 0), ("stops", 2)):
        bounds = [numpy_helper.from_array(np.array([n]), f"{name}.{n}") for n in (start, start + 2)]
        graph.initializer.extend(bounds)
        graph.node.append(helper.make_node("Slice", ["box", *(b.name for b in bounds)], [name]))
    graph.node.append(helper.make_node("Slice", ["whole", "starts", "stops", "both"], ["fill"]))
    graph.input.append(helper.make_tensor_value_info("box", TensorProto.INT64, [4]))
    for axis, name in ((2, "rows"), (3, "columns")):
        graph.output[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, folder / "filler.onnx")
    section = source.section("inpaint") | {"inputs": {"image": ["image"], "mask": ["mask"], "box": ["box"]}}
    write_part(folder, "inpaint", section, files=["filler.onnx"], name="boxed")
    return folder
