"""What ONNX Runtime computes from the stored networks is what torch computes with the same rounded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from unsay.models.efficientnet_lite import EfficientNetLite
from unsay.models.region_head import HeadConfig, RegionHead
from unsay.models.text_encoder import TextConfig, TextEncoder
from unsay.training.segment_bundle import export_head
from unsay.training.segment_data import export_trunk
from unsay.training.segment_export import round_half, rounded, save
from unsay.training.text_export import prune, text_model


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def trunk() -> EfficientNetLite:
    torch.manual_seed(0)
    trunk = EfficientNetLite().eval().requires_grad_(False)
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.3, 1.0)
    return trunk


def test_the_trunk_is_the_same_in_onnx(trunk: EfficientNetLite, tmp_path: Path) -> None:
    export_trunk(trunk, tmp_path / "trunk.onnx")
    ours = session(tmp_path / "trunk.onnx")
    for height, width in ((32, 32), (64, 160), (224, 96)):
        pixels = np.random.default_rng(height).normal(0, 1, (1, 3, height, width)).astype(np.float32)
        stored = ours.run(["fine", "last", "wide"], {"pixels": pixels})
        for mine, theirs in zip(stored, trunk(torch.from_numpy(pixels)), strict=True):
            expected = theirs.numpy()
            assert mine.shape == expected.shape
            # batch norms are folded before the weights are rounded to fp16, so they agree to fp16's precision
            assert np.abs(mine - expected).max() <= 5e-3 * max(1.0, float(np.abs(expected).max()))
    assert (tmp_path / "trunk.onnx").stat().st_size < 8_000_000


@pytest.mark.parametrize("layers", [0, 2])
def test_the_head_is_the_same_in_onnx(layers: int, trunk: EfficientNetLite, tmp_path: Path) -> None:
    torch.manual_seed(1)
    head = RegionHead(HeadConfig(width=48, heads=4, layers=layers)).eval().requires_grad_(False)
    export_head(head, trunk, tmp_path / "head.onnx")
    ours = session(tmp_path / "head.onnx")
    round_half(head)
    classifier = nn.Linear(1280, 1000)
    classifier.load_state_dict(trunk._fc.state_dict())
    round_half(classifier)
    rng = np.random.default_rng(2)
    for regions, patches in ((1, 1), (3, 35), (21, 300)):
        wide = rng.random((patches, 1280)).astype(np.float32)
        shares = (rng.random((regions, patches)) * (rng.random((regions, patches)) < 0.5)).astype(np.float32)
        shares[:, 0] = 0.25
        embeddings, logits = ours.run(["embeddings", "logits"], {"wide": wide, "coverage": shares})
        expected = head(torch.from_numpy(wide)[None], torch.from_numpy(shares)[None])[0].numpy()
        assert np.abs(embeddings - expected).max() < 1e-5
        pooled = torch.from_numpy(shares / shares.sum(1, keepdims=True)) @ torch.from_numpy(wide)
        assert np.abs(logits - classifier(pooled).detach().numpy()).max() < 1e-4


def test_the_text_encoder_is_the_same_in_onnx(tmp_path: Path) -> None:
    torch.manual_seed(3)
    encoder = TextEncoder(TextConfig(300, 32, 48, 96, 4, 2)).eval().requires_grad_(False)
    save(text_model(encoder), tmp_path / "text.onnx")
    ours = session(tmp_path / "text.onnx")
    for name, parameter in encoder.named_parameters():
        if parameter.ndim == 2:  # one scale a word or an output; positions, which are cut and not looked up, a channel
            codes, scale = rounded(parameter.numpy(), axis=0 if name.startswith("positions") else 1)
            parameter.data = torch.from_numpy(codes.astype(np.float32) * scale)
    for sentences, tokens in ((1, 1), (3, 7), (5, 32)):
        ids = torch.randint(0, 300, (sentences, tokens))
        mask = (torch.arange(tokens)[None] < torch.randint(1, tokens + 1, (sentences, 1))).long()
        mine = ours.run(["embedding"], {"ids": ids.numpy(), "mask": mask.numpy()})[0]
        assert np.abs(mine - encoder(ids, mask).numpy()).max() < 2e-5


def test_padding_changes_no_embedding() -> None:
    torch.manual_seed(4)
    encoder = TextEncoder(TextConfig(50, 16, 24, 48, 4, 1)).eval()
    ids = torch.randint(0, 50, (1, 4))
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=torch.int64)], 1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    assert torch.allclose(encoder(ids, mask[:, :4]), encoder(padded, mask), atol=1e-6)


def test_pruning_keeps_pieces_and_asked_words_and_renumbers() -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[unused1]", "a", "##s", "ünder", "zebra", "zorro"]
    ids = {w: i if i < 7 else i + 20000 for i, w in enumerate(vocabulary)}
    tokenizer = {
        "model": {"vocab": ids},
        "added_tokens": [{"content": w, "id": ids[w]} for w in vocabulary[:4]],
        "post_processor": {"special_tokens": {w: {"id": w, "ids": [ids[w]]} for w in ("[CLS]", "[SEP]")}},
    }
    small, kept = prune(tokenizer, {"zebra"})
    assert list(small["model"]["vocab"]) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##s", "zebra"]
    assert kept == [0, 1, 2, 3, 5, 6, 20008]
    assert small["post_processor"]["special_tokens"]["[SEP]"]["ids"] == [3]
