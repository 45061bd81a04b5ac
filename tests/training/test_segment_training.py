"""One tiny run of the region head's training: it learns, and resuming gives what an unbroken run gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unsay.errors import BadInput
from unsay.models.region_head import HeadConfig
from unsay.training.segment import SegmentConfig, _Run, read_checkpoint, train_segment
from unsay.training.segment_data import Pairs, coverage, spaced


def pairs(photos: int = 24) -> Pairs:
    torch.manual_seed(0)
    kinds = torch.arange(photos) % 4
    directions = torch.randn(4, 1280)
    wide = torch.randn(photos, 9, 1280) * 0.3
    wide[:, :5] += directions[kinds][:, None]
    groups = torch.zeros(photos, 6, 6, dtype=torch.int8)
    groups[:, 4:] = 1
    counts = torch.zeros(photos, 4, dtype=torch.int16)
    counts[torch.arange(photos), kinds] = 3
    nouns = torch.nn.functional.normalize(torch.randn(4, 16), dim=-1)
    names = [f"{i}.jpg" for i in range(photos)]
    return Pairs(names, wide.half(), groups, 2, counts, ["a", "b", "c", "d"], nouns)


def config(layers: int = 0, epochs: int = 4) -> SegmentConfig:
    head = HeadConfig(width=24, text=16, heads=4, layers=layers, dropout=0.1)
    return SegmentConfig(head=head, groups=2, epochs=epochs, batch=8, threads=1)


@pytest.mark.parametrize("layers", [0, 1])
def test_the_loss_falls(layers: int) -> None:
    run = _Run(config(layers, 6), pairs())
    losses = [run.train_epoch() for _ in range(6)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_resumed_run_is_the_unbroken_run(tmp_path: Path) -> None:
    data = pairs()
    torch.manual_seed(1)
    whole = _Run(config(), data)
    torch.manual_seed(1)
    first = _Run(config(), data)
    for _ in range(4):
        whole.train_epoch()
    for _ in range(2):
        first.train_epoch()
    first.keep(tmp_path / "head.pt")
    second = _Run(config(), data)
    second.restore(tmp_path / "head.pt")
    for _ in range(2):
        second.train_epoch()
    for name, value in whole.head.state_dict().items():
        assert torch.equal(value, second.head.state_dict()[name]), name
    stored, head = read_checkpoint(tmp_path / "head.pt")
    assert stored == config()
    assert not head.training


def test_coverage_is_the_share_of_each_patch() -> None:
    groups = torch.tensor([[[0, 0, 1, 1], [0, 1, 1, 1]]], dtype=torch.int8)
    assert coverage(groups, 3).tolist() == [[[0.75, 0.0], [0.25, 1.0], [0.0, 0.0]]]


def test_spaced_names_cover_the_list() -> None:
    assert spaced(list("abcdefgh"), 4) == list("aceg")
    assert spaced(list("abc"), None) == list("abc")


def test_a_folder_without_photos_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no photos"):
        train_segment(SegmentConfig(data=str(tmp_path), out=str(tmp_path / "out"), threads=1))
    with pytest.raises(BadInput, match="epochs is 0"):
        train_segment(SegmentConfig(epochs=0))
