"""LPIPS and FID: measures by frozen networks, where these are installed and their weights lie on this machine.

Nothing is downloaded. The packages keep weights in torch's hub folder (`torch.hub.get_dir()`, usually
~/.cache/torch/hub) under `checkpoints`; a file that is missing there is named, and its measure left out.
Legend: C channels of a map, D numbers that describe a photo, N photos.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.evaluation.absent import Absent, import_optional
from unsay.results import Pixels

Float = npt.NDArray[np.float64]
ALEXNET = "alexnet-owt-7be5be79.pth"
"""File of the trunk of LPIPS, as torchvision names it."""
INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
"""File of FID's network, as pytorch-fid names it."""
LEAST = 64
"""Pixels a side below which AlexNet has no last map."""
EPS = 1e-10
"""Added to lengths, as in the authors' code."""


@dataclass(frozen=True)
class LpipsNetwork:
    """What LPIPS needs: `maps(photo [H, W, 3] uint8)` gives feature maps [C, h, w]; `weights` one [C] for each."""

    settings: str
    maps: Callable[[Pixels], list[Float]]
    weights: tuple[Float, ...]


@dataclass(frozen=True)
class FidNetwork:
    """What FID needs: `describe(photo [H, W, 3] uint8)` gives [D] numbers."""

    settings: str
    describe: Callable[[Pixels], Float]


@dataclass(frozen=True)
class DeepNetworks:
    """The networks of the measures that can be taken; None: that one is left out."""

    lpips: LpipsNetwork | None = None
    fid: FidNetwork | None = None

    def see(self, rgb: Pixels) -> Seen:
        """What they say of a photo [H, W, 3] uint8."""
        return Seen(self.lpips.maps(rgb) if self.lpips else None, self.fid.describe(rgb) if self.fid else None)

    def distance(self, ours: Seen, theirs: Seen) -> float | None:
        """LPIPS of two photos, or None without its network."""
        if self.lpips is None or ours.maps is None or theirs.maps is None:
            return None
        return lpips_distance(self.lpips, ours.maps, theirs.maps)


@dataclass(frozen=True, eq=False)
class Seen:
    """What the networks say of one photo: maps for LPIPS, [D] numbers for FID."""

    maps: list[Float] | None = None
    described: Float | None = None


def open_networks() -> tuple[DeepNetworks, list[Absent]]:
    """The networks that are installed, and why the others are left out."""
    lpips, fid = open_lpips(), open_fid()
    networks = DeepNetworks(
        lpips if isinstance(lpips, LpipsNetwork) else None, fid if isinstance(fid, FidNetwork) else None
    )
    return networks, [one for one in (lpips, fid) if isinstance(one, Absent)]


def lpips_distance(network: LpipsNetwork, ours: list[Float], theirs: list[Float]) -> float:
    """Learned perceptual distance (Zhang et al. 2018, equation 1) of two photos' maps; 0 = alike, lower is better.

    Sum over the maps of the mean over points of |w * (a / |a| - b / |b|)|^2, with w^2 the package's weights.
    """
    total = 0.0
    for a, b, weights in zip(ours, theirs, network.weights, strict=True):
        difference = _unit(a) - _unit(b)
        total += float((weights[:, None, None] * np.square(difference)).sum(0).mean())
    return total


def frechet_distance(ours: Float, theirs: Float) -> float:
    """Distance of two Gaussians fitted to rows [N, D] and [M, D] (Heusel et al. 2017); NaN with fewer than two rows.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). With S = A^T A for the centred rows A, the eigenvalues of
    (S1 S2)^(1/2) are the singular values of A1 A2^T, an [N, M] matrix: no root of a singular [D, D] matrix is needed.
    """
    if min(len(ours), len(theirs)) < 2:
        return float("nan")
    means = [rows.mean(0) for rows in (ours, theirs)]
    a, b = ((rows - m) / np.sqrt(len(rows) - 1) for rows, m in zip((ours, theirs), means, strict=True))
    shared = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    between = float(np.square(means[0] - means[1]).sum())
    return max(0.0, between + float(np.square(a).sum() + np.square(b).sum()) - 2 * shared)


def open_lpips() -> LpipsNetwork | Absent:
    """LPIPS with AlexNet by the package `lpips`, version 0.1 of its weights; or why it is left out."""
    module = import_optional("LPIPS", "lpips", "lpips")
    if isinstance(module, Absent):
        return module
    model = _with_weights("LPIPS", ALEXNET, lambda: module.LPIPS(net="alex", verbose=False).eval())
    if isinstance(model, Absent):
        return model

    def maps(rgb: Pixels) -> list[Float]:
        if min(rgb.shape[:2]) < LEAST:
            raise BadInput(f"LPIPS needs at least {LEAST}x{LEAST} pixels, not {rgb.shape[1]}x{rgb.shape[0]}")
        scaled = model.scaling_layer(_tensor(rgb) * 2 - 1)
        return [np.asarray(m[0].numpy(), np.float64) for m in model.net(scaled)]

    weights = [np.asarray(lin.model[-1].weight.detach().flatten().numpy(), np.float64) for lin in model.lins]
    return LpipsNetwork(f"lpips {version('lpips')}, AlexNet", _without_gradient(maps), tuple(weights))


def open_fid() -> FidNetwork | Absent:
    """FID's Inception by the package `pytorch-fid`, its last pooling (D = 2048); or why it is left out."""
    module = import_optional("FID", "pytorch_fid.inception", "pytorch-fid")
    if isinstance(module, Absent):
        return module
    blocks = [module.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]
    model = _with_weights("FID", INCEPTION, lambda: module.InceptionV3(blocks).eval())
    if isinstance(model, Absent):
        return model

    def describe(rgb: Pixels) -> Float:
        return np.asarray(model(_tensor(rgb))[0].flatten().numpy(), np.float64)

    return FidNetwork(f"pytorch-fid {version('pytorch-fid')}, 2048 numbers", _without_gradient(describe))


def _unit(maps: Float) -> Float:
    """[C, h, w] scaled so that every point has length 1 over the channels."""
    return np.asarray(maps / (np.sqrt(np.square(maps).sum(0)) + EPS), np.float64)


def _with_weights(name: str, file: str, build: Callable[[], Any]) -> Any:
    """What `build` makes where the weights lie in torch's hub folder, so that it downloads nothing; else `Absent`."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        return Absent(name, f"its weights are not on this machine: put {file} into {path.parent}")
    try:
        return build()
    except Exception as error:  # torch raises whatever a broken file's bytes provoke
        return Absent(name, f"{path} cannot be read ({str(error).partition(chr(10))[0]}): replace it")


def _tensor(rgb: Pixels) -> Any:
    """[H, W, 3] uint8 -> a torch tensor [1, 3, H, W] in 0..1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float() / 255


def _without_gradient(work: Callable[[Pixels], Any]) -> Callable[[Pixels], Any]:
    import torch

    return torch.no_grad()(work)
