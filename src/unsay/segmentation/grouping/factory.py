"""A grouper by name, and a photo grouped as a bundle's recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from unsay.errors import BadInput
from unsay.results import Pixels
from unsay.segmentation.grouping.agglomerative import Agglomerative
from unsay.segmentation.grouping.features import join_maps
from unsay.segmentation.grouping.graph import Labels
from unsay.segmentation.grouping.interface import GraphGrouper, Grouper
from unsay.segmentation.grouping.kmeans import KMeans
from unsay.segmentation.grouping.normalised_cut import NormalisedCut
from unsay.segmentation.grouping.superpixels import Superpixels, superpixel_graph
from unsay.segmentation.recipe import Grouping
from unsay.segmentation.vision import Array

STARTER = Grouping(
    maps={"fine": 1.0, "last": 0.6},
    method="agglomerative",
    channels=24,
    options={
        "height": 0.19,
        "size_power": 0.5,
        "edge_weight": 30.0,
        "smallest": 0.5,
        "superpixels": {"side": 400, "step": 14, "colour": 1.0},
    },
)
"""What suits EfficientNet-Lite's maps, chosen on `voc-animals` dev alone (docs/grouping.md)."""
METHODS: dict[str, type[GraphGrouper]] = {
    "agglomerative": Agglomerative,
    "normalised-cut": NormalisedCut,
    "k-means": KMeans,
}


def make_grouper(method: str, options: Mapping[str, Any] | None = None) -> Grouper:
    """The grouper of that name; `options` are the fields of its class. Raises `BadInput` for an unknown name, option or
    value.
    """
    if method not in METHODS:
        raise BadInput(f"unknown grouping method {method!r}; known: {', '.join(METHODS)}")
    options = dict(options or {})
    _check_names(options, METHODS[method], f"the grouping method {method!r}")
    return METHODS[method](**options)


def group_photo(rgb: Pixels, maps: Mapping[str, Array], recipe: Grouping) -> Labels:
    """Groups of a photo [H, W, 3] by an encoder's maps {name: [C, h, w]}: labels int32, 0..K-1, on the patch grid, or,
    where the recipe's options have `superpixels` (fields of `Superpixels`), on the pixels of the reduced photo.

    Raises `BadInput` for settings that cannot be used.
    """
    options = dict(recipe.options)
    settings = options.pop("superpixels", None)
    grouper = make_grouper(recipe.method, options)
    features = join_maps(maps, recipe.maps, recipe.channels)
    if settings is None:
        return grouper(features)
    _check_names(settings, Superpixels, "superpixels")
    chosen = Superpixels(**settings)
    graph, labels = superpixel_graph(chosen.reduced(rgb), features, chosen)
    return np.asarray(grouper.partition(graph)[labels], np.int32)


def _check_names(options: Mapping[str, Any], kind: type[Any], what: str) -> None:
    known = [f.name for f in fields(kind)]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise BadInput(f"{what} has no option {unknown[0]!r}; known: {', '.join(known)}")
