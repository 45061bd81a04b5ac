"""A trained inpainting network as ONNX, and as its half of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from madf_literal import lively_network
from unsay.models.madf import MADF, MADFConfig
from unsay.training import inpaint_export
from unsay.training.inpaint import train_inpaint
from unsay.training.inpaint_config import InpaintConfig
from unsay.training.inpaint_export import export_inpaint, export_network

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
TINY = MADFConfig(width=0.05, levels=5, refinements=1)
Tiny = Callable[..., InpaintConfig]


@pytest.fixture(scope="module")
def network() -> MADF:
    torch.manual_seed(3)
    return lively_network(TINY)


@pytest.fixture(scope="module")
def file(network: MADF, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exact: weights as fp32."""
    path = tmp_path_factory.mktemp("exact") / "filler.onnx"
    assert export_network(network, path, half=False) == ["filler.onnx"]
    return path


def weights_of(network: MADF) -> int:
    """Bytes of its weights in fp32."""
    return 4 * sum(p.numel() for p in network.parameters())


def expected(network: MADF, feed: dict[str, np.ndarray]) -> np.ndarray:
    y0, x0, y1, x1 = feed["box"]
    with torch.inference_mode():
        whole = network(torch.from_numpy(feed["image"]), torch.from_numpy(feed["mask"]))[-1]
    return whole[..., y0:y1, x0:x1].numpy()


def given(size: tuple[int, int], box: tuple[int, int, int, int], hole: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    mask = {"none": np.ones(size), "all": np.zeros(size)}.get(hole, (rng.random(size) > 0.4).astype(float))
    image = rng.standard_normal((1, 3, *size), np.float32)
    return {"image": image, "mask": mask[None, None].astype(np.float32), "box": np.array(box)}


@pytest.mark.slow
def test_the_graph_is_simplified_and_gives_the_same(network: MADF, monkeypatch: pytest.MonkeyPatch) -> None:
    simple = inpaint_export.local_graph(network)
    monkeypatch.setattr(inpaint_export, "simplified", lambda model: model)
    traced = inpaint_export.local_graph(network)
    assert len(simple.graph.node) < len(traced.graph.node) / 2
    assert {entry.domain for entry in simple.opset_import} == {""}
    feed = given((64, 96), (10, 20, 40, 70), "some")
    fills = [
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for model in (simple, traced)
    ]
    np.testing.assert_allclose(fills[0], fills[1], atol=1e-6)


@pytest.mark.parametrize("hole", ["none", "all", "some"])
@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((32, 32), (0, 0, 32, 32)),
        ((64, 160), (20, 30, 40, 50)),
        ((96, 32), (95, 3, 96, 4)),
        ((256, 64), (3, 0, 250, 64)),
    ],
)
def test_one_graph_runs_every_size_and_box_as_torch_does(network, file, size, box, hole):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    feed = given(size, box, hole)
    wanted = expected(network, feed)
    np.testing.assert_allclose(session.run(None, feed)[0], wanted, atol=2e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.slow
def test_the_membrane_is_part_of_the_graph(tmp_path):
    network = lively_network(replace(TINY, membrane=True))
    export_network(network, tmp_path / "filler.onnx", half=False)
    session = onnxruntime.InferenceSession(tmp_path / "filler.onnx")
    for size, box in (((32, 32), (0, 0, 32, 32)), ((64, 352), (20, 30, 40, 250))):
        feed = given(size, box, "some")
        wanted = expected(network, feed)
        np.testing.assert_allclose(session.run(None, feed)[0], wanted, atol=2e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.slow
def test_half_the_size_costs_rounding_alone(network, file, tmp_path):
    assert export_network(network, tmp_path / "filler.onnx") == ["filler.onnx"]
    small = onnxruntime.InferenceSession(tmp_path / "filler.onnx")
    feed = given((64, 64), (20, 30, 40, 50), "some")
    wanted = expected(network, feed)
    miss = np.abs(small.run(None, feed)[0] - wanted).max()
    assert 0 < miss < 5e-3 * np.abs(wanted).max()
    assert (tmp_path / "filler.onnx").stat().st_size < file.stat().st_size - 0.4 * weights_of(network)


@pytest.mark.slow
def test_int8_is_a_quarter_and_near(network, file, tmp_path):
    assert export_network(network, tmp_path / "filler.onnx", int8=True) == ["filler.onnx"]
    small = onnxruntime.InferenceSession(tmp_path / "filler.onnx")
    feed = given((64, 64), (20, 30, 40, 50), "some")
    wanted = expected(network, feed)
    miss = np.linalg.norm(small.run(None, feed)[0] - wanted)
    assert 0 < miss < 0.05 * np.linalg.norm(wanted)
    assert (tmp_path / "filler.onnx").stat().st_size < file.stat().st_size - 0.4 * weights_of(network)


def test_the_graph_has_none_of_what_the_runtime_does_badly(file):
    kinds = {node.op_type for node in onnx.load(file).graph.node}
    assert not kinds & {"ConvTranspose", "ReduceSum", "BatchNormalization"}


@pytest.mark.slow
def test_a_checkpoint_exports_without_its_configuration_file(tiny: Tiny, tmp_path):
    checkpoint = train_inpaint(tiny(tmp_path / "run"))
    folder = export_inpaint(checkpoint, tmp_path / "bundle")
    from unsay.bundle import load_bundle

    bundle = load_bundle(folder)
    assert bundle.section("inpaint")["multiple"] == 32
    assert bundle.manifest["training"]["inpaint"]["steps"] == 6
    assert [i.name for i in bundle.session("filler.onnx").get_inputs()] == ["image", "mask", "box"]
