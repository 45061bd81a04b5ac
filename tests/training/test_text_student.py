"""The starter's own sentence encoder: what it learns from, that it learns, and that a bundle runs it as torch does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from unsay.bundle import load_bundle
from unsay.errors import UnsayError
from unsay.models.text_student import StudentConfig, TextStudent
from unsay.segmentation.text import encode
from unsay.training.phrases import PhraseConfig, collect, held_out, plural
from unsay.training.segment_export import rounded, save
from unsay.training.text_export import export_any_text, text_model
from unsay.training.text_student import TextConfig, load_student, train_student
from unsay.training.wordnet import lower_case_things

_WORDS = "a photo of the dog cat horse man woman red blue big small on in with grass tree ball water . car ##s ##es"
WORDS = _WORDS.split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tokenizer_json() -> dict[str, Any]:
    """A WordPiece tokenizer of a few words, as `tokenizer.json` holds it."""
    ids = {w: i for i, w in enumerate([*SPECIAL, *WORDS])}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": ids[w], "content": w, "special": True}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            for w in SPECIAL
        ],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


class Teacher:
    """Embeddings that depend on words and on their order; counts what it is asked."""

    def __init__(self) -> None:
        self.tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json()))
        self.table = torch.randn(len(SPECIAL) + len(WORDS), 16, generator=torch.Generator().manual_seed(0))
        self.asked = 0

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        self.asked += len(sentences)
        rows = []
        for e in self.tokenizer.encode_batch(list(sentences)):
            weight = 1 + torch.linspace(0, 1, len(e.ids))[:, None]
            rows.append((self.table[e.ids] * weight).sum(0))
        return F.normalize(torch.stack(rows), dim=-1)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("captions") / "captions.tsv"
    words = [w for w in WORDS if w.isalpha()]
    lines = [f"{i}.jpg\t{' '.join(rng.choice(words, 9))} ." for i in range(200)]
    path.write_text("image\tcaption\n" + "\n".join(lines) + "\n")
    return path


def tiny(out: Path, captions: Path) -> TextConfig:
    phrases = PhraseConfig(captions=str(captions), attributes=200, links=50, pieces=300, sentences=100)
    network = StudentConfig(width=8, hidden=16, heads=2, layers=1, embedding=16)
    return TextConfig(out=str(out), phrases=phrases, network=network, steps=150, batch=64, rate=5e-3, bf16=False)


@pytest.fixture(scope="module")
def trained(captions: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TextConfig, Path]:
    config = tiny(tmp_path_factory.mktemp("student"), captions)
    return config, train_student(config, tokenizer_json(), Teacher())


def test_it_comes_near_its_teacher_on_phrases_it_never_saw(trained: tuple[TextConfig, Path]) -> None:
    _, checkpoint = trained
    scores = torch.load(checkpoint, weights_only=True)["scores"]
    assert scores["cosine, pieces"] > 0.7
    student, tokenizer = load_student(checkpoint)
    assert student.config.vocabulary == len(tokenizer["model"]["vocab"])
    torch.manual_seed(0)
    untaught = TextStudent(student.config).eval()
    made = Tokenizer.from_str(json.dumps(tokenizer))
    ids = torch.tensor([made.encode("the red dog on a small ball .").ids])
    answer = Teacher()(["the red dog on a small ball ."])[0]
    ones = torch.ones_like(ids)
    assert float(student(ids, ones)[0] @ answer) > float(untaught(ids, ones)[0] @ answer) + 0.2


def test_a_second_run_asks_nothing_and_learns_the_same(trained: tuple[TextConfig, Path]) -> None:
    config, checkpoint = trained
    before, teacher = torch.load(checkpoint, weights_only=True)["weights"], Teacher()
    after = torch.load(train_student(config, tokenizer_json(), teacher), weights_only=True)["weights"]
    assert teacher.asked == 0
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_phrases_are_of_every_kind_and_none_is_there_twice(captions: Path) -> None:
    config = PhraseConfig(captions=str(captions), attributes=50, links=20, pieces=50, sentences=20)
    found = collect(config, ["dog", "##s", "x", "tree", "naïve"])
    assert {"dog", "horse"} <= set(found["nouns"])
    assert "naïve" not in found["words"]
    assert "##s" not in found["words"]
    assert "dogs" in found["plurals"]
    every = [p for phrases in found.values() for p in phrases]
    assert len(every) == len(set(every))
    assert all(found.values())
    assert found == collect(config, ["dog", "##s", "x", "tree", "naïve"])
    assert 0.01 < np.mean([held_out(p) for p in every]) < 0.04


def test_plurals() -> None:
    assert [plural(w) for w in ("dog", "bus", "beach", "city", "key")] == ["dogs", "buses", "beaches", "cities", "keys"]


def test_missing_wordnet_is_said(captions: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsayError, match="WordNet"):
        collect(PhraseConfig(captions=str(captions), wordnet=str(tmp_path)), [])


def test_things_of_wordnet_are_concrete_and_no_names(tmp_path: Path) -> None:
    lines = [
        "  1 licence",
        "00000001 05 n 02 dog 0 Canis_familiaris 0 000 | a pet",
        "00000002 06 n 01 fire_engine 0 000 | a truck",
        "00000003 07 n 01 height 0 000 | an attribute",
        "00000004 18 n 01 Newton 0 000 | a person",
        "00000005 06 n 01 b-52 0 000 | an aircraft",
    ]
    (tmp_path / "data.noun").write_text("\n".join(lines) + "\n")
    assert lower_case_things(tmp_path) == {"dog", "fire engine"}


def test_padding_changes_no_embedding() -> None:
    torch.manual_seed(1)
    student = TextStudent(StudentConfig(vocabulary=30, width=8, hidden=16, heads=2, embedding=16)).eval()
    for parameter in student.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    ids = torch.randint(0, 30, (2, 5))
    padded = torch.cat([ids, torch.zeros(2, 3, dtype=torch.int64)], 1)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]] * 2)
    assert torch.allclose(student(ids, mask[:, :5]), student(padded, mask), atol=1e-6)


def test_the_beginning_is_the_teacher_as_well_as_the_width_can() -> None:
    torch.manual_seed(2)
    vectors = F.normalize(torch.randn(30, 4) @ torch.randn(4, 16) + 0.5, dim=1)  # 4 directions and a mean
    student = TextStudent(StudentConfig(vocabulary=30, width=8, hidden=16, heads=2, embedding=16)).eval()
    student.begin(vectors, torch.rand(30) + 0.1)
    found = student(torch.arange(30)[:, None], torch.ones(30, 1, dtype=torch.int64))
    assert float((found * vectors).sum(1).min().detach()) > 0.95


def test_onnx_computes_what_torch_does_with_the_rounded_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    student = TextStudent(StudentConfig(vocabulary=200, width=24, hidden=48, heads=4, embedding=32)).eval()
    for parameter in student.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    student.requires_grad_(False)
    save(text_model(student), tmp_path / "text.onnx")
    for name, parameter in student.named_parameters():
        if parameter.ndim == 2 and parameter.numel() >= 256:
            codes, scale = rounded(parameter.numpy(), axis=0 if name.startswith("positions") else 1)
            parameter.data = torch.from_numpy(codes.astype(np.float32) * scale)
    ours = onnxruntime.InferenceSession(str(tmp_path / "text.onnx"), providers=["CPUExecutionProvider"])
    for phrases, tokens in ((1, 1), (3, 7), (5, 48)):
        ids = torch.randint(0, 200, (phrases, tokens))
        mask = (torch.arange(tokens)[None] < torch.randint(1, tokens + 1, (phrases, 1))).long()
        mine = ours.run(["embedding"], {"ids": ids.numpy(), "mask": mask.numpy()})[0]
        assert np.abs(mine - student(ids, mask).numpy()).max() < 2e-5


def test_a_bundle_gets_the_student_of_a_checkpoint(trained: tuple[TextConfig, Path], tmp_path: Path) -> None:
    said = export_any_text(str(trained[1]), "", tmp_path)
    assert "distilled" in said
    student, tokenizer = load_student(trained[1])
    phrases = ["the red dog .", "ball", "a big tree on the grass with water"]
    made = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    made.enable_padding(pad_id=0)
    session = onnxruntime.InferenceSession(str(tmp_path / "text.onnx"), providers=["CPUExecutionProvider"])
    for phrase, mine in zip(phrases, encode(phrases, session, made), strict=True):
        ids = torch.tensor([Tokenizer.from_str(json.dumps(tokenizer)).encode(phrase).ids])
        assert float(student(ids, torch.ones_like(ids))[0] @ torch.from_numpy(mine)) > 0.998  # stored as int8


def test_a_bundle_gets_the_packaged_encoder_if_nothing_is_said(tmp_path: Path) -> None:
    starter = load_bundle("starter")
    assert export_any_text("", "", tmp_path) == starter.manifest["training"]["segment"]["text"]
    for name in ("text.onnx", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == starter.file(name).read_bytes()
    with pytest.raises(UnsayError):
        export_any_text(str(tmp_path / "nothing"), "", tmp_path)
