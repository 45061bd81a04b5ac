"""An imported bundle answers `unsay.segment` like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import unsay
from unsay.training.import_clip import ClipImport, import_clip


def test_an_imported_bundle_segments_a_photo(open_weights: dict[str, Path], tmp_path: Path) -> None:
    options = ClipImport(str(open_weights["clip"]), str(open_weights["dino"]), side=64, group_side=56)
    bundle = unsay.load_bundle(import_clip(options, tmp_path / "mine"))
    photo = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    found = unsay.segment(photo, ["dog", "cat"], bundle=bundle)
    assert found.labels.shape == found.groups.shape == (60, 80)
    assert set(np.unique(found.labels)) <= {0, 1, 2}
    assert set(found.scores) == {"dog", "cat"}
    assert all(0 <= score <= 1 for score in found.scores.values())
    assert found.groups.max() >= 1
    again = unsay.segment(photo, ["dog", "cat"], bundle=bundle)
    assert np.array_equal(found.labels, again.labels)
    assert found.scores == again.scores
