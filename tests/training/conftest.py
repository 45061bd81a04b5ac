from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest


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
