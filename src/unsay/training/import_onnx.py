"""`unsay import onnx`: any network (image, mask) -> image in ONNX -> the inpaint part of a bundle.

The file is copied as it is; how pixels enter and leave it is written into the manifest (`unsay.inpainting.recipe`).
What is not said is read off the graph (names, channels, a fixed size), else it is the most common way: colours and
output in 0..1, mask 1 in the hole.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import uses_external_data

from unsay.errors import BadInput
from unsay.inpainting.recipe import COLOURS, LAYOUTS, MASKS, PADS, PARTS
from unsay.training.filler_import import content_name, place_filler
from unsay.training.inpaint_data import MEAN, STD

RANGES: dict[str, tuple[list[float], list[float]]] = {
    "0..1": ([0.0] * 3, [1.0] * 3),
    "0..255": ([0.0] * 3, [1 / 255] * 3),
    "-1..1": ([0.5] * 3, [0.5] * 3),
    "imagenet": (list(MEAN), list(STD)),
}
"""Ranges of pixel values: mean and deviation of colours in 0..1."""
PRESETS: dict[str, dict[str, Any]] = {
    "lama": {"range": "0..1", "output_range": "0..255", "mask": "fill", "size": 512, "pad": "mirror"},
    "migan": {"range": "0..255", "mask": "0,255", "size": 512, "pad": "mirror", "grow": 3},
}
"""LaMa as Carve/LaMa-ONNX exports it (lama_fp32.onnx); MI-GAN's whole pipeline (migan_pipeline_v2.onnx), which takes
bytes and blends its result with the picture up to 3 pixels inside the hole: so the hole is shown 3 pixels larger.
"""
DEFAULTS: dict[str, Any] = {
    "range": "0..1",
    "mask": "fill",
    "multiple": 8,
    "max_side": 512,
    "layout": "NCHW",
    "colours": "rgb",
    "pad": "mirror",
    "grow": 0,
}


@dataclass(frozen=True)
class OnnxImport:
    """What `unsay import onnx` is told; None: as the preset `like`, the graph or `DEFAULTS` say.

    `range`, `output_range`: of `RANGES`. `mask`: "fill" (1 in the hole), "keep" (1 elsewhere) or "HOLE,KNOWN". `size`:
    the network's only side; else `multiple` and `max_side`. `inputs`: "NAME=image", "NAME=mask" or a single
    "NAME=image+mask" in the graph's order of channels. `result`: the output that is the image. `layout`, `colours`,
    `pad`, `grow`: see `unsay.inpainting.recipe`.
    """

    like: str | None = None
    range: str | None = None
    output_range: str | None = None
    mask: str | None = None
    inputs: tuple[str, ...] | None = None
    result: str | None = None
    size: int | None = None
    multiple: int | None = None
    max_side: int | None = None
    layout: str | None = None
    colours: str | None = None
    pad: str | None = None
    grow: int | None = None


def import_onnx(file: Path, out: Path, options: OnnxImport | None = None, *, licence: str = "unknown") -> float:
    """Make the ONNX file the inpaint part of the bundle `out`; a segment part that is there stays.

    Returns how far known pixels of a test picture come back from their values, a mean of 0..255. Raises `BadInput` for
    a file that is no ONNX or does not fill a test picture, options that do not fit it, a folder that is no bundle.
    """
    options = options or OnnxImport()
    graph = read_graph(file)
    section = filler_section(graph, options)
    learned = {"method": f"imported from {file.name}", "like": options.like, "data": "that of the imported weights"}
    return place_filler(
        out,
        content_name(file),
        partial(_copy, file),
        lambda files: {"file": files[0], **section},
        licence=licence,
        learned=learned,
    )


def read_graph(file: Path) -> onnx.GraphProto:
    """The graph of an ONNX file, without weights that lie beside it. Raises `BadInput`."""
    try:
        model = onnx.load(str(file), load_external_data=False)
        if not model.graph.node:
            raise ValueError("it has no operations")
    except Exception as error:  # protobuf raises whatever a damaged file's bytes provoke
        raise BadInput(f"{file} is not an ONNX file: {error}".split("\n")[0]) from error
    return model.graph


def filler_section(graph: onnx.GraphProto, options: OnnxImport) -> dict[str, Any]:
    """The manifest's `inpaint` part for `graph`, without its file. Raises `BadInput` if it does not follow."""
    chosen = _chosen(options)
    weights = {w.name for w in graph.initializer}
    shapes = {v.name: _shape(v) for v in graph.input if v.name not in weights}
    inputs = _stated(chosen["inputs"], shapes) if chosen["inputs"] else _guessed(shapes, chosen["layout"])
    multiple, max_side = _sides(chosen, [s for name, s in shapes.items() if "image" in inputs[name]])
    mean, std = RANGES[chosen["range"]]
    output_mean, output_std = RANGES[chosen["output_range"] or chosen["range"]]
    return {
        "multiple": multiple,
        "max_side": max_side,
        "mean": mean,
        "std": std,
        "mask": _mask(chosen["mask"]),
        "inputs": inputs,
        "output": _output(graph, chosen["result"]),
        "output_mean": output_mean,
        "output_std": output_std,
        "layout": chosen["layout"],
        "colours": chosen["colours"],
        "pad": chosen["pad"],
        "grow": chosen["grow"],
    }


