from __future__ import annotations

import dataclasses
import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from unsay.training.inpaint_config import InpaintConfig


def _lively(model: Any) -> Any:
    """Weights far from zero, so that every part of a network shows in what it gives."""
    import torch

    torch.manual_seed(7)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    return model.eval()


def _write_vocabulary(folder: Path) -> int:
    """A CLIP vocabulary of letters and a few words; the number of its tokens, end of text last."""
    letters = string.ascii_lowercase + "."
    words = [*letters, *(c + "</w>" for c in letters), "do", "dog</w>", "ca", "cat</w>"]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\nc a\nca t</w>\n")
    return len(words)


@pytest.fixture(scope="session")
def open_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as `transformers` writes them: tiny random CLIP (patches of 8 pixels), DINO and DINOv2 (of 7)."""
    import transformers

    root = tmp_path_factory.mktemp("open-weights")
    for name in ("clip", "dino", "dinov2"):
        (root / name).mkdir()
    words = _write_vocabulary(root / "clip")
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3}
    text = {**sizes, "intermediate_size": 40, "vocab_size": words, "eos_token_id": words - 1, "bos_token_id": words - 2}
    vision = {**sizes, "intermediate_size": 40, "image_size": 32, "patch_size": 8}
    clip = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    dino = transformers.ViTConfig(**sizes, intermediate_size=40, image_size=28, patch_size=7)
    dinov2 = transformers.Dinov2Config(**sizes, mlp_ratio=2, image_size=28, patch_size=7)
    _lively(transformers.CLIPModel(clip)).save_pretrained(root / "clip")
    _lively(transformers.ViTModel(dino)).save_pretrained(root / "dino")
    _lively(transformers.Dinov2Model(dinov2)).save_pretrained(root / "dinov2")
    return {name: root / name for name in ("clip", "dino", "dinov2")}


@pytest.fixture(scope="session")
def smooth_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four photos of 80 pixels: smooth colours."""
    folder = tmp_path_factory.mktemp("smooth")
    for i, coarse in enumerate(np.random.default_rng(0).integers(0, 255, (4, 5, 5, 3), np.uint8)):
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(coarse, (80, 80), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture
def tiny(smooth_photos: Path) -> Callable[..., InpaintConfig]:
    """`tiny(out, **changes)`: a training run of the inpainting half that takes a moment, with L1 alone."""
    from unsay.models.madf import MADFConfig
    from unsay.training.inpaint_config import InpaintConfig
    from unsay.training.inpaint_losses import LossWeights
    from unsay.training.machine import MachineConfig

    def config(out: Path, **changes: Any) -> InpaintConfig:
        base = InpaintConfig(
            folders=(str(smooth_photos),),
            weights=(),
            leave_out="",
            network=MADFConfig(width=0.05, levels=5, refinements=1),
            losses=LossWeights(variation=0.0),
            crop=32,
            batch=2,
            steps=6,
            warmup=1,
            save_every=3,
            pictures_every=0,
            machine=MachineConfig(accelerator="cpu", threads=1),
            out=str(out),
        )
        return dataclasses.replace(base, **changes)

    return config
