"""What the ablation of the segmentation half compares: its settings, the rows of its tables, its training runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unsay.errors import BadInput
from unsay.models.starter_encoder import StarterConfig
from unsay.segmentation.grouping import STARTER
from unsay.segmentation.recipe import Grouping
from unsay.training.segment_config import SegmentConfig, check_config


@dataclass(frozen=True)
class AblationConfig:
    """Which training runs are judged on which photos; see `configs/segment-ablation.yaml`."""

    data: str = "../shared/data/voc-animals"
    """A folder in VOC's layout, whose `split` is judged."""
    split: str = "report"
    limit: int = 0
    """Only its first so many photos; 0: all."""
    out: str = "runs/segment-ablation"
    """Folder of the training runs; one that is finished there is not trained again."""
    seeds: tuple[int, ...] = (0, 1, 2)
    photos: int = 2000
    """So many training photos, evenly spaced among those of `train.data`; 0: all."""
    crop_side: int = 224
    """Long side in pixels to which a region that is cut out is brought."""
    train: SegmentConfig = field(default_factory=lambda: SegmentConfig(starter=StarterConfig(tune=False, layers=2)))
    """What all runs have in common; its `out` and `seed` are not read. `cache` empty: `<out>/cache`."""


@dataclass(frozen=True)
class Setting:
    """What one row judges: the method, but for what the row changes.

    `variant`: which of `VARIANTS` was trained; `grouping`: which of `GROUPINGS`. `regions`: "tokens", all regions in
    one pass over the photo, or "crops", each cut out by its box and seen alone. `evidence`: "both", "sentences" (the
    bundle knows no ImageNet class) or "classes" (the region embeddings say nothing).
    """

    variant: str = "one-way"
    grouping: str = "agglomerative, superpixels"
    regions: str = "tokens"
    evidence: str = "both"


VARIANTS: dict[str, tuple[str, bool]] = {
    "one-way": ("one-way", True),
    "two-way": ("two-way", True),
    "image-level": ("image", True),
    "without context": ("one-way", False),
}
"""What is trained: the objective of the loss, and whether patches attend to all patches."""
GROUPINGS: dict[str, Grouping | None] = {
    "none": None,
    "k-means, patches": Grouping(STARTER.maps, "k-means"),
    "normalised cut, patches": Grouping(STARTER.maps, "normalised-cut", options={"groups": 20}),
    "agglomerative, patches": Grouping(STARTER.maps, options={"groups": 20}),
    "agglomerative, superpixels": STARTER,
}
"""None: every patch of the region encoder is a region."""
TABLES: dict[str, dict[str, Setting]] = {
    "grouping": {name: Setting(grouping=name) for name in GROUPINGS},
    "objective": {name: Setting(variant=name) for name in ("image-level", "two-way", "one-way")},
    "regions": {
        "crops": Setting(regions="crops"),
        "tokens without context": Setting(variant="without context"),
        "tokens with context": Setting(),
    },
    "evidence": {
        "sentences only": Setting(evidence="sentences"),
        "class names only": Setting(evidence="classes"),
        "both": Setting(),
    },
}


def all_settings() -> list[Setting]:
    """Every setting that a table asks for, once; those with both kinds of evidence with the sentences alone too."""
    asked = [setting for rows in TABLES.values() for setting in rows.values()]
    return list(dict.fromkeys([*asked, *map(sentences_only, asked)]))


def sentences_only(setting: Setting) -> Setting:
    """The same setting, judged by what was learned from sentences alone."""
    return dataclasses.replace(setting, evidence="sentences")


def run_config(config: AblationConfig, variant: str, seed: int, **data: Any) -> SegmentConfig:
    """The training run of one variant and seed; `data`: fields of its data set that are changed."""
    objective, context = VARIANTS[variant]
    train = config.train
    return dataclasses.replace(
        train,
        data=dataclasses.replace(train.data, **data),
        out=str(Path(config.out) / f"{variant.replace(' ', '-')}-{seed}"),
        cache=train.cache or str(Path(config.out) / "cache"),
        starter=dataclasses.replace(train.starter, context=context),
        loss=dataclasses.replace(train.loss, objective=objective),
        seed=seed,
    )


def check_ablation(config: AblationConfig) -> None:
    """Raise `BadInput` for settings that no ablation can have."""
    check_config(config.train)
    if config.train.network != "starter":
        raise BadInput(f"train.network is {config.train.network!r}; the ablation is of the starter's networks")
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise BadInput(f"seeds are {list(config.seeds)}; give at least one, each once")
    for name in ("limit", "photos"):
        if getattr(config, name) < 0:
            raise BadInput(f"{name} is {getattr(config, name)}; give a number of photos, or 0 for all")
    if config.photos and config.train.data.kind != "tsv":
        raise BadInput(f"photos is {config.photos}, which only data of the kind tsv can be cut to: set it to 0")
    if config.train.starter.layers < 2:
        raise BadInput(
            f"train.starter.layers is {config.train.starter.layers}; in a single layer region tokens read patches that "
            "have seen no other, so context and no context are the same: give 2 or more"
        )
    if config.crop_side < 1:
        raise BadInput(f"crop_side is {config.crop_side}; give a size in pixels, such as 224")
