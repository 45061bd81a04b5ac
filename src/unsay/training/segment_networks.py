"""The networks of a run, wired here and nowhere else: frozen ones for photos and sentences, and the one that learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.errors import BadInput
from unsay.models.efficientnet_lite import MEAN, SCALE, EfficientNetLite, load_trunk
from unsay.models.starter_encoder import StarterEncoder
from unsay.models.text_encoder import load_text_encoder
from unsay.results import Pixels
from unsay.segmentation.grouping import STARTER, Agglomerative, group_photo
from unsay.segmentation.recipe import Grouping, Network
from unsay.segmentation.vision import Array, prepare, run_maps
from unsay.training.nouns import Embed
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_export import quantise_weights, save, to_onnx
from unsay.training.segment_features import Look, View
from unsay.training.segment_files import fingerprint
from unsay.training.text_export import text_folder

TEXTS = 128
"""Sentences that are embedded at once."""
LARGE = 30000
"""Weights of the trunk with as many values are stored as int8, smaller ones as fp16: nine tenths of it, a fifth of the
error of all (docs/training-log.md).
"""
STRIDE = 32
"""Pixels a patch of the starter's encoder."""


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
    pixels: Callable[[Pixels], Array] | None = None


def build_networks(config: SegmentConfig) -> Networks:
    """The networks that `config` asks for. Raises `BadInput` where their files are not at hand."""
    return _paper(config) if config.network == "paper" else _starter(config)


# --- the starter ------------------------------------------------------------------------------------------------------


def _starter(config: SegmentConfig) -> Networks:
    """A frozen EfficientNet-Lite with a frozen MiniLM, and what learns between them: a light transformer, and with
    `tune` a copy of the CNN's last stages. Kept is what these read: `fine`, or else their own map `wide`.
    """
    cells = config.side // STRIDE
    if config.side % STRIDE or not cells:
        raise BadInput(f"side is {config.side}; the starter needs a multiple of {STRIDE}")
    kept = config.trunk_weights, config.text_weights, config.side, config.groups
    return Networks(
        encoder=lambda: StarterEncoder(config.starter, _trunk(config).top() if config.starter.tune else nn.Identity()),
        grid=(cells, cells),
        look=lambda: _trunk_look(config),
        embed=lambda: minilm(config.text_weights),
        identity=fingerprint(config.starter.trunk, config.starter.tune, *kept),
    )


def export_trunk(trunk: EfficientNetLite, path: Path) -> None:
    """Write the trunk as ONNX with int8 storage: pixels [1, 3, H, W] -> fine, last."""
    save(_trunk_model(trunk), path)


def _trunk_model(trunk: EfficientNetLite) -> Any:
    dynamic = {
        "pixels": {2: "height", 3: "width"},
        "fine": {2: "fine_height", 3: "fine_width"},
        "last": {2: "last_height", 3: "last_width"},
    }
    maps = TwoMaps(trunk).eval()
    traced = to_onnx(maps, (torch.zeros(1, 3, 64, 96),), ["pixels"], ["fine", "last"], dynamic)
    return quantise_weights(traced, LARGE)


class TwoMaps(nn.Module):
    """What a bundle's trunk gives: pixels [N, 3, H, W] -> fine, last. What follows is the region encoder's."""

    def __init__(self, trunk: EfficientNetLite) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        fine, last, _ = self.trunk(pixels)
        return fine, last


def minilm(weights: str) -> Embed:
    """The unpruned fp32 sentence encoder of the folder `weights` (empty: the installed package's)."""
    from tokenizers import Tokenizer

    folder = text_folder(weights)
    encoder = load_text_encoder(folder / "model.safetensors")
    return _embed(encoder, Tokenizer.from_file(str(folder / "tokenizer.json")))


def _embed(encoder: nn.Module, tokenizer: Any) -> Embed:
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


def _trunk(config: SegmentConfig) -> EfficientNetLite:
    return load_trunk(config.starter.trunk, Path(config.trunk_weights) if config.trunk_weights else None)


