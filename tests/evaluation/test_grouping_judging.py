"""The measures of partitions against their definitions, pixel pair by pixel pair."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from unsay.errors import BadInput
from unsay.evaluation.grouping import (
    Oracle,
    Outlined,
    agreement,
    covering,
    overlaps,
    rand_index,
    read_bsds,
    tune,
    variation_of_information,
)


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, (5, 6)), rng.integers(0, 3, (5, 6))


@pytest.mark.parametrize("seed", range(4))
def test_covering_is_area_times_best_overlap(seed: int) -> None:
    truth, found = pair(seed)
    total = 0.0
    for r in np.unique(truth):
        inside = truth == r
        ious = [(inside & (found == s)).sum() / (inside | (found == s)).sum() for s in np.unique(found)]
        total += inside.sum() * max(ious)
    assert covering(overlaps(truth, found)) == pytest.approx(total / truth.size)


@pytest.mark.parametrize("seed", range(4))
def test_rand_index_counts_the_pairs_that_agree(seed: int) -> None:
    truth, found = (p.ravel() for p in pair(seed))
    pairs = list(itertools.combinations(range(truth.size), 2))
    agree = sum((truth[i] == truth[j]) == (found[i] == found[j]) for i, j in pairs)
    assert rand_index(overlaps(truth, found)) == pytest.approx(agree / len(pairs))


@pytest.mark.parametrize("seed", range(4))
def test_variation_of_information_is_the_two_conditional_entropies(seed: int) -> None:
    truth, found = pair(seed)
    total = 0.0
    for r, s in itertools.product(range(4), range(3)):
        joint = ((truth == r) & (found == s)).mean()
        if joint > 0:
            total -= joint * (math.log2(joint / (truth == r).mean()) + math.log2(joint / (found == s).mean()))
    assert variation_of_information(overlaps(truth, found)) == pytest.approx(total)


def test_the_same_partition_agrees_fully_and_one_segment_covers_by_the_largest() -> None:
    truth = np.repeat([0, 0, 0, 1], 4).reshape(4, 4)
    same = overlaps(truth, 1 - truth)
    assert (covering(same), rand_index(same)) == (1, 1)
    assert variation_of_information(same) == pytest.approx(0)
    assert covering(overlaps(truth, np.zeros_like(truth))) == pytest.approx(0.75 * 0.75 + 0.25 * 0.25)


def test_a_photo_is_scored_against_every_person_not_the_kindest() -> None:
    truth = np.repeat([0, 1], 8).reshape(4, 4).astype(np.int32)
    sample = Outlined("a", np.zeros((4, 4, 3), np.uint8), (truth, np.zeros_like(truth)))
    result = agreement([sample], [truth])
    assert result.covering == pytest.approx((1 + 0.5) / 2)
    assert result.segments == 2


def test_partitions_of_different_size_are_refused() -> None:
    with pytest.raises(BadInput, match="one size"):
        overlaps(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_oracle_gives_each_group_its_majority_class_and_leaves_out_ignored_pixels() -> None:
    truth = np.zeros((4, 6), np.uint8)
    truth[:, 3:] = 8  # cat
    truth[0] = 255
    groups = np.zeros((4, 6), np.int32)
    groups[:, 2:] = 1
    oracle = Oracle()
    oracle.add(truth, groups)
    assert oracle.miou7 == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert oracle.covering == pytest.approx(0.5 * 2 / 3 + 0.5 * 3 / 4)
    assert oracle.groups == 2


def test_tuning_finds_the_setting_that_gives_the_wanted_number() -> None:
    assert 100 / tune(lambda x: 100 / x, 10, 0.1, 1000, rounds=12) == pytest.approx(10, abs=0.1)


def test_reads_the_layout_of_bsds500(tmp_path: Path) -> None:
    (tmp_path / "images" / "test").mkdir(parents=True)
    (tmp_path / "groundTruth" / "test").mkdir(parents=True)
    photo = np.zeros((8, 9, 3), np.uint8)
    photo[..., 2] = 200  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / "images" / "test" / "1.jpg"), photo)
    persons = np.empty((1, 2), object)
    for index in range(2):
        segments = np.full((8, 9), 1 + index, np.uint16)
        persons[0, index] = np.array([[(segments,)]], dtype=[("Segmentation", object)])
    scipy.io.savemat(tmp_path / "groundTruth" / "test" / "1.mat", {"groundTruth": persons})
    (sample,) = read_bsds(tmp_path)
    assert sample.rgb[0, 0, 0] > 150
    assert [int(o.max()) for o in sample.outlines] == [0, 1]
    with pytest.raises(BadInput, match="BSDS500"):
        next(read_bsds(tmp_path, "train"))
