from __future__ import annotations

import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.options import SegmentOptions
from unsay.segmentation.pieces import check_picks, pick_pieces


def two_dogs() -> np.ndarray:
    labels = np.zeros((20, 40), np.int32)
    labels[5:10, 3:10] = 1
    labels[5:10, 25:35] = 1
    labels[15:18, 25:35] = 2
    return labels


def test_without_a_pick_everything_stays() -> None:
    assert np.array_equal(pick_pieces(two_dogs(), SegmentOptions()), two_dogs())


def test_a_box_keeps_what_is_centred_in_it() -> None:
    kept = pick_pieces(two_dogs(), SegmentOptions(box=(20, 0, 20, 12)))
    assert kept[7, 30] == 1
    assert not kept[:, :20].any()
    assert not kept[12:].any()


def test_a_point_keeps_the_piece_under_it() -> None:
    kept = pick_pieces(two_dogs(), SegmentOptions(point=(4, 6)))
    assert kept[7, 5] == 1
    assert not kept[:, 20:].any()


def test_a_box_inside_one_thing_keeps_its_part() -> None:
    kept = pick_pieces(two_dogs(), SegmentOptions(box=(25, 5, 2, 2)))
    assert kept.sum() == 4


def test_a_box_inside_one_thing_does_not_overrule_the_point() -> None:
    assert not pick_pieces(two_dogs(), SegmentOptions(box=(25, 5, 2, 2), point=(4, 6))).any()
    assert pick_pieces(two_dogs(), SegmentOptions(box=(25, 5, 2, 2), point=(26, 6))).sum() == 4


@pytest.mark.parametrize(
    "options",
    [
        SegmentOptions(threshold=1.5),
        SegmentOptions(box=(50, 0, 5, 5)),
        SegmentOptions(box=(0, 0, 0, 5)),
        SegmentOptions(point=(40, 0)),
        SegmentOptions(point=(0, -1)),
        SegmentOptions(threshold="high"),  # type: ignore[arg-type]
        SegmentOptions(box=(1, 2, 3)),  # type: ignore[arg-type]
        SegmentOptions(box=(float("nan"), 0, 5, 5)),  # type: ignore[arg-type]
        SegmentOptions(point=3),  # type: ignore[arg-type]
        SegmentOptions(point="ab"),  # type: ignore[arg-type]
    ],
)
def test_picks_outside_the_photo_are_refused(options: SegmentOptions) -> None:
    with pytest.raises(BadInput):
        check_picks(options, 20, 40)
