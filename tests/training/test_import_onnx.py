"""Other networks (image, mask) -> image, each a tiny graph of a real network's form, through to `unsay.inpaint`.

Every graph answers with its own decoded input in reverse: 255 - the photo's colour where it is known, and a fixed
colour in the hole. So a fill shows whether value range, mask, order of axes and of colours were all understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage

import unsay
from unsay.bundle import MANIFEST, load_bundle
from unsay.cli import main
from unsay.errors import BadInput
from unsay.inpainting.filler import Filler
from unsay.results import Mask, Pixels
from unsay.training.bundling import write_part
from unsay.training.import_onnx import OnnxImport, filler_section, import_onnx

FILL = (200.0, 100.0, 50.0)
"""What every graph paints into the hole, RGB in 0..255."""
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
node = helper.make_node


def constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, np.float32), name)


def painting(
    *,
    enters: tuple[float, float] = (255, 0),
    leaves: tuple[float, float] = (255, 0),
    hole: float = 1,
    known: float = 0,
    kind: int = FLOAT,
    together: str = "",
    layout: str = "NCHW",
    colours: str = "rgb",
    side: int | str = "side",
    names: tuple[str, str, str] = ("image", "mask", "output"),
) -> onnx.ModelProto:
    """A graph that gives 255 - colour where known and `FILL` in the hole.

    `enters` and `leaves`: (a, b) with colour in 0..255 = a * value + b. `hole`, `known`: values of the mask.
    `together`: "image+mask" or "mask+image" for one input of four channels.
    """
    image, mask, output = names
    last = layout == "NHWC"
    axis = 3 if last else 1
    nodes = []
    if together:
        order = ["raw_image", "raw_mask"] if together == "image+mask" else ["raw_mask", "raw_image"]
        sizes = [3, 1] if together == "image+mask" else [1, 3]
        nodes = [node("Split", ["wide", "sizes"], order, axis=axis)]
        inputs = {image: 4}
        nodes.insert(0, node("Cast", [image], ["wide"], to=FLOAT))
    else:
        sizes, inputs = [3, 1], {image: 3, mask: 1}
        nodes = [node("Cast", [image], ["raw_image"], to=FLOAT), node("Cast", [mask], ["raw_mask"], to=FLOAT)]
    nodes += [
        node("Mul", ["raw_image", "a"], ["scaled"]),
        node("Add", ["scaled", "b"], ["colour"]),
        node("Sub", ["white", "colour"], ["negative"]),
        node("Equal", ["raw_mask", "hole"], ["in_hole"]),
        node("Where", ["in_hole", "fill", "negative"], ["painted"]),
        node("Sub", ["painted", "d"], ["shifted"]),
        node("Div", ["shifted", "c"], ["ends"]),
        node("Cast", ["ends"], [output], to=kind),
    ]
    fill = FILL[::-1] if colours == "bgr" else FILL
    values = {"a": enters[0], "b": enters[1], "c": leaves[0], "d": leaves[1], "white": 255, "hole": hole}
    weights = [constant(k, v) for k, v in values.items()]
    weights.append(constant("fill", np.reshape(fill, (1, 1, 1, 3) if last else (1, 3, 1, 1))))
    weights.append(numpy_helper.from_array(np.array(sizes, np.int64), "sizes"))

    def described(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(
            name, kind, [1, side, side, channels] if last else [1, channels, side, side]
        )

    reads = [described(name, channels) for name, channels in inputs.items()]
    graph = helper.make_graph(nodes, "painting", reads, [described(output, 3)], weights)
    for tensor in (*graph.input, *graph.output):
        for dimension, length in enumerate(tensor.type.tensor_type.shape.dim):
            if length.dim_param == "side":
                length.dim_param = f"axis{dimension}"
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


BYTES = {"enters": (1, 0), "leaves": (1, 0)}
SIGNED = {"enters": (127.5, 127.5), "leaves": (127.5, 127.5)}
FORMS: dict[str, tuple[dict[str, Any], OnnxImport]] = {
    "0..1, mask 1 in the hole": ({}, OnnxImport()),
    "LaMa: fixed side, output 0..255": (
        {"leaves": (1, 0), "side": 512, "names": ("image", "mask", "output")},
        OnnxImport(like="lama"),
    ),
    "MI-GAN's pipeline: bytes, mask 0 in the hole": (
        {**BYTES, "kind": UINT8, "hole": 0, "known": 255, "names": ("image", "mask", "result")},
        OnnxImport(like="migan"),
    ),
    "MI-GAN's generator: one input, mask first and about zero": (
        {**SIGNED, "together": "mask+image", "hole": -0.5, "known": 0.5, "side": 64, "names": ("input", "", "output")},
        OnnxImport(range="-1..1", mask="-0.5,0.5", inputs=("input=mask+image",)),
    ),
    "one input, image first": (
        {"together": "image+mask", "names": ("input", "", "output")},
        OnnxImport(multiple=32, max_side=64),
    ),
    "mask 1 where known": ({"hole": 0, "known": 1}, OnnxImport(mask="keep")),
    "channels last, blue first": ({"layout": "NHWC", "colours": "bgr"}, OnnxImport(layout="NHWC", colours="bgr")),
    "other names and an order that says nothing": (
        {"names": ("x", "holes", "y"), **BYTES},
        OnnxImport(range="0..255", inputs=("holes=mask", "x=image"), result="y", pad="hole", grow=2),
    ),
}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def save(**form: Any) -> Path:
        onnx.save(painting(**form), tmp_path / "network.onnx")
        return tmp_path / "network.onnx"

    return save


def a_hole(rgb: Pixels) -> Mask:
    hole = np.zeros(rgb.shape[:2], bool)
    hole[20:31, 35:60] = True
    return hole


@pytest.mark.parametrize("form", FORMS)
def test_a_network_of_this_form_fills(
    form: str, saved: Callable[..., Path], tmp_path: Path, make_rgb: Callable[..., Pixels]
) -> None:
    graph, options = FORMS[form]
    miss = import_onnx(saved(**graph), tmp_path / "mine", options, licence="Apache-2.0")
    assert miss > 20  # the graphs turn known pixels into their negative
    bundle = load_bundle(tmp_path / "mine", threads=1)
    rgb = make_rgb(50, 62)
    hole = a_hole(rgb)
    raw = Filler.of(bundle).raw(rgb, hole)
    np.testing.assert_array_equal(raw[hole], np.broadcast_to(np.array(FILL), raw[hole].shape))
    known = ~ndimage.binary_dilation(hole, np.ones((7, 7)))  # some forms are shown a larger hole
    np.testing.assert_array_equal(raw[known], 255 - rgb[known])
    filled = unsay.inpaint(rgb, hole, bundle=bundle)
    np.testing.assert_array_equal(filled[~hole], rgb[~hole])
    assert (filled[hole] != rgb[hole]).any()
    assert bundle.manifest["licence"] == "Apache-2.0"
    assert "segment" not in bundle.manifest


def test_a_network_of_one_size_sees_nothing_else(
    saved: Callable[..., Path], tmp_path: Path, make_rgb: Callable[..., Pixels]
) -> None:
    """The runtime refuses any other size, so a fill of small, large, thin and odd photos says it all."""
    import_onnx(saved(side=64), tmp_path / "mine")
    bundle = load_bundle(tmp_path / "mine", threads=1)
    assert (bundle.section("inpaint")["multiple"], bundle.section("inpaint")["max_side"]) == (64, 64)
    for height, width in ((7, 200), (33, 40), (64, 64), (130, 301)):
        rgb, hole = make_rgb(height, width), np.zeros((height, width), bool)
        hole[1 : height // 2, width // 4 : width // 2] = hole[3:5] = True
        filled = unsay.inpaint(rgb, hole, bundle=bundle)
        np.testing.assert_array_equal(filled[~hole], rgb[~hole])


def test_a_grown_hole_is_shown_larger_and_filled_as_it_is(
    saved: Callable[..., Path], tmp_path: Path, make_rgb: Callable[..., Pixels]
) -> None:
    import_onnx(saved(), tmp_path / "mine", OnnxImport(grow=3))
    rgb = make_rgb(75, 90)
    hole = a_hole(rgb)
    raw = Filler.of(load_bundle(tmp_path / "mine", threads=1)).raw(rgb, hole)
    painted = (raw == np.array(FILL)).all(axis=2)
    expected = np.zeros_like(hole)
    expected[17:34, 32:63] = True
    np.testing.assert_array_equal(painted, expected)


def test_beyond_the_border_lies_the_picture_mirrored_or_nothing(
    saved: Callable[..., Path], tmp_path: Path, make_rgb: Callable[..., Pixels]
) -> None:
    rgb, hole = make_rgb(30, 40), np.zeros((30, 40), bool)
    hole[25:29, 33:38] = True
    padded = {}
    for pad in ("mirror", "hole"):
        import_onnx(saved(), tmp_path / pad, OnnxImport(multiple=64, max_side=64, pad=pad))
        padded[pad] = Filler.of(load_bundle(tmp_path / pad, threads=1))._padded(rgb, hole)
    mirrored, twice = padded["mirror"]
    np.testing.assert_array_equal(mirrored[30:60, :40], rgb[::-1])
    np.testing.assert_array_equal(twice[:30, 40:], hole[:, ::-1][:, :24])
    assert padded["hole"][1][30:].all()
    assert padded["hole"][1][:, 40:].all()


def test_the_command_keeps_a_segment_part_and_doubts_a_wrong_range(
    saved: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both"
    out.mkdir()
    (out / "words.onnx").write_bytes(b"words")
    write_part(out, "segment", {"text": {"file": "words.onnx"}}, files=["words.onnx"], licence="MIT")
    file = str(saved(leaves=(1, 0)))
    assert main(["import", "onnx", file, "-o", str(out), "--range", "0..1", "--output-range", "-1..1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(out)
    assert "are --range, --output-range, --mask and --colours right?" in captured.err
    manifest = json.loads((out / MANIFEST).read_bytes())
    assert manifest["segment"] == {"text": {"file": "words.onnx"}}
    assert manifest["licence"] == "segment: MIT; inpaint: unknown"
    assert manifest["training"]["inpaint"]["method"] == "imported from network.onnx"
    (placed,) = out.glob("filler-*.onnx")
    assert placed.read_bytes() == Path(file).read_bytes()


def test_weights_beside_the_file_are_taken_in(
    tmp_path: Path, saved: Callable[..., Path], make_rgb: Callable[..., Pixels]
) -> None:
    model = painting()
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0)
    assert (tmp_path / "split.data").stat().st_size > 0
    import_onnx(tmp_path / "split.onnx", tmp_path / "mine")
    rgb = make_rgb(40, 70)
    assert unsay.inpaint(rgb, a_hole(rgb), bundle=load_bundle(tmp_path / "mine", threads=1)).shape == rgb.shape
    (tmp_path / "split.data").unlink()
    with pytest.raises(BadInput, match="weights beside"):
        import_onnx(tmp_path / "split.onnx", tmp_path / "other")


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ({}, {"like": "magic"}, "no preset 'magic'; known: lama, migan"),
        ({}, {"range": "0..2"}, "unknown range '0..2'; known: 0..1, 0..255, -1..1, imagenet"),
        ({}, {"output_range": "0..2"}, "unknown output range"),
        ({}, {"layout": "CHWN"}, "known: NCHW, NHWC"),
        ({}, {"colours": "cmyk"}, "known: rgb, bgr"),
        ({}, {"pad": "zero"}, "known: hole, mirror"),
        ({}, {"grow": -1}, "choose 0 to 64"),
        ({}, {"mask": "white"}, "write fill, keep, or its two values"),
        ({}, {"mask": "1,1"}, "must differ"),
        ({}, {"multiple": 0}, "choose 1 <= multiple"),
        ({}, {"multiple": 64, "max_side": 32}, "choose 1 <= multiple"),
        ({"side": 64}, {"size": 512}, "the file takes 64 pixels alone"),
        ({}, {"inputs": ("image=photo",)}, "write NAME=image"),
        ({}, {"inputs": ("image=image", "mask=image")}, "say which is image, which mask"),
        ({}, {"inputs": ("image=image", "holes=mask")}, "the file reads image, mask"),
        ({}, {"result": "depth"}, "the file gives output"),
        ({"names": ("image", "mask", "output"), "together": "image+mask"}, {"layout": "NHWC"}, "cannot tell image and"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    form: dict[str, Any], options: dict[str, Any], message: str, saved: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message.replace(".", r"\.")):
        import_onnx(saved(**form), tmp_path / "out", OnnxImport(**options))
    assert not (tmp_path / "out").exists()


def test_what_does_not_fill_never_becomes_a_bundle(saved: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(BadInput, match=r"text\.onnx is not an ONNX file"):
        import_onnx(tmp_path / "text.onnx", tmp_path / "out")
    with pytest.raises(BadInput, match="does not fill a test picture"):
        import_onnx(saved(leaves=(0, 0)), tmp_path / "out")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.jpg").write_bytes(b"x")
    with pytest.raises(BadInput, match="no bundle"):
        import_onnx(saved(), tmp_path / "photos")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network.onnx", "photos", "text.onnx"]


def test_a_network_that_is_not_square_is_refused() -> None:
    graph = painting(side=64).graph
    graph.input[0].type.tensor_type.shape.dim[3].dim_value = 96
    with pytest.raises(BadInput, match="the file takes 96x64 pixels alone; only square"):
        filler_section(graph, OnnxImport())
