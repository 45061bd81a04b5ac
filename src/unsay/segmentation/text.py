"""Words -> embeddings, by the bundle's sentence encoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from unsay.bundle import Bundle
from unsay.segmentation.trunk import Array

BATCH = 64


def load_tokenizer(bundle: Bundle, name: str) -> Any:
    """The bundle's tokenizer, padding each batch to its longest sentence; made once."""

    def build() -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(bundle.file(name)))
        tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
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
