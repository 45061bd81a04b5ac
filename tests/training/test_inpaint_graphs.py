"""The graph that users run is the network, in every box and at every size, and does less work for a small hole."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from madf_literal import lively_network
from torch.utils.flop_counter import FlopCounterMode

from unsay.models.madf import MADF, MADFConfig
from unsay.training.inpaint_graphs import LocalMADF, local_graph, write_graph

Box = tuple[int, int, int, int]


def inputs(height: int, width: int, box: Box, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """An image, a mask with an irregular hole in `box`, and the box as the graph takes it."""
    y0, x0, y1, x1 = box
    mask = torch.ones(1, 1, height, width, dtype=dtype)
    mask[..., y0:y1, x0:x1] = (torch.rand(y1 - y0, x1 - x0) > 0.8).to(dtype)
    mask[..., y0, x0] = mask[..., y1 - 1, x1 - 1] = 0
    return torch.randn(1, 3, height, width, dtype=dtype), mask, torch.tensor(box)


def feed(given: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in zip(("image", "mask", "box"), given, strict=True)}


def whole(network: MADF, image: torch.Tensor, mask: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    y0, x0, y1, x1 = box.tolist()
    return network(image, mask)[-1][..., y0:y1, x0:x1]


@pytest.mark.parametrize(("levels", "refinements"), [(5, 0), (5, 1), (5, 2), (6, 2), (7, 1)])
def test_every_box_holds_what_the_network_puts_there(levels, refinements):
    torch.manual_seed(levels + refinements)
    network = lively_network(MADFConfig(width=0.04, levels=levels, refinements=refinements)).double()
    local, (height, width) = LocalMADF(network), (2 * 2**levels, 2**levels)
    random = np.random.default_rng(levels)
    boxes = [(0, 0, height, width), (0, 0, 5, 3), (height - 1, width - 1, height, width), (7, 0, 9, width)]
    for _ in range(4):
        (y0, y1), (x0, x1) = (sorted(random.choice(side + 1, 2, replace=False)) for side in (height, width))
        boxes.append((y0, x0, y1, x1))
    for box in boxes:
        given = inputs(height, width, box)
        torch.testing.assert_close(local(*given), whole(network, *given), rtol=1e-10, atol=1e-10)


def test_holes_outside_the_box_are_seen():
    """What is wanted and what is missing need not be the same: padding is missing and not wanted."""
    network = lively_network(MADFConfig(width=0.04, levels=5, refinements=1)).double()
    image, mask, box = inputs(96, 96, (30, 40, 60, 70))
    mask[..., 80:], mask[..., :3, :] = 0, 0
    torch.testing.assert_close(LocalMADF(network)(image, mask, box), whole(network, image, mask, box))


def test_a_mask_without_a_hole_is_no_special_case():
    network = lively_network(MADFConfig(width=0.04, levels=5, refinements=1)).double()
    image, box = torch.randn(1, 3, 64, 64).double(), torch.tensor([10, 20, 40, 50])
    mask = torch.ones(1, 1, 64, 64).double()
    torch.testing.assert_close(LocalMADF(network)(image, mask, box), whole(network, image, mask, box))


@pytest.fixture(scope="module")
def exported() -> tuple[MADF, onnx.ModelProto]:
    network = lively_network(MADFConfig(width=0.04, levels=5, refinements=2))
    return network, local_graph(network)


def test_the_exported_graph_runs_every_size_and_box(exported):
    network, model = exported
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for height, width, box in [(64, 64, (20, 30, 40, 50)), (96, 256, (0, 0, 96, 256)), (192, 32, (100, 3, 192, 4))]:
        given = inputs(height, width, box, torch.float32)
        (fill,) = session.run(["fill"], feed(given))
        np.testing.assert_allclose(fill, whole(network, *given).detach().numpy(), atol=1e-4)


def test_the_graph_has_none_of_what_the_runtime_does_badly(exported):
    kinds = {node.op_type for node in exported[1].graph.node}
    assert not kinds & {"ConvTranspose", "ReduceSum", "BatchNormalization"}


def test_a_file_keeps_fp32_weights_beside_it_or_fp16_weights_inside(exported, tmp_path):
    """The first is exact and opens in less memory, the second is half the size."""
    network, model = exported
    given = inputs(64, 64, (20, 30, 40, 50), torch.float32)
    wanted = whole(network, *given).detach().numpy()
    for name, half, tolerance in (("exact.onnx", False, 1e-4), ("small.onnx", True, 0.05)):
        written = write_graph(copy.deepcopy(model), tmp_path / name, half=half)
        session = onnxruntime.InferenceSession(tmp_path / name)
        np.testing.assert_allclose(session.run(None, feed(given))[0], wanted, atol=tolerance)
        assert written == [name] + [name + ".data"] * (not half)
        assert all((tmp_path / file).exists() for file in written)


def test_a_small_hole_costs_a_fraction_of_a_large_one():
    network = lively_network(MADFConfig(width=0.1, levels=5, refinements=2))
    local, work = LocalMADF(network), []
    for box in ((0, 0, 256, 256), (120, 120, 150, 150)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            local(*inputs(256, 256, box, torch.float32))
        work.append(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs(256, 256, (0, 0, 256, 256), torch.float32)[:2])
    assert work[0] < 1.02 * counter.get_total_flops()
    assert work[1] < 0.3 * work[0]