def _chosen(options: OnnxImport) -> dict[str, Any]:
    """Every option: what is said, else the preset's, else the default."""
    if options.like is not None and options.like not in PRESETS:
        raise BadInput(f"no preset {options.like!r}; known: {', '.join(PRESETS)}")
    preset = PRESETS[options.like] if options.like else {}
    chosen: dict[str, Any] = {}
    for name in (f.name for f in fields(OnnxImport)):
        said = getattr(options, name)
        chosen[name] = said if said is not None else preset.get(name, DEFAULTS.get(name))
    known = {"range": RANGES, "output_range": RANGES, "layout": LAYOUTS, "colours": COLOURS, "pad": PADS}
    for name, values in known.items():
        if chosen[name] is not None and chosen[name] not in values:
            raise BadInput(f"unknown {name.replace('_', ' ')} {chosen[name]!r}; known: {', '.join(values)}")
    if not 0 <= chosen["grow"] <= 64:
        raise BadInput(f"the hole is to be shown {chosen['grow']} pixels larger; choose 0 to 64")
    return chosen


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    """The axes of a graph's input; None where its length is free."""
    return [d.dim_value if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim]


def _stated(inputs: tuple[str, ...], shapes: Mapping[str, Any]) -> dict[str, list[str]]:
    stated = {}
    for text in inputs:
        name, _, parts = text.rpartition("=")
        stated[name] = parts.split("+")
        if not set(stated[name]) <= set(PARTS):
            raise BadInput(f"the input {text!r}: write NAME=image, NAME=mask or NAME=image+mask")
    held = sorted(part for parts in stated.values() for part in parts)
    if set(stated) != set(shapes) or set(held) != set(PARTS):
        raise BadInput(
            f"inputs {', '.join(inputs)}: the file reads {', '.join(shapes)}; say which is image, which mask"
        )
    return stated


def _guessed(shapes: Mapping[str, list[int | None]], layout: str) -> dict[str, list[str]]:
    """Which input is what, by its channels, else by its name."""
    by_channels = {4: ["image", "mask"], 3: ["image"], 1: ["mask"]}
    guessed = {}
    for name, shape in shapes.items():
        channels = shape[layout.index("C")] if len(shape) == 4 else None
        by_name = ["mask"] if "mask" in name.lower() else ["image"]
        guessed[name] = by_channels.get(channels or 0, by_name)
    if sorted(part for parts in guessed.values() for part in parts) != sorted(PARTS):
        described = ", ".join(f"{name} {['free' if n is None else n for n in shape]}" for name, shape in shapes.items())
        raise BadInput(f"cannot tell image and mask among the inputs {described}: say it with --input NAME=image ...")
    return guessed


def _sides(chosen: Mapping[str, Any], shapes: list[list[int | None]]) -> tuple[int, int]:
    """`multiple` and `max_side`: a size that the graph fixes or that is said, else the two as they are chosen."""
    height, width = (shapes[0][chosen["layout"].index(axis)] if len(shapes[0]) == 4 else None for axis in "HW")
    if height is not None and width is not None:
        if height != width:
            raise BadInput(f"the file takes {width}x{height} pixels alone; only square networks can be used")
        if chosen["size"] not in (None, height):
            raise BadInput(f"a size of {chosen['size']}; the file takes {height} pixels alone: leave --size out")
        return height, height
    multiple, max_side = chosen["size"] or chosen["multiple"], chosen["size"] or chosen["max_side"]
    if not 1 <= multiple <= max_side <= 4096:
        raise BadInput(f"multiple {multiple}, largest side {max_side}: choose 1 <= multiple <= largest side <= 4096")
    return multiple, max_side


def _mask(text: str) -> list[float]:
    if text in MASKS:
        return list(MASKS[text])
    try:
        hole, known = (float(value) for value in text.split(","))
    except ValueError as error:
        raise BadInput(f"mask {text!r}: write fill, keep, or its two values as HOLE,KNOWN, such as 0,255") from error
    if hole == known:
        raise BadInput(f"mask {text!r}: the value in the hole must differ from the value elsewhere")
    return [hole, known]


def _output(graph: onnx.GraphProto, stated: str | None) -> str:
    names = [str(value.name) for value in graph.output]
    if stated is None and len(names) == 1:
        return names[0]
    if stated not in names:
        raise BadInput(
            f"the output {stated!r}: the file gives {', '.join(names)}; say which is the image with --result"
        )
    return str(stated)


def _copy(file: Path, to: Path) -> list[str]:
    """The file as it is, or, where its weights lie beside it, with them in one file."""
    graph = read_graph(file)
    if not any(uses_external_data(weight) for weight in graph.initializer):
        shutil.copyfile(file, to)
        return [to.name]
    try:
        onnx.save(onnx.load(str(file)), str(to))
    except Exception as error:  # protobuf's size limit and missing files come as many kinds
        raise BadInput(f"the weights beside {file} cannot be taken in: {error}".split("\n")[0]) from error
    return [to.name]
