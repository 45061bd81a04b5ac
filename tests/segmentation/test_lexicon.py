"""A bundle's vectors of words: int8 with scales as they are written now, fp16 as they were before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.segmentation.conftest import write_colour_bundle

from unsay.bundle import load_bundle
from unsay.segmentation.lexicon import bundle_lexicon, pack_rows
from unsay.training.bundling import write_part


def unit(rows: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, 64)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("packed", [True, False])
def test_vectors_come_back_as_unit_vectors(packed: bool, tmp_path: Path) -> None:
    write_colour_bundle(tmp_path)
    nouns, classes = unit(3, 0), unit(5, 1)
    spread = np.cov(nouns.T).astype(np.float16 if packed else np.float32)
    words = {"vocabulary": ["a", "b", "c"], "photos": [3, 2, 1], "visible": [], "narrower": {"person": [2]}}
    words |= {"classes": {"a": [1]}}
    if packed:
        words |= {"related": {"families": [[1], [3, 4]], "words": [[[0, 1], "wolf|fox"], [[1], "elk"]], "worn": [2]}}
    (tmp_path / "words.json").write_text(json.dumps(words))
    arrays = {"vocabulary": nouns.astype(np.float16), "classes": classes.astype(np.float16)}
    arrays = pack_rows("vocabulary", nouns) | pack_rows("classes", classes) if packed else arrays
    np.savez(tmp_path / "words.npz", allow_pickle=False, **arrays, bank_mean=nouns.mean(0), bank_spread=spread)
    section = json.loads((tmp_path / "bundle.json").read_text())["segment"]
    section["lexicon"] = {"words": "words.json", "vectors": "words.npz"}
    write_part(tmp_path, "segment", section, files=["words.json", "words.npz"])
    found = bundle_lexicon(load_bundle(tmp_path))
    for mine, theirs in ((found.vectors, nouns), (found.class_vectors, classes)):
        assert mine.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-6)
        assert (mine * theirs).sum(1).min() > 0.9999
    families = {"wolf": [[1], [3, 4]], "fox": [[1], [3, 4]], "elk": [[3, 4]]}
    assert (found.related, found.worn) == ((families, [2]) if packed else ({}, []))
    assert found.people == {"person", "c"}
    assert found.known("elk") == packed
    assert found.head("old elk") == ("elk" if packed else "old elk")
    assert (found.head("a"), found.head("old b"), found.head("b qwzx")) == ("a", "b", "b qwzx")
    np.testing.assert_allclose(found.bank_spread, np.cov(nouns.T), atol=1e-4)


def test_a_row_of_zeros_stays_zero() -> None:
    packed = pack_rows("rows", np.zeros((2, 4), np.float32))
    assert not packed["rows"].any()
    assert np.isfinite(packed["rows_scale"]).all()
