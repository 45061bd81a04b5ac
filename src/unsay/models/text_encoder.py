"""A sentence encoder of the BERT family (MiniLM-L6: Wang et al. 2020), written out so that it needs no `transformers`.

Legend: N sentences, T tokens, D = 384 channels, A = 12 heads.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the encoder; the defaults are MiniLM-L6's."""

    vocabulary: int = 30522
    positions: int = 512
    width: int = 384
    hidden: int = 1536
    heads: int = 12
    layers: int = 6


class Layer(nn.Module):
    """Self-attention and a two-layer perceptron, each followed by its residual and layer norm (post-norm)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mix = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.up, self.down = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [N, T, D], bias [N, 1, 1, T] added to the attention (large negative at padding) -> [N, T, D]."""
        n, t, width = x.shape
        q, k, v = (f(x).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(width / self.heads) + bias, dim=-1)
        x = self.norm1(x + self.mix((weights @ v).transpose(1, 2).reshape(n, t, width)))
        y: Tensor = self.norm2(x + self.down(F.gelu(self.up(x))))
        return y


class TextEncoder(nn.Module):
    """Token ids -> one embedding a sentence: the mean over its tokens, L2-normalised."""

    def __init__(self, config: TextConfig | None = None) -> None:
        super().__init__()
        config = config or TextConfig()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids [N, T] int64, mask [N, T] int64 (1 = token, 0 = padding) -> [N, D] fp32, unit length."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]]
        x = self.norm(x)
        weight = mask.to(x.dtype)
        bias = (weight[:, None, None, :] - 1.0) * 1e9
        for layer in self.layers:
            x = layer(x, bias)
        pooled = (x * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True)
        return F.normalize(pooled, dim=-1)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The fp32 tensors of a safetensors file: a JSON header and raw numbers, nothing to execute."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    body = memoryview(data)[8 + size :]
    tensors = {}
    for name, entry in header.items():
        if isinstance(entry, dict) and entry.get("dtype") == "F32":
            start, end = entry["data_offsets"]
            array = np.frombuffer(body[start:end], np.float32).reshape(entry["shape"])
            tensors[name] = torch.from_numpy(array.copy())
    return tensors


_NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "mix",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
}


def load_text_encoder(weights: Path) -> TextEncoder:
    """MiniLM-L6 from its `model.safetensors`, in evaluation mode, frozen.

    The segment embedding is the same for every token of one sentence, so it is added into the positions.
    """
    stored = read_safetensors(weights)
    state = {
        "words.weight": stored["embeddings.word_embeddings.weight"],
        "positions.weight": stored["embeddings.position_embeddings.weight"]
        + stored["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": stored["embeddings.LayerNorm.weight"],
        "norm.bias": stored["embeddings.LayerNorm.bias"],
    }
    for index in range(TextConfig().layers):
        for theirs, ours in _NAMES.items():
            for kind in ("weight", "bias"):
                state[f"layers.{index}.{ours}.{kind}"] = stored[f"encoder.layer.{index}.{theirs}.{kind}"]
    encoder = TextEncoder()
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False)
