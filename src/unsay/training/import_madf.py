"""`unsay import madf`: the checkpoint that MADF's authors published -> the inpaint part of a bundle.

The file is a dictionary `n_iter`, `model`, `gen_optimizer`; the tensors under `model` go by the names of
`MADF.state_dict()` behind the prefix `module.model.`, beside the training's VGG under `module.extractor.`. It is read
by torch's restricted unpickler, so nothing in it is executed. Names without the prefix are taken as well, and so is a
plain dictionary of tensors. The network's width, levels and refinements are read off the shapes.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unsay.errors import BadInput
from unsay.models.madf import LIFTED, MADF, MADFConfig
from unsay.training.filler_import import content_name, place_filler
from unsay.training.inpaint_export import export_network, madf_section

PREFIX = "module.model."
UNUSED = re.compile(
    r"(module\.)?extractor\..+|enc_conv_[1-7]\.bn\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)
"""Tensors of the published file that the network does not use: the training's VGG, a batch-norm of the encoder."""
TRAINED_SIDE = 512
"""The published network's training crops; no larger side is known to be filled better."""


@dataclass(frozen=True)
class Published:
    """A network with published weights, in evaluation mode, and the names of the file's tensors it does not use."""

    network: MADF
    unused: tuple[str, ...]


def import_madf(
    file: Path, out: Path, *, licence: str = "unknown", half: bool = False, max_side: int = TRAINED_SIDE
) -> Published:
    """Make the checkpoint `file` the inpaint part of the bundle `out`; a segment part that is there stays.

    `half`: weights stored as fp16, run as fp32. `max_side`: the largest side at which the network is used. Raises
    `BadInput` for a file that is no such checkpoint, naming the tensor, and for a folder that is no bundle.
    """
    published = load_published(file)
    network = published.network
    if max_side < 2**network.config.levels:
        raise BadInput(f"a side of {max_side} pixels; this network needs at least {2**network.config.levels}")
    learned = {
        "method": "MADF (Zhu et al. 2021), imported weights",
        "values": sum(p.numel() for p in network.parameters()),
        "storage": "fp16" if half else "fp32",
        "unused": list(published.unused),
        "data": "that of the imported weights",
    }
    place_filler(
        out,
        content_name(file, half=half),
        partial(export_network, network, half=half),
        partial(madf_section, network, max_side),
        licence=licence,
        learned=learned,
    )
    return published


def load_published(file: Path) -> Published:
    """The network of a published checkpoint. Raises `BadInput`, naming the tensor, for anything that does not fit."""
    found = read_tensors(file)
    unused = tuple(sorted(name for name in found if UNUSED.fullmatch(name)))
    used = {name: tensor for name, tensor in found.items() if name not in unused}
    config = config_of(used, file)
    with torch.device("meta"):
        network = MADF(config)
    expected = network.state_dict()
    _check(used, expected, file)
    network.load_state_dict({name: used[name].to(like.dtype) for name, like in expected.items()}, assign=True)
    return Published(network.eval(), unused)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names without the prefix. Raises `BadInput`."""
    content = _loaded(file)
    stored = content
    if isinstance(content, Mapping):
        stored = content.get("model", content.get("state_dict", content))
    if not isinstance(stored, Mapping) or not stored:
        raise BadInput(
            f"{file} holds no weights: expected a dictionary of tensors, under 'model', 'state_dict' or as it is"
        )
    tensors: dict[str, Tensor] = {}
    for stated, tensor in stored.items():
        name = str(stated).removeprefix(PREFIX)
        if not isinstance(tensor, Tensor):
            raise BadInput(
                f"{file}: {stated} is a {type(tensor).__name__}, not a tensor: expected MADF's weights alone"
            )
        if name in tensors:
            raise BadInput(f"{file} holds {name} twice, with and without {PREFIX}: keep one")
        tensors[name] = tensor
    return tensors


def config_of(tensors: Mapping[str, Tensor], file: Path) -> MADFConfig:
    """The configuration that the tensors' names and shapes tell. Raises `BadInput` where they tell none."""
    first, lift = "filter_gen_1.conv.0.weight", "enc_up_4.0.weight"
    for name in (first, lift):
        if name not in tensors or tensors[name].ndim != 4:
            raise BadInput(f"{file} lacks {name} [C_out, C_in, k, k]: these are not MADF's weights")
    levels = {int(m.group(1)) for name in tensors if (m := re.match(r"filter_gen_(\d+)\.", name))}
    return MADFConfig(
        width=tensors[lift].shape[0] / LIFTED[3],
        levels=max(levels),
        refinements=sum(f"dec_ref{r}_1.weight" in tensors for r in range(2)),
        mask_channels=tensors[first].shape[0],
    )


def _loaded(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{file} holds more than tensors and plain values, or is no checkpoint, and was not opened further "
            "(nothing in it was run): save its state_dict() alone"
        ) from error
    except Exception as error:  # torch raises whatever a damaged file's bytes provoke
        raise BadInput(f"{file} is not a checkpoint that torch reads: {error}".split("\n")[0]) from error


def _check(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: Path) -> None:
    """Every tensor is there, known, of its shape and finite."""
    problems = [f"lacks {name}" for name in expected if name not in found]
    problems += [f"holds the unknown tensor {name}" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        shape, wanted = list(found[name].shape), list(expected[name].shape)
        if shape != wanted:
            problems.append(f"has {name} of shape {shape}, expected {wanted}")
        elif not bool(found[name].isfinite().all()):
            problems.append(f"has numbers in {name} that are not finite")
    if problems:
        others = f" ({len(problems) - 1} more tensors do not fit)" if len(problems) > 1 else ""
        raise BadInput(f"{file} {problems[0]}{others}: these are not the weights of a MADF of its width and levels")
