"""A trained inpainting network -> the inpaint half of a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.madf import MADF, MADFConfig
from unsay.models.madf_folds import fold
from unsay.training.bundling import write_part
from unsay.training.config import config_from
from unsay.training.inpaint import MEAN, STD, InpaintConfig, averaged_weights
from unsay.training.segment_export import halve_weights, save, to_onnx

FILE = "filler.onnx"


class Filler(nn.Module):
    """The network as a bundle holds it: (image, mask) -> the last output, all folded (see `madf_folds.fold`)."""

    def __init__(self, network: MADF) -> None:
        super().__init__()
        self.network = fold(network)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """image [B, 3, H, W] normalised, mask [B, 1, H, W] 1 = keep -> fill [B, 3, H, W], normalised."""
        outputs: list[Tensor] = self.network(image, mask)
        return outputs[-1]


def load_network(checkpoint: Path, config: MADFConfig) -> MADF:
    """The averaged network of a training checkpoint, in evaluation mode."""
    network = MADF(config)
    network.load_state_dict(averaged_weights(checkpoint))
    return network.eval()


def export_network(network: MADF, path: Path, *, half: bool = True) -> None:
    """Write `network` as one ONNX file with free height and width; with `half`, weights stored as fp16, run as fp32.

    ONNX inputs: `image` float32 [1, 3, H, W] and `mask` float32 [1, 1, H, W], 1 = keep; output `fill` [1, 3, H, W].
    """
    side = 2**network.config.levels
    axes = {2: "height", 3: "width"}
    model = to_onnx(
        Filler(network),
        (torch.zeros(1, 3, side, 2 * side), torch.ones(1, 1, side, 2 * side)),
        ["image", "mask"],
        ["fill"],
        {"image": axes, "mask": axes, "fill": axes},
    )
    scratch = path.with_suffix(".part")
    save(halve_weights(model) if half else model, scratch)
    os.replace(scratch, path)


def madf_section(network: MADF, max_side: int) -> dict[str, Any]:
    """What the manifest says of an exported `network` under `inpaint`; see `unsay.inpainting.recipe`."""
    multiple = 2**network.config.levels
    settings = {"mean": list(MEAN), "std": list(STD), "mask": "keep"}
    return {"file": FILE, "multiple": multiple, "max_side": max_side, **settings}


def export_inpaint(
    checkpoint: Path, folder: Path, *, max_side: int | None = None, notes: dict[str, Any] | None = None
) -> Path:
    """Export a training checkpoint as the inpaint half of the bundle in `folder`; returns the folder.

    `max_side`: the largest side at which the network is used (default: two training crops; on composed train scenes a
    network of 128-pixel crops filled better at 256 than at 512). `notes` is added to the manifest's `training`
    entry. Raises `BadInput` for a checkpoint of another kind.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state.get("kind") != "inpaint":
        raise BadInput(f"{checkpoint} is a checkpoint of kind {state.get('kind')!r}; expected 'inpaint'")
    config = config_from(state["config"], InpaintConfig, str(checkpoint))
    folder.mkdir(parents=True, exist_ok=True)
    network = load_network(checkpoint, config.network)
    export_network(network, folder / FILE)
    section = madf_section(network, max_side or 2 * config.crop)
    learned = {
        "method": "MADF (Zhu et al. 2021)",
        "values": sum(p.numel() for p in network.parameters()),
        "steps": int(state["global_step"]),
        "crop": config.crop,
        "batch": config.batch,
        "folders": [Path(f).parent.name + "/" + Path(f).name for f in config.folders],
        "seed": config.seed,
    }
    write_part(folder, "inpaint", section, files=[FILE], training={"inpaint": learned | (notes or {})})
    return folder
