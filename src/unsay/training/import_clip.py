"""`unsay import clip`: open weights of CLIP and of DINO or DINOv2 -> the segment part of a bundle.

The bundle's layout is `unsay.segmentation.recipe`'s. No figure is known for any such bundle: it carries no scores.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from unsay.bundle import MANIFEST
from unsay.errors import BadInput
from unsay.models.clip_text import ClipText
from unsay.models.hugging_face import Clip, find_folder, load_clip, load_self_supervised, read_pixels, read_tokenizer
from unsay.models.vit import FEATURES, GroupFeatures, RegionViT, VisionTransformer
from unsay.segmentation.grouping import METHODS
from unsay.training.bundling import write_part
from unsay.training.filler_import import BOTH_LICENCES
from unsay.training.segment_export import halve_weights, save, to_onnx

FILES = ["features.onnx", "encoder.onnx", "text.onnx", "tokenizer.json"]
UNCALIBRATED = {
    "kind_margin": 0.0,
    "unseen_scale": 1.0,
    "unseen_bonus": 0.0,
    "background_margin": 0.0,
    "thing_margin": 0.0,
    "behind_best": 10.0,
    "middle": 0.0,
    "present_at": 5.0,
    "present_slope": 0.7,
    "unseen_at": 5.0,
    "unseen_slope": 0.7,
}
"""Recognition constants in units of T, by reckoning only: no open weights were at hand to measure with."""

LARGEST = 2_000_000_000
"""Bytes of fp32 weights that one ONNX file holds; the format's own limit is 2 GiB with all that is not weights."""


@dataclass(frozen=True)
class ClipImport:
    """What `unsay import clip` is told. `clip`, `group_features`: local folders, or hub names with `download`.

    `start`: the layer L0 from which region tokens are masked (None: the middle). `side`, `group_side`: the long side in
    pixels at which a photo enters each network. `feature`: of `unsay.models.vit.FEATURES`. `half`: weights stored as
    fp16, arithmetic in fp32. `licence`: the weights' own, as the manifest will state it.
    """

    clip: str
    group_features: str
    start: int | None = None
    side: int = 336
    group_side: int = 448
    feature: str = "token"
    group_method: str = "agglomerative"
    templates: tuple[str, ...] = ("a photo of a {}.",)
    licence: str = "unknown"
    half: bool = False
    download: bool = False