def _trunk_look(config: SegmentConfig) -> Look:
    """Through ONNX Runtime, as in use: what is learned from is what a bundle's trunk will give."""
    trunk, read = _trunk(config), "fine" if config.starter.tune else "last"
    session = _session(_trunk_model(trunk), config.machine.threads)
    network = Network("", config.side, config.side, (MEAN,) * 3, (SCALE,) * 3)  # one multiple: photos become square
    recipe = Grouping(STARTER.maps, options={"groups": config.groups})

    def look(photo: Pixels) -> View:
        maps = run_maps(session, prepare(photo, network))
        seen = maps[read]
        if not config.starter.tune:
            with torch.no_grad():
                seen = trunk.widen(torch.from_numpy(seen)[None])[0].numpy()
        return View(group_photo(photo, maps, recipe).astype(np.int8), seen.astype(np.float16))

    return look


def _session(model: Any, threads: int) -> Any:
    from unsay.runtime import runtime

    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


# --- the paper --------------------------------------------------------------------------------------------------------


class PixelRegions(nn.Module):
    """CLIP's vision tower over a batch; `regions` is the tower for single photos that is exported."""

    def __init__(self, regions: Any) -> None:
        super().__init__()
        self.regions = regions

    def forward(self, pixels: Tensor, coverage: Tensor) -> Tensor:
        """pixels [B, 3, H, W], coverage [B, K, P] -> R [B, K, E] of unit length."""
        vit = self.regions.vit
        tokens = vit.norm(vit.transformer(vit.embed(pixels), coverage))
        return F.normalize(self.regions.projection(tokens), dim=-1)


def _paper(config: SegmentConfig) -> Networks:
    """CLIP's vision tower learns, its text tower is frozen; a frozen DINO makes the groups."""
    if not config.clip or not config.dino:
        raise BadInput("the paper's networks need `clip` and `dino`: set both to folders in the transformers format")
    from unsay.models import hugging_face as weights

    folder = Path(config.clip)
    tower = weights.load_clip(folder, config.start).regions
    cells = config.side // tower.vit.config.patch
    if not cells or config.side % tower.vit.config.patch:
        raise BadInput(f"side is {config.side}; {folder} needs a multiple of {tower.vit.config.patch}")
    prepared = weights.read_pixels(folder)
    return Networks(
        encoder=lambda: PixelRegions(weights.load_clip(folder, config.start).regions.requires_grad_(True)),
        grid=(cells, cells),
        look=lambda: _dino_look(weights, config),
        embed=lambda: _clip_embed(weights, folder),
        identity=fingerprint(config.clip, config.dino, config.side, config.groups),
        pixels=lambda photo: normalised(photo, config.side, prepared.mean, prepared.deviation),
    )


def group_look(features: nn.Module, prepare: Callable[[Pixels], Array], groups: int) -> Look:
    """Groups from a frozen self-supervised network: what `prepare` makes of a photo [1, 3, H, W] -> [1, D, h, w]."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, grouper = features.eval().to(device), Agglomerative(groups)

    @torch.no_grad()
    def look(photo: Pixels) -> View:
        mapped = network(torch.from_numpy(prepare(photo))[None].to(device))[0]
        return View(grouper(mapped.permute(1, 2, 0).float().cpu().numpy()).astype(np.int8), None)

    return look


def normalised(photo: Pixels, side: int, mean: Sequence[float], deviation: Sequence[float]) -> Array:
    """[H, W, 3] uint8 -> [3, side, side] fp32, (x - mean) / deviation with x in 0..255; the aspect is not kept."""
    shrinks = photo.shape[0] * photo.shape[1] > side * side
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    pixels = (small.astype(np.float32) - np.asarray(mean, np.float32)) / np.asarray(deviation, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _dino_look(weights: Any, config: SegmentConfig) -> Look:
    from unsay.models.vit import GroupFeatures

    folder = Path(config.dino)
    vit, prepared = weights.load_self_supervised(folder), weights.read_pixels(folder)
    side = config.side - config.side % vit.config.patch
    features = GroupFeatures(vit)
    return group_look(features, lambda p: normalised(p, side, prepared.mean, prepared.deviation), config.groups)


def _clip_embed(weights: Any, folder: Path) -> Embed:
    from tokenizers import Tokenizer

    encoder = weights.load_clip(folder).text
    return _embed(encoder, Tokenizer.from_str(weights.read_tokenizer(folder, encoder.config.positions)))
