"""The authors' checkpoint as a bundle: every tensor accounted for, nothing in the file run, the network's own fills."""

from __future__ import annotations

import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import unsay
from unsay.bundle import MANIFEST, Bundle, load_bundle, read_manifest
from unsay.cli import main
from unsay.errors import BadInput, BundleError
from unsay.models.madf import MADF, MADFConfig
from unsay.results import Pixels
from unsay.training.bundling import write_part
from unsay.training.import_madf import config_of, import_madf, load_published

PREFIX = "module.model."
NARROW = 1 / 16


def published_shapes(width: float = 1.0) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tensors, written down from the file's description and not from our network."""
    enc = [6, *(round(c * width) for c in (16, 32, 64, 128, 128, 128, 128))]
    up = [6, *(round(c * width) for c in (64, 128, 256, 512, 512, 512, 512))]
    dec = [0, 3, *(round(c * width) for c in (64, 128, 256, 512, 512, 512))]
    hidden = round(128 * width)
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, rows: int, columns: int, kernel: int, bias: int = 0) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (rows, columns, kernel, kernel), (bias or rows,)

    def norm(name: str, channels: int, *, learned: bool = True) -> None:
        names = ("weight", "bias") if learned else ()
        shapes.update({f"{name}.{n}": (channels,) for n in (*names, "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    for level, kernel in enumerate((7, 5, 3, 3, 3, 3, 3), 1):
        conv(f"filter_gen_{level}.conv.0", 16, 3 if level == 1 else 16, kernel)
        conv(f"filter_gen_{level}.conv1.0", enc[level - 1] * kernel * kernel * enc[level], 16, 1)
        norm(f"enc_conv_{level}.bn", enc[level])
        conv(f"enc_up_{level}.0", up[level], enc[level], 1)
        above = up[7] if level == 7 else dec[level + 1]
        conv(f"deconv_{level}.0", above, dec[level], 4, bias=dec[level])
        conv(f"att_conv_{level}.conv.0", dec[level], up[level - 1] + dec[level], 3)
        if level == 1:
            continue
        norm(f"deconv_{level}.1", dec[level])
        for r in range(2):
            block = f"dec_ref{r}_{level}"
            conv(f"{block}.deconv", above, dec[level], 4, bias=dec[level])
            norm(f"{block}.bn.batch_norm", dec[level], learned=False)
            conv(f"{block}.bn.mlp_shared.0", hidden, dec[level], 3)
            conv(f"{block}.bn.mlp_scale", dec[level], hidden, 3)
            conv(f"{block}.bn.mlp_bias", dec[level], hidden, 3)
    for r, channels in enumerate((73, 76)):
        conv(f"dec_ref{r}_1", 3, channels - 64 + dec[2], 1)
    return shapes


def random_tensors(width: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    made: dict[str, Tensor] = {}
    for name, shape in published_shapes(width).items():
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(1000)
        elif name.endswith("running_var"):
            made[name] = torch.rand(shape, generator=generator) + 0.5
        else:  # small filters: untrained features would grow beyond all numbers through seven levels
            size = 1e4 if ".conv1." in name else max(1, math.prod(shape[1:]))
            made[name] = torch.randn(shape, generator=generator) / math.sqrt(size)
    return made


def checkpoint(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What the authors' file is: the network's tensors beside the VGG's, and the optimiser's state."""
    model = {PREFIX + name: tensor for name, tensor in tensors.items()}
    model |= {f"module.extractor.enc_{i}.0.weight": torch.zeros(2, 2) for i in (1, 2, 3)}
    state = {0: {"step": 5, "exp_avg": torch.zeros(3)}}
    return {"n_iter": 700_000, "model": model, "gen_optimizer": {"state": state, "param_groups": [{"lr": 2e-4}]}}


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return random_tensors(NARROW)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    def save(content: Any) -> Path:
        torch.save(content, tmp_path / "MADF.pth")
        return tmp_path / "MADF.pth"

    return save


def test_names_and_shapes_are_the_published_ones() -> None:
    shapes = published_shapes()
    learned = {n: s for n, s in shapes.items() if n.rsplit(".", 1)[1] in ("weight", "bias")}
    assert len(shapes) == 271
    assert sum(map(math.prod, shapes.values())) == 85_154_391
    assert sum(map(math.prod, learned.values())) == 85_141_214
    with torch.device("meta"):
        ours = {name: tuple(t.shape) for name, t in MADF().state_dict().items()}
    assert ours == {name: shape for name, shape in shapes.items() if not name.startswith("enc_conv")}


@pytest.mark.parametrize("form", ["as published", "bare under model", "bare"])
def test_every_tensor_is_loaded_or_listed(form: str, tensors: dict[str, Tensor], saved: Callable[[Any], Path]) -> None:
    contents = {"as published": checkpoint(tensors), "bare under model": {"model": tensors}, "bare": tensors}
    published = load_published(saved(contents[form]))
    assert published.network.config == MADFConfig(width=NARROW)
    state = published.network.state_dict()
    for name, tensor in tensors.items():
        assert name in published.unused or torch.equal(state[name], tensor)
    assert len(state) == 271 - 35
    assert len([n for n in published.unused if n.startswith("enc_conv_")]) == 35
    assert len(published.unused) == (38 if form == "as published" else 35)
    assert not published.network.training


def test_the_filter_rows_are_read_in_the_published_order(
    tensors: dict[str, Tensor], saved: Callable[[Any], Path]
) -> None:
    """C_in slowest, then the kernel's rows and columns, C_out fastest: told apart on one point's filter."""
    network = load_published(saved(tensors)).network
    weight, bias = tensors["filter_gen_2.conv1.0.weight"], tensors["filter_gen_2.conv1.0.bias"]
    generator = network.get_submodule("filter_gen_2")
    bank = generator.bank().view(17, 2, 1, 5, 5)
    c_out, c_in, y, x, h = 1, 0, 3, 4, 6
    row = ((c_in * 5 + y) * 5 + x) * 2 + c_out
    assert bank[h, c_out, c_in, y, x] == weight[row, h, 0, 0]
    assert bank[16, c_out, c_in, y, x] == bias[row]


@pytest.mark.parametrize("levels", [5, 6])
@pytest.mark.parametrize("refinements", [0, 1])
def test_other_shapes_of_the_network_are_told_from_the_tensors(levels: int, refinements: int) -> None:
    config = MADFConfig(width=0.125, levels=levels, refinements=refinements, mask_channels=4)
    assert config_of(MADF(config).state_dict(), Path("x")) == config


@pytest.mark.slow
def test_a_bundle_of_them_fills_as_the_network_does(
    tensors: dict[str, Tensor], saved: Callable[[Any], Path], tmp_path: Path, make_rgb: Callable[..., Pixels]
) -> None:
    published = import_madf(saved(checkpoint(tensors)), tmp_path / "mine", licence="CC-BY-NC-4.0")
    bundle = load_bundle(tmp_path / "mine", threads=1)
    learned = bundle.manifest["training"]["inpaint"]
    assert (learned["unused"], learned["storage"]) == (list(published.unused), "fp32")
    assert bundle.manifest["licence"] == "CC-BY-NC-4.0"
    assert bundle.section("inpaint")["multiple"] == 128
    rgb, hole = make_rgb(128, 128), np.zeros((128, 128), bool)
    hole[40:70, 50:90] = True
    filled = unsay.inpaint(rgb, hole, bundle=bundle)
    np.testing.assert_array_equal(filled[~hole], rgb[~hole])
    image, keep = torch.randn(1, 3, 128, 256), (torch.rand(1, 1, 128, 256) > 0.3).float()
    with torch.inference_mode():
        expected = published.network(image, keep)[-1].numpy()
    feed = {"image": image.numpy(), "mask": keep.numpy(), "box": np.array([5, 10, 100, 250])}
    (found,) = bundle.session(bundle.section("inpaint")["file"]).run(None, feed)
    np.testing.assert_allclose(found, expected[..., 5:100, 10:250], atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_the_command_keeps_a_segment_part_and_halves(
    tensors: dict[str, Tensor], saved: Callable[[Any], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both"
    out.mkdir()
    for name in ("words.onnx", "old.onnx"):
        (out / name).write_bytes(name.encode())
    write_part(out, "segment", {"text": {"file": "words.onnx"}}, files=["words.onnx"], licence="MIT")
    write_part(out, "inpaint", {"file": "old.onnx"}, files=["old.onnx"], scores={"inpaint": 1, "segment": 2})
    file = str(saved(checkpoint(tensors)))
    assert main(["import", "madf", file, "-o", str(out), "--half", "--max-side", "256", "--licence", "theirs"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(out)
    assert "38 tensors" in captured.err
    manifest = json.loads((out / MANIFEST).read_bytes())
    assert manifest["segment"] == {"text": {"file": "words.onnx"}}
    name = manifest["inpaint"]["file"]
    assert set(manifest["files"]) == {"words.onnx", name} == {p.name for p in out.iterdir()} - {MANIFEST}
    assert manifest["licence"] == "segment: MIT; inpaint: theirs"
    assert manifest["scores"] == {"segment": 2}
    assert manifest["inpaint"]["max_side"] == 256
    assert manifest["training"]["inpaint"]["storage"] == "fp16"
    half = (out / name).stat().st_size
    assert main(["import", "madf", file, "-o", str(out), "--licence", "other"]) == 0
    manifest = json.loads((out / MANIFEST).read_bytes())
    assert manifest["licence"] == "segment: MIT; inpaint: other"
    graph = manifest["inpaint"]["file"]
    weights = 4 * manifest["training"]["inpaint"]["values"]
    assert half < (out / graph).stat().st_size - 0.4 * weights
    beside = {"words.onnx", graph}
    assert set(manifest["files"]) == beside == {p.name for p in out.iterdir()} - {MANIFEST}
    assert main(["import", "madf", file, "-o", str(out), "--half"]) == 0
    assert {p.name for p in out.iterdir()} == {MANIFEST, "words.onnx", name}


@pytest.mark.slow
@pytest.mark.parametrize("moves", [0, 1])
def test_a_bundle_stays_usable_when_the_import_of_another_filler_dies(
    tensors: dict[str, Tensor],
    saved: Callable[[Any], Path],
    tmp_path: Path,
    make_rgb: Callable[..., Pixels],
    monkeypatch: pytest.MonkeyPatch,
    moves: int,
) -> None:
    """Before the file has moved in, and before the manifest names it."""
    out, hole = tmp_path / "mine", np.zeros((128, 128), bool)
    hole[40:70, 50:90] = True
    import_madf(saved(checkpoint(tensors)), out)
    before = unsay.inpaint(make_rgb(128, 128), hole, bundle=load_bundle(out))
    move, done = os.replace, []

    def dying(source: Any, target: Any) -> None:
        if Path(target).parent == out:
            if len(done) == moves:
                raise KeyError("power cut")
            done.append(target)
        move(source, target)

    monkeypatch.setattr(os, "replace", dying)
    other = {name: 2 * tensor if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    with pytest.raises(KeyError):
        import_madf(saved(checkpoint(other)), out)
    after = unsay.inpaint(make_rgb(128, 128), hole, bundle=Bundle(out, read_manifest(out / MANIFEST)))
    np.testing.assert_array_equal(after, before)
    assert not list(tmp_path.glob(".mine*"))


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has no name"),
        ('{"name": "x", "format": 1}', "must list every file"),
        ('{"name": "x", "format": 9, "files": {}}', "of format 9"),
    ],
)
def test_a_bundle_that_cannot_be_read_is_left_alone(
    tensors: dict[str, Tensor], saved: Callable[[Any], Path], tmp_path: Path, manifest: str, message: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / MANIFEST).write_text(manifest)
    with pytest.raises(BundleError, match=message):
        import_madf(saved(checkpoint(tensors)), tmp_path / "mine")
    assert [p.read_text() for p in (tmp_path / "mine").iterdir()] == [manifest]


@pytest.mark.slow
def test_exact_weights_that_were_damaged_are_refused(
    tensors: dict[str, Tensor], saved: Callable[[Any], Path], tmp_path: Path, make_rgb: Callable[..., Pixels]
) -> None:
    """The graph would take any numbers."""
    import_madf(saved(checkpoint(tensors)), tmp_path / "mine")
    (data,) = (tmp_path / "mine").glob("*.onnx")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    hole = np.zeros((128, 128), bool)
    hole[40:70, 50:90] = True
    with pytest.raises(BundleError, match=r"\.onnx has sha256 .*, its manifest says"):
        unsay.inpaint(make_rgb(128, 128), hole, bundle=tmp_path / "mine")


def changed(tensors: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deconv_3.0.bias": None}, "lacks deconv_3.0.bias"),
        ({"enc_up_4.0.weight": None}, "lacks enc_up_4.0.weight"),
        ({"filter_gen_1.conv.0.weight": None}, "lacks filter_gen_1.conv.0.weight"),
        (
            {"dec_ref1_2.deconv.weight": torch.zeros(8, 4, 3, 3)},
            r"dec_ref1_2.deconv.weight of shape \[8, 4, 3, 3\], exp",
        ),
        ({"dec_ref0_1.bias": torch.tensor([1.0, math.nan, 1.0])}, "numbers in dec_ref0_1.bias that are not finite"),
        ({"head.weight": torch.zeros(3)}, "unknown tensor head.weight"),
        ({"enc_conv_8.bn.weight": torch.zeros(3)}, "unknown tensor enc_conv_8.bn.weight"),
        ({"filter_gen_9.conv.0.weight": torch.zeros(16, 16, 3, 3)}, "levels is 9"),
        ({PREFIX + "enc_up_4.0.bias": torch.zeros(32)}, "holds enc_up_4.0.bias twice"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    changes: dict[str, Tensor | None], message: str, tensors: dict[str, Tensor], saved: Callable[[Any], Path]
) -> None:
    with pytest.raises(BadInput, match=message):
        load_published(saved(changed(tensors, **changes)))


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"a": 3}}, {"model": 3}, {"n_iter": 5}])
def test_files_without_weights_are_refused(content: Any, saved: Callable[[Any], Path]) -> None:
    with pytest.raises(BadInput, match=r"no weights|not a tensor"):
        load_published(saved(content))


class Trap:
    """What is pickled as a call that leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_file_that_would_run_something_is_refused_and_not_run(
    tensors: dict[str, Tensor], saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    mark = tmp_path / "was-run"
    file = saved({"model": tensors, "gen_optimizer": Trap(mark)})
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps({"model": Trap(mark)}, protocol=2))
    for path in (file, plain):
        with pytest.raises(BadInput, match="nothing in it was run"):
            import_madf(path, tmp_path / "out")
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_what_is_no_file_and_what_is_no_folder_for_it(
    tensors: dict[str, Tensor], saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(BadInput, match=r"text.pth"):
        load_published(tmp_path / "text.pth")
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        load_published(tmp_path / "none.pth")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.jpg").write_bytes(b"x")
    with pytest.raises(BadInput, match="no bundle"):
        import_madf(saved(tensors), tmp_path / "photos")
    with pytest.raises(BadInput, match="a side of 64 pixels; this network needs at least 128"):
        import_madf(saved(tensors), tmp_path / "new", max_side=64)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_published_size_imports_and_fills(tmp_path: Path, make_rgb: Callable[..., Pixels]) -> None:
    torch.save(checkpoint(random_tensors(1.0)), tmp_path / "MADF.pth")
    published = import_madf(tmp_path / "MADF.pth", tmp_path / "mine", half=True)
    assert published.network.config == MADFConfig()
    rgb, hole = make_rgb(200, 260), np.zeros((200, 260), bool)
    hole[60:120, 90:150] = True
    filled = unsay.inpaint(rgb, hole, bundle=load_bundle(tmp_path / "mine", threads=1))
    np.testing.assert_array_equal(filled[~hole], rgb[~hole])
    assert (filled[hole] != rgb[hole]).any()
