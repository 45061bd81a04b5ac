from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unsay.training.nouns import NounConfig, noun_embeddings, nouns_of, photo_nouns, read_nouns

pytestmark = pytest.mark.filterwarnings("ignore")  # spaCy's own dependencies warn
SENTENCES = ["Two dogs chase a tennis ball in the red cars .", "It runs quickly .", "A dog sees other dogs ."]
PHOTOS = [["A dog is running .", "The dogs are on the grass ."], ["There is grass ."], ["There is a boat ."]]


def test_nouns_are_lemmas_and_compounds_once_each() -> None:
    assert list(nouns_of(SENTENCES)) == [["dog", "tennis", "ball", "tennis ball", "car"], [], ["dog"]]


def test_adjectives_join_their_nouns_on_request() -> None:
    assert next(nouns_of(SENTENCES, phrases=True)) == ["dog", "tennis", "ball", "tennis ball", "car", "red car"]


def test_counts_are_of_sentences_and_numbers_by_frequency(tmp_path: Path) -> None:
    photo_nouns(PHOTOS, NounConfig(least_photos=1)).save(tmp_path / "nouns.npz")
    table = read_nouns(tmp_path / "nouns.npz")
    assert table.words == ["grass", "boat", "dog"]
    assert len(table) == 3
    assert [dict(zip(*(part.tolist() for part in table.of(i)), strict=True)) for i in range(3)] == [
        {2: 2, 0: 1},
        {0: 1},
        {1: 1},
    ]


def test_rare_nouns_are_left_out() -> None:
    table = photo_nouns(PHOTOS, NounConfig(least_photos=2))
    assert table.words == ["grass"]
    assert [table.of(i)[0].tolist() for i in range(3)] == [[0], [0], []]


def test_a_noun_is_the_mean_over_the_templates() -> None:
    def embed(sentences: Sequence[str]) -> Tensor:
        return torch.eye(3)[[len(sentence) % 3 for sentence in sentences]]

    rows = noun_embeddings(["ab", "abc"], ["{}", "a {}", "{}!!!"], embed)
    expected = torch.tensor([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0]]) / 5**0.5
    assert torch.allclose(rows, expected)
