"""Tokenizers, word lists and vectors that somebody made to harm, or that damage made so."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.hostile_bundles import make, use, whole

from unsay.bundle import MANIFEST, Bundle, read_manifest
from unsay.errors import BundleError
from unsay.segmentation import lexicon_files
from unsay.segmentation.lexicon import bundle_lexicon
from unsay.segmentation.text import MOST_TOKENIZER_BYTES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "model of type 'None'"),
        (b"{}", "model of type 'None'"),
        (b'{"model": {"type": "WordLevel", "vocab": {}}}', "no vocabulary"),
        (b'{"model": {"type": "WordLevel", "vocab": {"a": -1}}}', "no vocabulary of tokens numbered"),
        (b'{"model": {"type": "WordLevel", "vocab": {"a": 1e9}}}', "no vocabulary of tokens numbered"),
        (b'{"model": {"type": "WordLevel", "vocab": {"a": 1}}}', "no tokenizer that can be used"),
        (b"[" * 10**5, "is not JSON"),
        (b" " * (MOST_TOKENIZER_BYTES + 1), "a tokenizer has at most"),
    ],
)
def test_a_tokenizer_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        use(make(tmp_path, tokenizer_json=content, edit=lambda m: m["segment"].pop("lexicon")))


def test_tokens_that_the_encoder_does_not_know(tmp_path: Path) -> None:
    stored = json.loads(whole()["tokenizer.json"])
    stored["model"]["vocab"] = {word: 1000 + n for n, word in enumerate(stored["model"]["vocab"])}
    with pytest.raises(BundleError, match=r"text\.onnx failed in ONNX Runtime"):
        use(make(tmp_path, tokenizer_json=json.dumps(stored).encode(), edit=lambda m: m["segment"].pop("lexicon")))


WORDS: dict[str, Any] = {"vocabulary": ["red", "puce"], "photos": [1, 1], "visible": [], "narrower": {}, "classes": {}}


@pytest.mark.parametrize(
    "words",
    [
        [],
        {},
        WORDS | {"vocabulary": ["red"]},
        WORDS | {"vocabulary": ["red", 3]},
        WORDS | {"vocabulary": ["red", "red"]},
        WORDS | {"photos": [1]},
        WORDS | {"photos": [1, -1]},
        WORDS | {"photos": [1, 1.5]},
        WORDS | {"visible": [2]},
        WORDS | {"visible": [-1]},
        WORDS | {"visible": [True]},
        WORDS | {"visible": "01"},
        WORDS | {"narrower": []},
        WORDS | {"narrower": {"a": [2]}},
        WORDS | {"narrower": {"a": 1}},
        WORDS | {"classes": {"a": [2]}},
        WORDS | {"classes": {"a": ["b"]}},
        WORDS | {"related": []},
        WORDS | {"related": {"families": [[5]], "words": [], "worn": []}},
        WORDS | {"related": {"families": [[1]], "words": [[[1], "a"]], "worn": []}},
        WORDS | {"related": {"families": [[1]], "words": [[[0], 3]], "worn": []}},
        WORDS | {"related": {"families": [[1]], "words": [], "worn": [2]}},
    ],
)
def test_words_that_are_none(tmp_path: Path, words: Any) -> None:
    with pytest.raises(BundleError, match=r"words\.json does not hold a lexicon's words: .*install it again"):
        use(make(tmp_path, words_json=json.dumps(words).encode()))


def packed(**arrays: bytes | np.ndarray) -> bytes:
    """An .npz, sound unless `arrays` replace some (bytes: as they are; None would be missing)."""
    rows = np.eye(2, 4, dtype=np.float32)
    found: dict[str, Any] = {
        "vocabulary": rows,
        "classes": rows,
        "bank_mean": rows[0],
        "bank_spread": np.eye(4, dtype="f4"),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in (found | arrays).items():
            content = io.BytesIO()
            if isinstance(value, bytes):
                content.write(value)
            elif value is not None:
                np.save(content, value)
            if value is not None:
                archive.writestr(f"{name}.npy", content.getvalue())
    return stream.getvalue()


def header(shape: tuple[int, ...], kind: str = "<f4", body: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": kind})
    return stream.getvalue() + body


class Evil:
    """What would run if anything unpickled it."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


def test_arrays_that_are_sound(tmp_path: Path) -> None:
    folder = make(tmp_path, words_npz=packed())
    assert bundle_lexicon(Bundle(folder, read_manifest(folder / MANIFEST))).vectors.shape == (2, 4)


@pytest.mark.parametrize(
    "arrays",
    [
        {"vocabulary": None},
        {"vocabulary": np.array([[Evil()]], object)},
        {"vocabulary": np.zeros((2, 3), np.float32)},
        {"vocabulary": np.zeros(4, np.float32)},
        {"classes": np.zeros((2, 0), np.float32)},
        {"bank_spread": np.full((4, 4), np.nan, np.float32)},
        {"bank_mean": np.zeros(3, np.float32)},
        {"vocabulary_scale": np.ones((3, 1), np.float32)},
        {"vocabulary": header((1 << 40, 4))},
        {"vocabulary": header((2, 4), body=b"\0" * 31)},
        {"vocabulary": header((-2, -4), body=b"\0" * 32)},
        {"vocabulary": header((2, 4), "|O", b"\0" * 64)},
        {"vocabulary": header((2, 4), "<U9", b"\0" * 288)},
        {"vocabulary": b"\x93NUMPY\x01\x00\x10\x00{'a': exit()}   "},
        {"vocabulary": b""},
    ],
)
def test_arrays_that_are_none(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"words\.npz does not hold a lexicon's arrays: .*install it again"):
        use(make(tmp_path, words_npz=packed(**arrays)))


def test_an_array_that_unpacks_to_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexicon_files, "MOST_ARRAY_BYTES", 1 << 20)
    content = packed(vocabulary=np.zeros((1 << 18, 4), np.float32))
    assert len(content) < 10_000
    with pytest.raises(BundleError, match="vocabulary has 4194432 bytes; at most 1048576 are read"):
        use(make(tmp_path, words_npz=content))