def import_clip(options: ClipImport, out: Path) -> Path:
    """Write a bundle into `out` and return that; an `inpaint` part that is already there stays.

    Nothing is left behind if it fails. Raises `BadInput` for weights that do not fit, options out of range, and a
    folder `out` that holds anything else than a bundle.
    """
    _check(options)
    out = out.resolve()
    clip_folder = find_folder(options.clip, download=options.download)
    group_folder = find_folder(options.group_features, download=options.download)
    with replaced(out) as folder:
        clip, vit = load_clip(clip_folder, options.start), load_self_supervised(group_folder)
        _check_sides(options, clip, vit)
        export_features(GroupFeatures(vit, options.feature), folder / "features.onnx", half=options.half)
        export_encoder(clip.regions, folder / "encoder.onnx", half=options.half)
        export_text(clip.text, folder / "text.onnx", half=options.half)
        tokenizer = read_tokenizer(clip_folder, clip.text.config.positions)
        (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        section = {
            "features": _network("features.onnx", group_folder, options.group_side, vit),
            "grouping": {"method": options.group_method, "maps": {"tokens": 1.0}},
            "encoder": _network("encoder.onnx", clip_folder, options.side, clip.regions.vit),
            "text": {"file": "text.onnx", "tokenizer": "tokenizer.json", "templates": list(options.templates)},
            "recognition": {"temperature": round(clip.temperature, 6), **UNCALIBRATED},
        }
        section["encoder"]["patch"] = clip.regions.vit.config.patch
        learned = _learned(options, clip, clip_folder, group_folder)
        write_part(folder, "segment", section, files=FILES, name=out.name, licence=options.licence, training=learned)
        _keep_inpainting(out, folder)
    return out


def export_features(model: GroupFeatures, path: Path, *, half: bool = False) -> None:
    """pixels [1, 3, H, W] -> tokens [1, D, h, w], as ONNX."""
    free = {"pixels": {2: "height", 3: "width"}, "tokens": {2: "rows", 3: "columns"}}
    _export(model, (_example(model.vit),), ["pixels"], "tokens", free, path, half)


def export_encoder(model: RegionViT, path: Path, *, half: bool = False) -> None:
    """pixels [1, 3, H, W], coverage [K, P] -> embeddings [K, E], as ONNX."""
    free = {
        "pixels": {2: "height", 3: "width"},
        "coverage": {0: "regions", 1: "patches"},
        "embeddings": {0: "regions"},
    }
    coverage = torch.rand(3, 2 * 3)
    _export(model, (_example(model.vit), coverage), ["pixels", "coverage"], "embeddings", free, path, half)


def export_text(model: ClipText, path: Path, *, half: bool = False) -> None:
    """ids, mask [N, T] int64 -> embedding [N, E], as ONNX."""
    tokens = {0: "sentences", 1: "tokens"}
    ids = torch.ones(2, min(5, model.config.positions), dtype=torch.int64)
    free = {"ids": tokens, "mask": tokens, "embedding": {0: "sentences"}}
    _export(model, (ids, ids), ["ids", "mask"], "embedding", free, path, half)


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that takes its place when the block ends well, and is removed when it does not.

    Raises `BadInput` where `out` exists and is neither empty nor a bundle.
    """
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise BadInput(f"{out} exists and is no bundle (no {MANIFEST}): name a new folder with -o")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        yield fresh
        old = Path(scratch) / "old"
        if out.exists():
            os.rename(out, old)
        try:
            os.rename(fresh, out)
        except OSError:
            if old.exists():
                os.rename(old, out)
            raise


def _export(
    model: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    names: list[str],
    output: str,
    free: dict[str, dict[int, str]],
    path: Path,
    half: bool,
) -> None:
    size = 4 * sum(p.numel() for p in model.parameters())
    if size > LARGEST:
        raise BadInput(
            f"{path.stem} would have {size / 1e9:.1f} GB of weights; one ONNX file holds {LARGEST / 1e9:.0f}: "
            "take a smaller model (up to ViT-L)"
        )
    graph: onnx.ModelProto = to_onnx(model.eval(), inputs, names, [output], free)
    save(halve_weights(graph) if half else graph, path)


def _example(vit: VisionTransformer) -> torch.Tensor:
    """Pixels of 2 x 3 patches: the tracer must not see a square."""
    return torch.rand(1, 3, 2 * vit.config.patch, 3 * vit.config.patch)


def _check(options: ClipImport) -> None:
    if options.feature not in FEATURES:
        raise BadInput(f"unknown feature {options.feature!r}; known: {', '.join(FEATURES)}")
    if options.group_method not in METHODS:
        raise BadInput(f"unknown group method {options.group_method!r}; known: {', '.join(METHODS)}")
    if not options.templates or not all(re.fullmatch(r"[^{}]*\{\}[^{}]*", t) for t in options.templates):
        raise BadInput(f"templates {options.templates!r}: each needs one {{}} where the word goes")


def _check_sides(options: ClipImport, clip: Clip, vit: VisionTransformer) -> None:
    for side, network in ((options.side, clip.regions.vit), (options.group_side, vit)):
        patch = network.config.patch
        if not 2 * patch <= side <= 128 * patch:
            raise BadInput(f"a side of {side} pixels, in patches of {patch}: choose {2 * patch} to {128 * patch}")


def _network(file: str, folder: Path, side: int, vit: VisionTransformer) -> dict[str, Any]:
    pixels, patch = read_pixels(folder), vit.config.patch
    return {
        "file": file,
        "side": side,
        "multiple": patch,
        "mean": [round(v, 6) for v in pixels.mean],
        "deviation": [round(v, 6) for v in pixels.deviation],
    }


def _learned(options: ClipImport, clip: Clip, clip_folder: Path, group_folder: Path) -> dict[str, Any]:
    """What the manifest says of where the weights come from: names, no paths."""
    return {
        "segment": {
            "method": "CLIP with masked region tokens, groups by self-supervised features (Zhang et al. 2023)",
            "clip": model_name(options.clip, clip_folder),
            "group_features": model_name(options.group_features, group_folder),
            "group_feature": options.feature,
            "start": clip.regions.vit.config.transformer.start,
            "storage": "fp16" if options.half else "fp32",
            "data": "that of the imported weights",
        }
    }


def model_name(source: str, folder: Path) -> str:
    """The name under which the weights were published, where their config.json tells; else the folder's own."""
    stated = json.loads((folder / "config.json").read_bytes()).get("_name_or_path")
    if not Path(source).is_dir():
        return source
    return str(stated) if stated and not Path(stated).is_absolute() else folder.resolve().name


def _keep_inpainting(out: Path, folder: Path) -> None:
    """Carry the inpaint part of the bundle that is about to be replaced into the new one, files, licence and all."""
    path = out / MANIFEST
    if not path.is_file():
        return
    old = json.loads(path.read_bytes())
    part = old.get("inpaint")
    if part is None:
        return
    names = [v for v in part.values() if isinstance(v, str) and v in old["files"]]
    for name in names:
        shutil.copy2(out / name, folder / name)
    new = json.loads((folder / MANIFEST).read_bytes())
    stated = str(old.get("licence", "unknown"))
    parts = BOTH_LICENCES.fullmatch(stated)
    licence = f"segment: {new['licence']}; inpaint: {parts.group(2) if parts else stated}"
    training = {"inpaint": old["training"]["inpaint"]} if "inpaint" in old.get("training", {}) else {}
    write_part(folder, "inpaint", part, files=names, licence=licence, training=training)
