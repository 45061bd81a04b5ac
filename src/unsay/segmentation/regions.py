"""A photo before any word is asked: its groups, and what the networks say of each, all regions in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unsay.bundle import Bundle
from unsay.errors import BundleError
from unsay.results import Pixels
from unsay.segmentation.fit import check_networks
from unsay.segmentation.grouping import Labels, group_photo
from unsay.segmentation.recipe import Recipe, read_recipe
from unsay.segmentation.vision import Array, finite, prepare, run_maps


@dataclass(frozen=True, eq=False)
class Regions:
    """`embeddings` [K + 1, E] of unit length, `logits` [K + 1, 1000] of ImageNet's classes ([K + 1, 0] where the bundle
    has none), `area` [K + 1] shares of the photo; the last row is the whole photo.
    """

    embeddings: Array
    logits: Array
    area: Array


@dataclass(frozen=True, eq=False)
class Scene:
    """`groups` [h, w], 0..K-1, on the grid or at the size at which they were made, and what is known of them."""

    groups: Labels
    regions: Regions


def look(rgb: Pixels, bundle: Bundle) -> Scene:
    """Everything about a photo that no word changes. rgb [H, W, 3] uint8 sRGB. Raises `BundleError`."""
    recipe = read_recipe(bundle)
    bundle.part("networks fit", lambda: check_networks(bundle, recipe))
    maps = run_maps(bundle.session(recipe.features.file), prepare(rgb, recipe.features))
    groups = group_photo(rgb, maps, recipe.grouping)
    return Scene(groups, describe(groups, maps, rgb, bundle, recipe))


def describe(groups: Labels, maps: dict[str, Array], rgb: Pixels, bundle: Bundle, recipe: Recipe) -> Regions:
    """All groups and, last, the whole photo through the region encoder in one pass."""
    encoder = recipe.encoder
    if encoder.network is not None:
        pixels = prepare(rgb, encoder.network)
        grid = (pixels.shape[2] // encoder.patch, pixels.shape[3] // encoder.patch)
        feed = {"pixels": pixels}
    else:
        feed = {name: maps[name][None] for name in encoder.maps}
        grid = maps[encoder.maps[-1]].shape[1:]
    shares = coverage(groups, *grid)
    session = bundle.session(encoder.file)
    names = [output.name for output in session.get_outputs()]
    given = dict(zip(names, session.run(names, {**feed, "coverage": shares}), strict=True))
    embeddings = given["embeddings"]
    logits = given.get("logits", np.zeros((len(embeddings), 0), np.float32))
    for name, values in (("embeddings", embeddings), ("logits", logits)):
        if values.ndim != 2 or len(values) != len(shares) or not finite(values):
            raise BundleError(
                f"{encoder.file} gave {name} as {values.dtype} {list(values.shape)}; expected finite float32 "
                f"[{len(shares)}, n]: the bundle is not usable"
            )
    return Regions(embeddings, logits, shares.mean(1))


def coverage(groups: Labels, height: int, width: int) -> Array:
    """Groups on any grid -> share of each patch of a height x width grid in each group, and a last row of ones,
    [K + 1, height * width] fp32.
    """
    rows = [
        cv2.resize((groups == k).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA).reshape(-1)
        for k in range(int(groups.max()) + 1)
    ]
    return np.stack([*rows, np.ones(height * width, np.float32)])
