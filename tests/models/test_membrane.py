"""The smooth first guess inside the network is the membrane that the running half matches rims with."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from unsay.evaluation.peers import RIM_ALONE
from unsay.models.madf import MADF, MADFConfig
from unsay.models.membrane import guess
from unsay.results import Mask, Pixels


def holes(height: int, width: int) -> Mask:
    """A blob inside, a stroke across, a corner."""
    drawn = np.zeros((height, width), np.uint8)
    cv2.ellipse(drawn, (width // 2, height // 2), (width // 5, height // 6), 20, 0, 360, 1, -1)
    cv2.line(drawn, (0, height // 4), (width - 1, 3), 1, 5)
    drawn[-9:, -20:] = 1
    return drawn.astype(bool)


def as_tensors(rgb: Pixels, hole: Mask) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].double(), torch.from_numpy(~hole)[None, None].double()


@pytest.mark.parametrize("size", [(64, 96), (150, 31), (33, 257)])
def test_it_is_the_rims_membrane(make_rgb: Callable[..., Pixels], size: tuple[int, int]) -> None:
    rgb, hole = make_rgb(*size), holes(*size)
    image, mask = as_tensors(rgb, hole)
    found = guess(image, mask)[0].permute(1, 2, 0).round().clamp(0, 255).numpy()
    np.testing.assert_array_equal(found[~hole], rgb[~hole])
    differ = np.abs(found - RIM_ALONE.fill(rgb, hole)) > 1
    assert differ.mean() < 1e-3, "but for how colours are averaged at the photo's border"
    assert not differ[3:-3, 3:-3].any()


def test_what_is_under_the_hole_is_not_seen(make_rgb: Callable[..., Pixels]) -> None:
    rgb, hole = make_rgb(64, 96), holes(64, 96)
    spoiled = np.where(hole[..., None], 255 - rgb, rgb).astype(np.uint8)
    assert torch.equal(guess(*as_tensors(rgb, hole)), guess(*as_tensors(spoiled, hole)))


@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_nothing_missing_and_everything_missing_are_no_errors(missing: float) -> None:
    image, mask = torch.rand(2, 3, 32, 32), torch.full((2, 1, 32, 32), 1 - missing)
    assert torch.equal(guess(image, mask), image * mask)


def test_the_network_is_given_it() -> None:
    torch.manual_seed(0)
    network = MADF(MADFConfig(width=0.05, levels=5, refinements=1, membrane=True)).eval()
    plain = MADF(MADFConfig(width=0.05, levels=5, refinements=1)).eval()
    plain.load_state_dict(network.state_dict())
    image, mask = torch.randn(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    mask[..., 20:40, 10:50] = 0
    seen: list[Tensor] = []
    network.filter_gen_1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        assert not torch.allclose(network(image, mask)[-1], plain(image, mask)[-1], atol=1e-3)
    assert torch.equal(seen[0][:, :3], guess(image, mask))
