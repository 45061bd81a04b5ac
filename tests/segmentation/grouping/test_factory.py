from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.segmentation.grouping import (
    METHODS,
    Agglomerative,
    connected_pieces,
    group_photo,
    join_maps,
    make_grouper,
)
from unsay.segmentation.recipe import Grouping


def maps() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"a": rng.normal(size=(30, 9, 12)).astype(np.float32)}


def test_a_grouper_is_made_by_name_with_its_options() -> None:
    assert make_grouper("agglomerative", {"groups": 7}) == Agglomerative(groups=7)
    assert set(METHODS) == {"agglomerative", "normalised-cut", "k-means"}


def test_unknown_methods_and_options_are_refused_with_what_is_known() -> None:
    with pytest.raises(BadInput, match=r"'slic'.*agglomerative, normalised-cut, k-means"):
        make_grouper("slic")
    with pytest.raises(BadInput, match=r"'radius'.*known: groups"):
        make_grouper("agglomerative", {"radius": 2})


def test_without_superpixels_a_photo_is_grouped_on_the_patch_grid(make_rgb: Callable[..., np.ndarray]) -> None:
    recipe = Grouping({"a": 1.0}, "agglomerative", 8, {"groups": 5})
    labels = group_photo(make_rgb(90, 120), maps(), recipe)
    assert np.array_equal(labels, Agglomerative(groups=5)(join_maps(maps(), {"a": 1.0}, 8)))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_with_superpixels_groups_have_the_pixels_of_the_reduced_photo(
    method: str, make_rgb: Callable[..., np.ndarray]
) -> None:
    options = {"groups": 5, "smallest": 0.5, "superpixels": {"side": 100, "step": 8}}
    labels = group_photo(make_rgb(150, 200), maps(), Grouping({"a": 1.0}, method, 8, options))
    assert labels.shape == (75, 100)
    assert labels.dtype == np.int32
    assert int(connected_pieces(labels).max()) == labels.max() <= 40
    assert "superpixels" in options  # the recipe is read, not used up


def test_an_unknown_superpixel_option_is_refused(make_rgb: Callable[..., np.ndarray]) -> None:
    with pytest.raises(BadInput, match=r"superpixels has no option 'size'"):
        group_photo(make_rgb(9, 9), maps(), Grouping({"a": 1.0}, options={"superpixels": {"size": 1}}))


def test_importing_the_groupers_loads_no_heavy_library() -> None:
    code = (
        "import sys, unsay.segmentation.grouping; print([m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
