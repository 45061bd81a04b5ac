"""A trained inpainting network as ONNX, and as its half of a bundle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch

from unsay.models.madf import MADF, MADFConfig
from unsay.training.inpaint import train_inpaint
from unsay.training.inpaint_config import InpaintConfig
from unsay.training.inpaint_export import Filler, export_inpaint, export_network
from unsay.training.segment_export import round_half

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
TINY = MADFConfig(width=0.05, levels=5, refinements=1)
Tiny = Callable[..., InpaintConfig]


@pytest.mark.parametrize("hole", ["none", "all", "some"])
@pytest.mark.parametrize("size", [(32, 32), (64, 160), (96, 32)])
def test_onnx_runtime_equals_torch(tmp_path, size, hole):
    torch.manual_seed(3)
    network = MADF(TINY)
    for _ in range(2):  # realistic batch-norm statistics
        network(torch.randn(4, 3, 64, 64), (torch.rand(4, 1, 64, 64) > 0.3).float())
    network.eval()
    export_network(network, tmp_path / "filler.onnx")
    filler = Filler(network)
    round_half(filler)  # the file stores large weights as fp16
    image = torch.randn(1, 3, *size)
    mask = {"none": torch.ones(1, 1, *size), "all": torch.zeros(1, 1, *size)}.get(
        hole, (torch.rand(1, 1, *size) > 0.4).float()
    )
    with torch.inference_mode():
        expected = filler(image, mask).numpy()
        unfolded = network(image, mask)[-1].numpy()
    session = onnxruntime.InferenceSession(tmp_path / "filler.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": image.numpy(), "mask": mask.numpy()})[0]
    assert np.abs(found - expected).max() < 1e-5 * max(1, np.abs(expected).max())
    assert np.abs(unfolded - expected).max() < 5e-3 * max(1, np.abs(expected).max())


def test_a_checkpoint_exports_without_its_configuration_file(tiny: Tiny, tmp_path):
    checkpoint = train_inpaint(tiny(tmp_path / "run"))
    folder = export_inpaint(checkpoint, tmp_path / "bundle")
    from unsay.bundle import load_bundle

    bundle = load_bundle(folder)
    assert bundle.section("inpaint")["multiple"] == 32
    assert bundle.manifest["training"]["inpaint"]["steps"] == 6
    assert [i.name for i in bundle.session("filler.onnx").get_inputs()] == ["image", "mask"]
