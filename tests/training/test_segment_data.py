from __future__ import annotations

import dataclasses

import pytest
import torch

from unsay.errors import BadInput
from unsay.training.nouns import NounConfig
from unsay.training.segment_batches import Sample, collate
from unsay.training.segment_config import SegmentConfig, check_config
from unsay.training.segment_data import Steps, coverage
from unsay.training.segment_loss import LossConfig

CONFIG = SegmentConfig(batch=3, epochs=4)


def test_coverage_is_the_share_of_each_patch() -> None:
    groups = torch.tensor([[[0, 0, 1, 1], [0, 1, 1, 1]]], dtype=torch.int8)
    assert coverage(groups, 3, (1, 2)).tolist() == [[[0.75, 0.0], [0.25, 1.0], [0.0, 0.0]]]
    assert torch.allclose(coverage(groups, 2, (2, 3)).sum(1), torch.ones(1, 6))


def test_an_epoch_is_every_photo_once_in_an_order_of_its_own() -> None:
    steps = list(Steps(9, CONFIG))
    assert len(steps) == len(Steps(9, CONFIG)) == 12
    epochs = [[item for step in steps[3 * e : 3 * e + 3] for item in step] for e in range(4)]
    for number, items in enumerate(epochs):
        assert sorted(items) == [(number, photo) for photo in range(9)]
    assert len({tuple(photo for _, photo in items) for items in epochs}) == 4
    other = dataclasses.replace(CONFIG, seed=1)
    assert list(Steps(9, other)) != steps


@pytest.mark.parametrize("first", [0, 1, 3, 7, 12])
def test_steps_go_on_where_they_stopped(first: int) -> None:
    assert list(Steps(9, CONFIG, first)) == list(Steps(9, CONFIG))[first:]


def test_processes_share_what_one_with_their_joint_batch_takes() -> None:
    joint = list(Steps(14, dataclasses.replace(CONFIG, batch=6)))
    parts = [list(Steps(14, CONFIG, 0, rank, 2)) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(step) for step in joint]


def test_fewer_photos_than_a_batch_are_one_step() -> None:
    assert [len(step) for step in Steps(5, dataclasses.replace(CONFIG, batch=64))] == [5] * 4
    with pytest.raises(BadInput, match="3 photos for 2 processes"):
        Steps(3, CONFIG, 0, 0, 2)


def test_a_batch_knows_which_photo_each_noun_and_sentence_is_of() -> None:
    def sample(nouns: list[int], sentences: int) -> Sample:
        counts = torch.tensor([n + 1 for n in nouns], dtype=torch.long)
        numbers = torch.tensor(nouns, dtype=torch.long)
        return Sample(torch.zeros(4, 2), torch.zeros(2, 2), numbers, counts, torch.ones(sentences, 3))

    batch = collate([sample([5, 2], 1), sample([], 2), sample([2], 0)])
    assert batch.inputs.shape == (3, 4, 2)
    assert batch.nouns.owner.tolist() == [0, 0, 2]
    assert batch.nouns.noun.tolist() == [5, 2, 2]
    assert batch.nouns.weight.tolist() == [6, 3, 3]
    assert batch.sentences.embedding.shape == (3, 3)
    assert batch.sentences.owner.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch": 1}, "batch 1"),
        ({"network": "resnet"}, "starter, paper"),
        ({"groups": 128}, "groups is 128"),
        ({"ema": 1.0}, "ema is 1"),
        ({"loss": LossConfig("three-way")}, "one-way, two-way, image"),
        ({"nouns": NounConfig(templates=("a photo",))}, "each with {} for the noun"),
    ],
)
def test_settings_that_no_run_can_have_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_config(dataclasses.replace(SegmentConfig(), **changes))  # type: ignore[arg-type]
