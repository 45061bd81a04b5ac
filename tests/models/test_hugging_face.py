"""Our modules, filled from folders that `transformers` wrote, give what its own models give."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F
from transformers.utils import logging

from unsay.errors import BadInput
from unsay.models.hugging_face import find_folder, load_clip, load_self_supervised, read_pixels, read_tokenizer

SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3}
END, WORDS = 97, 100
logging.disable_progress_bar()


def lively(model: Any) -> Any:
    """Weights far from zero, so that every part of a network shows in what it gives."""
    torch.manual_seed(11)
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    return model.eval()


def clip_model(end: int = END, activation: str = "quick_gelu") -> Any:
    sizes = {**SMALL, "intermediate_size": 40, "hidden_act": activation}
    vision = {**sizes, "image_size": 24, "patch_size": 8}
    text = {**sizes, "vocab_size": WORDS, "max_position_embeddings": 9, "eos_token_id": end}
    text |= {"bos_token_id": WORDS - 2, "pad_token_id": 1}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=10)
    return lively(transformers.CLIPModel(config))


def self_supervised(kind: str, **settings: Any) -> Any:
    if kind == "vit":
        sizes = {**SMALL, "intermediate_size": 40, "image_size": 24, "patch_size": 8, **settings}
        return lively(transformers.ViTModel(transformers.ViTConfig(**sizes), add_pooling_layer=False))
    sizes = {**SMALL, "mlp_ratio": 2, "image_size": 28, "patch_size": 7, **settings}
    if kind == "dinov2":
        return lively(transformers.Dinov2Model(transformers.Dinov2Config(**sizes)))
    config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=3)
    return lively(transformers.Dinov2WithRegistersModel(config))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    clip_model().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "patch"), [("vit", 8), ("dinov2", 7), ("dinov2_with_registers", 7)])
def test_self_supervised_tokens_are_theirs_at_any_size(kind: str, patch: int, tmp_path: Path) -> None:
    model = self_supervised(kind)
    model.save_pretrained(tmp_path)
    ours = load_self_supervised(tmp_path)
    any_size = {"interpolate_pos_encoding": True} if kind == "vit" else {}
    for rows, columns in ((4, 4), (3, 3), (2, 6), (7, 5)):
        pixels = torch.randn(2, 3, patch * rows, patch * columns)
        with torch.no_grad():
            expected = model(pixels, **any_size).last_hidden_state
        assert torch.allclose(ours(pixels), expected, rtol=0, atol=1e-5)


def test_a_transformer_without_query_key_and_value_biases(tmp_path: Path) -> None:
    model = self_supervised("vit", qkv_bias=False)
    model.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 24, 24)
    assert torch.allclose(load_self_supervised(tmp_path)(pixels), model(pixels).last_hidden_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_a_region_of_everything_is_clips_image(activation: str, tmp_path: Path) -> None:
    model = clip_model(activation=activation)
    model.save_pretrained(tmp_path)
    for start in (0, 1, None):
        network = load_clip(tmp_path, start).regions
        for height, width in ((24, 24), (40, 16), (32, 56)):
            pixels = torch.randn(1, 3, height, width)
            expected = model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
            got = network(pixels, torch.ones(1, height * width // 64))
            assert torch.allclose(got, F.normalize(expected, dim=-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("end", [END, 2])  # 2: what early configurations say, and mean the highest id
def test_a_sentence_is_clips_text_with_any_padding(end: int, tmp_path: Path) -> None:
    model = clip_model(end)
    model.save_pretrained(tmp_path)
    lengths = torch.tensor([9, 3, 5])
    mask = (torch.arange(9) < lengths[:, None]).long()
    ids = torch.randint(3, END - 2, (3, 9), generator=torch.Generator().manual_seed(0))
    ids[torch.arange(3), lengths - 1] = END
    alone = [model.get_text_features(row[None, :n]).pooler_output[0] for row, n in zip(ids, lengths, strict=True)]
    expected = F.normalize(torch.stack(alone), dim=-1)
    ours = load_clip(tmp_path).text
    for padding in (0, END, WORDS - 1):
        got = ours(torch.where(mask > 0, ids, padding), mask)
        assert torch.allclose(got, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(got[0], got[1], atol=1e-2)


def test_the_temperature_is_what_the_logit_scale_says(clip_folder: Path) -> None:
    assert load_clip(clip_folder).temperature == pytest.approx(clip_model().logit_scale.neg().exp().item())


def test_weights_in_shards_and_in_torchs_own_format(clip_folder: Path, tmp_path: Path) -> None:
    model, ids = clip_model(), torch.tensor([[4, 5, END]])
    expected = load_clip(clip_folder).text(ids, torch.ones_like(ids))
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    (tmp_path / "bin").mkdir()
    model.config.save_pretrained(tmp_path / "bin")
    torch.save(model.state_dict(), tmp_path / "bin" / "pytorch_model.bin")
    for folder in ("shards", "bin"):
        assert torch.equal(load_clip(tmp_path / folder).text(ids, torch.ones_like(ids)), expected)


def test_a_half_precision_checkpoint_is_read_in_fp32(tmp_path: Path) -> None:
    self_supervised("dinov2").half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_self_supervised(tmp_path).parameters()} == {torch.float32}


class Bomb:
    """Unpickled by an unguarded reader, this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_folder_is_executed(clip_folder: Path, tmp_path: Path) -> None:
    folder, trace = tmp_path / "bomb", tmp_path / "executed"
    folder.mkdir()
    (folder / "code.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Model: pass\n")
    config = json.loads((clip_folder / "config.json").read_bytes())
    config |= {"auto_map": {"AutoModel": "code.Model", "AutoConfig": "code.Model"}, "trust_remote_code": True}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save({"x": Bomb(trace)}, folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match="cannot be read"):
        load_clip(folder)
    assert not trace.exists()


