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
from unsay.models.starter_encoder import StarterConfig, StarterEncoder
from unsay.models.text_encoder import TextConfig, TextEncoder
from unsay.training.segment_bundle import RegionsWithClasses, export_regions
from unsay.training.segment_export import quantise_weights, rounded, save, to_onnx
from unsay.training.segment_networks import export_trunk
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
        stored = ours.run(["fine", "last"], {"pixels": pixels})
        for mine, theirs in zip(stored, trunk(torch.from_numpy(pixels))[:2], strict=True):
            expected = theirs.numpy()
            assert mine.shape == expected.shape
            # batch norms are folded before the weights are rounded: the small ones to fp16, the large ones to int8
            assert np.linalg.norm(mine - expected) <= 0.05 * np.linalg.norm(expected)
    assert (tmp_path / "trunk.onnx").stat().st_size < 4_000_000


@pytest.mark.parametrize("tune", [True, False])
def test_the_region_encoder_is_the_same_in_onnx(tune: bool, trunk: EfficientNetLite, tmp_path: Path) -> None:
    torch.manual_seed(1)
    top = trunk.top() if tune else nn.Identity()
    encoder = StarterEncoder(StarterConfig(width=48, heads=4, tune=tune), top).eval().requires_grad_(False)
    export_regions(encoder, trunk, tmp_path / "regions.onnx")
    ours = session(tmp_path / "regions.onnx")
    theirs = RegionsWithClasses(encoder, trunk).eval()
    rng = np.random.default_rng(2)
    for regions, (height, width) in ((1, (1, 1)), (4, (5, 7)), (22, (12, 16))):
        fine = rng.random((1, 112, 2 * height, 2 * width)).astype(np.float32)
        last = rng.normal(size=(1, 320, height, width)).astype(np.float32)
        shares = (rng.random((regions, height * width)) * (rng.random((regions, height * width)) < 0.5)).astype("f4")
        shares[:, 0], shares[-1] = 0.25, 1.0
        feed = {"last": last, "coverage": shares} | ({"fine": fine} if tune else {})
        found = ours.run(["embeddings", "logits"], feed)
        expected = [t.numpy() for t in theirs(*(torch.from_numpy(x) for x in (fine, last, shares)))]
        assert (found[0] * expected[0]).sum(1).min() > 0.999  # stored as int8
        assert np.abs(found[1] - expected[1]).max() < 0.05 * np.abs(expected[1]).max()


def test_every_output_channel_has_a_scale_of_its_own(tmp_path: Path) -> None:
    """One channel with large weights leaves the others exact: in convolutions and in transposed ones."""
    for layer in (nn.Conv2d(16, 8, 3, bias=False), nn.ConvTranspose2d(16, 8, 3, bias=False)):
        with torch.no_grad():
            layer.weight.normal_()
            layer.weight.select(0 if isinstance(layer, nn.Conv2d) else 1, 2).mul_(1000)
        x = torch.randn(1, 16, 9, 9)
        save(quantise_weights(to_onnx(layer.eval(), (x,), ["x"], ["y"], {})), tmp_path / "layer.onnx")
        miss = session(tmp_path / "layer.onnx").run(["y"], {"x": x.numpy()})[0] - layer(x).detach().numpy()
        kept = [0, 1, 3, 4, 5, 6, 7]
        assert 0 < np.abs(miss[:, kept]).max() < 0.5
        assert (tmp_path / "layer.onnx").stat().st_size < 2 * layer.weight.numel()


def test_small_weights_stay_fp16_where_that_is_asked(tmp_path: Path) -> None:
    layer, x = nn.Conv2d(16, 8, 3, bias=False).eval(), torch.randn(1, 16, 9, 9)
    wanted = layer(x).detach().numpy()
    misses = []
    for least in (256, 100_000):
        save(quantise_weights(to_onnx(layer, (x,), ["x"], ["y"], {}), least), tmp_path / "layer.onnx")
        misses.append(np.abs(session(tmp_path / "layer.onnx").run(["y"], {"x": x.numpy()})[0] - wanted).max())
    assert 0 < misses[1] < misses[0] / 4


def test_the_whole_photo_is_pooled_for_what_is_small_in_it(trunk: EfficientNetLite) -> None:
    """Its row of the classes is the generalised mean, that of a region the mean."""
    encoder = StarterEncoder(StarterConfig(width=48, heads=4, tune=False), nn.Identity()).eval()
    last = torch.randn(1, 320, 3, 4)
    shares = torch.stack([torch.ones(12), torch.ones(12)])
    with torch.no_grad():
        _, logits = RegionsWithClasses(encoder, trunk)(torch.rand(1, 112, 6, 8), last, shares)
        wide = trunk.widen(last)[0].flatten(1)
        means = torch.stack([wide.mean(1), (wide**3).mean(1) ** (1 / 3)])
        assert torch.allclose(logits, trunk.classify(means), atol=1e-3)


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
