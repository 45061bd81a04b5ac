"""Words -> embeddings, by the bundle's sentence encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unsay.bundle import Bundle, read_json
from unsay.errors import BundleError
from unsay.segmentation.fit import check_text
from unsay.segmentation.recipe import read_recipe
from unsay.segmentation.vision import Array, finite

BATCH = 64
MOST_TOKENIZER_BYTES = 32_000_000
"""CLIP's has 2 MB, a multilingual one of 250,000 tokens about 17."""
MOST_TOKENS = 1_000_000
MOST_LENGTH = 4096
"""Tokens in one sentence; a padding or a prefix that a tokenizer states could be of any length."""
TOKENIZERS = ("BPE", "Unigram", "WordLevel", "WordPiece")


def word_vectors(words: list[str], bundle: Bundle) -> Array:
    """Words -> [N, E] fp32 of unit length: each put into every template of the bundle, the mean of the embeddings."""
    text = read_recipe(bundle).text
    return sentence_vectors([[template.format(word) for template in text.templates] for word in words], bundle)


def sentence_vectors(sentences: list[list[str]], bundle: Bundle) -> Array:
    """Lists of sentences (as many in each) -> the mean embedding of each list, [N, E] fp32 of unit length.

    Raises `BundleError` for a tokenizer or a sentence encoder that cannot be used.
    """
    recipe = read_recipe(bundle)
    text = recipe.text
    bundle.part("text fits", lambda: check_text(bundle, recipe))
    flat = [sentence for row in sentences for sentence in row]
    rows = encode(flat, bundle.session(text.file), load_tokenizer(bundle, text.tokenizer))
    mean = rows.reshape(len(sentences), -1, rows.shape[1]).mean(1)
    lengths = np.linalg.norm(mean, axis=1, keepdims=True)
    if not lengths.all():
        raise BundleError(f"{text.file} of the bundle {bundle.name!r} gave an embedding of zeros: install it again")
    return np.asarray(mean / lengths, np.float32)


def load_tokenizer(bundle: Bundle, name: str) -> Any:
    """The bundle's tokenizer, padding each batch to its longest sentence; made once. Raises `BundleError`."""

    def build() -> Any:
        path = bundle.file(name)
        check_tokenizer(path)
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.enable_padding(pad_id=0)  # the attention mask tells padding from token 0
        except BaseException as error:
            raise _of_tokenizer(error, f"{path} is no tokenizer that can be used") from error
        return tokenizer

    return bundle.part(f"tokenizer:{name}", build)


def check_tokenizer(path: Path) -> None:
    """Raises `BundleError` unless the file is of a tokenizer's size and form: JSON, a model of a known kind, a
    vocabulary whose tokens are numbered from 0 up.
    """
    size = path.stat().st_size
    if size > MOST_TOKENIZER_BYTES:
        raise BundleError(f"{path} has {size} bytes; a tokenizer has at most {MOST_TOKENIZER_BYTES}: install it again")
    stored = read_json(path, path.read_bytes())
    model = stored.get("model") if isinstance(stored, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in TOKENIZERS or not isinstance(model, dict):
        raise BundleError(f"{path} has a model of type {str(kind)[:80]!r}; known: {', '.join(TOKENIZERS)}")
    vocabulary = model.get("vocab")
    numbers = list(vocabulary.values()) if isinstance(vocabulary, dict) else range(len(vocabulary or ()))
    if not numbers or not all(type(n) is int and 0 <= n < MOST_TOKENS for n in numbers):
        raise BundleError(f"{path} has no vocabulary of tokens numbered 0 to {MOST_TOKENS - 1}: install it again")


def encode(sentences: list[str], session: Any, tokenizer: Any) -> Array:
    """Sentences -> [N, D] fp32, unit length. Raises `BundleError` where tokenizer or session do not give that."""
    rows = []
    for start in range(0, len(sentences), BATCH):
        encoded = _tokens(sentences[start : start + BATCH], tokenizer)
        feed = {
            "ids": np.array([e.ids for e in encoded], np.int64),
            "mask": np.array([e.attention_mask for e in encoded], np.int64),
        }
        rows.append(session.run(["embedding"], feed)[0])
        if rows[-1].ndim != 2 or len(rows[-1]) != len(encoded) or not finite(rows[-1]):
            raise BundleError(
                f"the sentence encoder gave {rows[-1].dtype} {list(rows[-1].shape)}; expected finite float32 "
                f"[{len(encoded)}, n]: the bundle is not usable"
            )
    return np.concatenate(rows).astype(np.float32)


def _tokens(sentences: list[str], tokenizer: Any) -> list[Any]:
    try:
        encoded = list(tokenizer.encode_batch(sentences))
    except BaseException as error:
        raise _of_tokenizer(error, "the bundle's tokenizer failed") from error
    longest = max(len(e.ids) for e in encoded)
    if longest > MOST_LENGTH:
        raise BundleError(
            f"the bundle's tokenizer makes {longest} tokens of one sentence; at most {MOST_LENGTH} are "
            "read: install it again"
        )
    return encoded


def _of_tokenizer(error: BaseException, what: str) -> BaseException:
    """The error as the bundle's, if it is the library's: it raises bare `Exception`, and a panic that is none."""
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return BundleError(f"{what}: {' '.join(str(error).split())[:200]}; install the bundle again")
    return error
