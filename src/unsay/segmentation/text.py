"""Words -> embeddings, by the bundle's sentence encoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from unsay.bundle import Bundle
from unsay.segmentation.recipe import read_recipe
from unsay.segmentation.vision import Array

BATCH = 64


def word_vectors(words: list[str], bundle: Bundle) -> Array:
    """Words -> [N, E] fp32 of unit length: each put into every template of the bundle, the mean of the embeddings."""
    text = read_recipe(bundle).text
    return sentence_vectors([[template.format(word) for template in text.templates] for word in words], bundle)


def sentence_vectors(sentences: list[list[str]], bundle: Bundle) -> Array:
    """Lists of sentences (as many in each) -> the mean embedding of each list, [N, E] fp32 of unit length."""
    text = read_recipe(bundle).text
    flat = [sentence for row in sentences for sentence in row]
    rows = encode(flat, bundle.session(text.file), load_tokenizer(bundle, text.tokenizer))
    mean = rows.reshape(len(sentences), -1, rows.shape[1]).mean(1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)


def load_tokenizer(bundle: Bundle, name: str) -> Any:
    """The bundle's tokenizer, padding each batch to its longest sentence; made once."""

    def build() -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(bundle.file(name)))
        tokenizer.enable_padding(pad_id=0)  # the attention mask tells padding from token 0
        return tokenizer

    return bundle.part(f"tokenizer:{name}", build)


def encode(sentences: list[str], session: Any, tokenizer: Any) -> Array:
    """Sentences -> [N, D] fp32, unit length."""
    rows = []
    for start in range(0, len(sentences), BATCH):
        encoded = tokenizer.encode_batch(sentences[start : start + BATCH])
        feed = {
            "ids": np.array([e.ids for e in encoded], np.int64),
            "mask": np.array([e.attention_mask for e in encoded], np.int64),
        }
        rows.append(session.run(["embedding"], feed)[0])
    return np.concatenate(rows).astype(np.float32)