def test_the_network_is_left_alone(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_clip(find_folder(str(clip_folder)))
    with pytest.raises(BadInput, match="--download"):
        find_folder("openai/clip-vit-base-patch16")


def test_a_hub_name_is_fetched_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.extend([name, allow_patterns])
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert find_folder("some/name", download=True) == tmp_path
    assert asked[0] == "some/name"
    assert "*.py" not in str(asked[1])

    def fail(name: str, allow_patterns: list[str]) -> str:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(BadInput, match="no route"):
        find_folder("some/name", download=True)


def test_a_folder_that_does_not_fit_says_what_would(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no config\.json"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BadInput, match="'bert'; supported here: clip"):
        load_clip(tmp_path)
    with pytest.raises(BadInput, match="'clip'; supported here: vit, dinov2, dinov2_with_registers"):
        load_self_supervised(clip_folder)
    (tmp_path / "config.json").write_text('{"model_type": "dinov2", "use_swiglu_ffn": true}')
    with pytest.raises(BadInput, match="smaller DINOv2"):
        load_self_supervised(tmp_path)


def test_damaged_or_partial_weights_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="layer 0 to 2"):
        load_clip(clip_folder, start=3)
    shutil.copy(clip_folder / "config.json", tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        load_clip(tmp_path)
    whole = (clip_folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(BadInput, match="cannot be read"):
        load_clip(tmp_path)
    state = clip_model().state_dict()
    del state["visual_projection.weight"]
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"lack 1 tensors, visual_projection\.weight"):
        load_clip(tmp_path)


def test_pixels_are_prepared_as_the_folder_says(clip_folder: Path, tmp_path: Path) -> None:
    assert read_pixels(clip_folder).mean == pytest.approx((122.7709, 116.7460, 104.0937), abs=1e-3)
    shutil.copy(clip_folder / "config.json", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}')
    assert read_pixels(tmp_path).mean == pytest.approx((127.5, 102.0, 76.5))
    assert read_pixels(tmp_path).deviation == pytest.approx((51.0, 51.0, 25.5))
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": 0.5}')
    with pytest.raises(BadInput, match="three means"):
        read_pixels(tmp_path)


def write_vocabulary(folder: Path) -> None:
    words = [*"abcdgot", *(c + "</w>" for c in "abcdgot"), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")


def test_the_tokenizer_is_clips_cut_and_unpadded(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    with pytest.raises(BadInput, match=r"no tokenizer\.json"):
        read_tokenizer(tmp_path, 5)
    write_vocabulary(tmp_path)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.from_str(read_tokenizer(tmp_path, 5))
    sentences = ["a dog", "Bat", "a dog got a cat"]
    expected = [theirs(s, truncation=True, max_length=5)["input_ids"] for s in sentences]
    assert [e.ids for e in ours.encode_batch(sentences)] == expected
    assert [len(e) for e in expected] == [4, 5, 5]
    theirs.backend_tokenizer.enable_padding(length=20)
    theirs.save_pretrained(tmp_path / "whole")
    stored = Tokenizer.from_str(read_tokenizer(tmp_path / "whole", 5))
    assert [e.ids for e in stored.encode_batch(sentences)] == expected
    (tmp_path / "whole" / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match="cannot be read"):
        read_tokenizer(tmp_path / "whole", 5)
