"""A trained inpainting network -> the inpaint half of a bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from unsay.errors import BadInput
from unsay.models.madf import MADF, MADFConfig
from unsay.models.madf_local import LocalMADF
from unsay.training.bundling import write_part
from unsay.training.config import config_from
from unsay.training.inpaint import averaged_weights
from unsay.training.inpaint_config import InpaintConfig
from unsay.training.inpaint_data import MEAN, STD
from unsay.training.segment_export import halve_weights, quantise_weights, save, simplified, to_onnx

FILE = "filler.onnx"
MAX_SIDE = 256


def load_network(checkpoint: Path, config: MADFConfig) -> MADF:
    """The averaged network of a training checkpoint, in evaluation mode."""
    network = MADF(config)
    network.load_state_dict(averaged_weights(checkpoint))
    return network.eval()


def export_network(network: MADF, path: Path, *, half: bool = True, int8: bool = False) -> list[str]:
    """Write `network` as one ONNX graph (`LocalMADF`) with free height and width; returns the names of the files.

    ONNX inputs: `image` float32 [1, 3, H, W], `mask` float32 [1, 1, H, W], 1 = keep, H and W multiples of 2**levels,
    and `box` int64 [4] = (y0, x0, y1, x1); output: `fill` float32 [1, 3, y1 - y0, x1 - x0]. All run as fp32. Weights
    lie in the file as fp16 with `half`, half the size, or with `int8` as int8 with a scale an output channel, a quarter
    (batch norms that no convolution took in stay fp32); without both as fp32, exact. All lie in that one file: a
    graph that reads others is not opened.
    """
    model = local_graph(network)
    scratch = path.with_suffix(".part")
    if half or int8:
        model = quantise_weights(model) if int8 else halve_weights(model)
    save(model, scratch)
    os.replace(scratch, path)
    return [path.name]


def local_graph(network: MADF) -> onnx.ModelProto:
    """`network` as the ONNX graph of `export_network`, in memory.

    Thousands of small operators work out the regions; simplified, it opens in a third of the time.
    """
    side, axes = 2**network.config.levels, {2: "height", 3: "width"}
    traced = to_onnx(
        LocalMADF(network),
        (torch.zeros(1, 3, side, 2 * side), torch.ones(1, 1, side, 2 * side), torch.tensor([8, 8, 24, 40])),
        ["image", "mask", "box"],
        ["fill"],
        {"image": axes, "mask": axes, "fill": {2: "rows", 3: "columns"}},
    )
    return simplified(traced)


def madf_section(network: MADF, max_side: int, files: Sequence[str] = (FILE,)) -> dict[str, Any]:
    """What the manifest says of `network`, exported to `files`, under `inpaint`; see `unsay.inpainting.recipe`."""
    multiple = 2**network.config.levels
    inputs = {name: [name] for name in ("image", "mask", "box")}
    sides = {"multiple": multiple, "max_side": max_side}
    colours = {"mean": list(MEAN), "std": list(STD)}
    rim = not network.config.membrane  # which carries the rim's colours by itself
    return {"file": files[0], **sides, **colours, "mask": "keep", "inputs": inputs, "match_rim": rim}


def export_inpaint(
    checkpoint: Path,
    folder: Path,
    *,
    max_side: int | None = None,
    int8: bool = True,
    notes: dict[str, Any] | None = None,
) -> Path:
    """Export a training checkpoint as the inpaint half of the bundle in `folder`; returns the folder.

    `max_side`: the largest side at which the network is used (default: 256, or the training crop if that is larger; on
    composed train scenes networks of 128- and 256-pixel crops filled better at 256 than at 512). `int8`: how weights
    are stored, see `export_network`; fp16 without. `notes` is added to the manifest's `training` entry. Raises
    `BadInput` for a checkpoint of another kind.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state.get("kind") != "inpaint":
        raise BadInput(f"{checkpoint} is a checkpoint of kind {state.get('kind')!r}; expected 'inpaint'")
    config = config_from(state["config"], InpaintConfig, str(checkpoint))
    folder.mkdir(parents=True, exist_ok=True)
    network = load_network(checkpoint, config.network)
    files = export_network(network, folder / FILE, int8=int8)
    section = madf_section(network, max_side or max(MAX_SIDE, config.crop), files)
    learned = {
        "method": "MADF (Zhu et al. 2021)",
        "values": sum(p.numel() for p in network.parameters()),
        "steps": int(state["global_step"]),
        "crop": config.crop,
        "batch": config.batch,
        "folders": [Path(f).parent.name + "/" + Path(f).name for f in config.folders],
        "seed": config.seed,
    }
    if config.init_from:
        learned["begun from"] = config.init_from
    write_part(folder, "inpaint", section, files=files, training={"inpaint": learned | (notes or {})})
    return folder
