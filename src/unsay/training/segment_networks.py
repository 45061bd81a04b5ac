"""The networks of a run, wired here and nowhere else: frozen ones for photos and sentences, and the one that learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.efficientnet_lite import EfficientNetLite, load_trunk
from unsay.models.starter_encoder import StarterEncoder
from unsay.models.text_encoder import load_text_encoder
from unsay.results import Pixels
from unsay.segmentation.grouping import Agglomerative, patch_features
from unsay.segmentation.trunk import STRIDE, prepare, run_trunk
from unsay.training.nouns import Embed
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_export import halve_weights, save, to_onnx
from unsay.training.segment_features import Look, View
from unsay.training.segment_files import fingerprint
from unsay.training.text_export import text_folder

CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in 0..1: what CLIP's towers and DINO were trained with."""
CLIP_PATCH = 16
TEXTS = 128
"""Sentences that are embedded at once."""


@dataclass(frozen=True)
class Networks:
    """What a configuration's networks are; the frozen ones are opened when they are first needed.

    encoder: makes the network that learns, `encoder(patches or pixels, coverage [B, K, P]) -> R [B, K, E]` of unit
    length. grid: rows and columns of its P patches. look, embed: make the frozen networks for photos and for sentences.
    pixels: [H, W, 3] uint8 RGB -> what the encoder reads [3, H, W] fp32, or None where it reads the views' patches.
    identity: stands for the frozen ones in the names of kept files.
    """

    encoder: Callable[[], nn.Module]
    grid: tuple[int, int]
    look: Callable[[], Look]
    embed: Callable[[], Embed]
    identity: str
    pixels: Callable[[Pixels], npt.NDArray[np.float32]] | None = None


def build_networks(config: SegmentConfig) -> Networks:
    """The networks that `config` asks for. Raises `BadInput` where their files are not at hand."""
    return _paper(config) if config.network == "paper" else _starter(config)


# --- the starter ------------------------------------------------------------------------------------------------------


def _starter(config: SegmentConfig) -> Networks:
    """A frozen EfficientNet-Lite with a frozen MiniLM, and the light transformer that learns between them."""
    cells = config.side // STRIDE
    if config.side % STRIDE or not cells:
        raise BadInput(f"side is {config.side}; the starter needs a multiple of {STRIDE}")
    return Networks(
        encoder=lambda: StarterEncoder(config.starter),
        grid=(cells, cells),
        look=lambda: _trunk_look(config),
        embed=lambda: minilm(config.text_weights),
        identity=fingerprint(config.trunk, config.trunk_weights, config.text_weights, config.side, config.groups),
    )


def export_trunk(trunk: EfficientNetLite, path: Path) -> None:
    """Write the trunk as ONNX with fp16 storage: pixels [1, 3, H, W] -> fine, last, wide."""
    save(_trunk_model(trunk), path)


def _trunk_model(trunk: EfficientNetLite) -> Any:
    dynamic = {
        "pixels": {2: "height", 3: "width"},
        "fine": {2: "fine_height", 3: "fine_width"},
        "last": {2: "last_height", 3: "last_width"},
        "wide": {2: "last_height", 3: "last_width"},
    }
    return halve_weights(to_onnx(trunk, (torch.zeros(1, 3, 64, 96),), ["pixels"], ["fine", "last", "wide"], dynamic))


def minilm(weights: str) -> Embed:
    """The unpruned fp32 sentence encoder of the folder `weights` (empty: the installed package's)."""
    from tokenizers import Tokenizer

    folder = text_folder(weights)
    encoder = load_text_encoder(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()

    @torch.no_grad()
    def embed(sentences: Sequence[str]) -> Tensor:
        rows = []
        for start in range(0, len(sentences), TEXTS):
            encoded = tokenizer.encode_batch(list(sentences[start : start + TEXTS]))
            ids, mask = (torch.tensor([getattr(e, key) for e in encoded]) for key in ("ids", "attention_mask"))
            rows.append(encoder(ids, mask))
        return torch.cat(rows)

    return embed


def _trunk_look(config: SegmentConfig) -> Look:
    """Through ONNX Runtime, as in use: what is learned from is what a bundle's trunk will give."""
    trunk = load_trunk(config.trunk, Path(config.trunk_weights) if config.trunk_weights else None)
    session = _session(_trunk_model(trunk), config.machine.threads)
    grouper = Agglomerative(config.groups)

    def look(photo: Pixels) -> View:
        maps = run_trunk(session, prepare(photo, (config.side, config.side)))
        patches = maps.wide.reshape(len(maps.wide), -1).T.astype(np.float16)
        return View(grouper(patch_features(maps)).astype(np.int8), patches)

    return look


def _session(model: Any, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


# --- the paper --------------------------------------------------------------------------------------------------------


def _paper(config: SegmentConfig) -> Networks:
    """CLIP's vision tower learns, its text tower is frozen; a frozen DINO makes the groups."""
    if not config.clip or not config.dino:
        raise BadInput("the paper's networks need `clip` and `dino`: set both to folders in the transformers format")
    if config.side % CLIP_PATCH or not config.side:
        raise BadInput(f"side is {config.side}; CLIP's tower needs a multiple of {CLIP_PATCH}")
    weights: Any = import_module("unsay.models.hugging_face")
    cells = config.side // CLIP_PATCH
    return Networks(
        encoder=lambda: weights.load_clip(Path(config.clip), start=config.start),
        grid=(cells, cells),
        look=lambda: group_look(weights.load_dino(Path(config.dino)), config.side, config.groups),
        embed=lambda: weights.load_clip_text(Path(config.clip)),
        identity=fingerprint(config.clip, config.dino, config.side, config.groups),
        pixels=lambda photo: normalised(photo, config.side, CLIP_MEAN, CLIP_DEVIATION),
    )


def group_look(features: nn.Module, side: int, groups: int) -> Look:
    """Groups from a frozen self-supervised network: pixels [1, 3, S, S] -> features [1, D, h, w]."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, grouper = features.eval().to(device), Agglomerative(groups)

    @torch.no_grad()
    def look(photo: Pixels) -> View:
        pixels = torch.from_numpy(normalised(photo, side, IMAGENET_MEAN, IMAGENET_DEVIATION))[None]
        cells = network(pixels.to(device))[0].permute(1, 2, 0).float().cpu().numpy()
        return View(grouper(cells).astype(np.int8), None)

    return look


def normalised(
    photo: Pixels, side: int, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> npt.NDArray[np.float32]:
    """[H, W, 3] uint8 -> [3, side, side] fp32, (x / 255 - mean) / deviation; the aspect is not kept."""
    shrinks = photo.shape[0] * photo.shape[1] > side * side
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    pixels = (small.astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(deviation, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
