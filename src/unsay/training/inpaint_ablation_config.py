"""What the ablation of the inpainting half compares: its settings, the rows of its tables, its training runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from unsay.errors import BadInput
from unsay.models.madf import MADFConfig
from unsay.training.inpaint_config import InpaintConfig, check_config


@dataclass(frozen=True)
class InpaintAblationConfig:
    """Which training runs are judged on which photos; see `configs/inpaint-ablation.yaml`."""

    data: str = "../shared/data/bsds500/images/test"
    """A folder of photos to judge."""
    limit: int = 0
    """Only its first so many photos by name; 0: all."""
    side: int = 128
    """Photos are judged as their central square, shrunk to so many pixels a side; a multiple of 2**levels."""
    out: str = "runs/inpaint-ablation"
    """Folder of the training runs; one that is finished there is not trained again."""
    seeds: tuple[int, ...] = (0, 1, 2)
    train: InpaintConfig = field(default_factory=lambda: InpaintConfig(network=MADFConfig(width=0.125, levels=5)))
    """What all runs have in common; its `out`, `seed`, `network.refinements` and `losses.last_only` are not read."""


@dataclass(frozen=True)
class Setting:
    """What one row judges: the method, but for what the row changes; see `TABLES` for the values."""

    convolution: str = "mask-aware"
    """Of the encoder: "plain", "partial" (Liu et al. 2018), "gated" (Yu et al. 2019) or "mask-aware"."""
    normalization: str = "point-wise"
    """Of the refinement decoders: "batch-norm" or "point-wise"."""
    refinements: int = 2
    """Refinement decoders, 0 to 2."""
    supervision: str = "stage by stage"
    """Where losses are: "stage by stage" or `END_ONLY`."""

    @property
    def name(self) -> str:
        """Names the setting's runs among the files."""
        words = (self.convolution, self.normalization, f"{self.refinements} refinements", self.supervision)
        return ", ".join(words).replace(", ", "_").replace(" ", "-")


METHOD = Setting()
END_ONLY = "at the end only"
TABLES: dict[str, dict[str, Setting]] = {
    "convolution": {name: Setting(convolution=name) for name in ("plain", "partial", "gated", "mask-aware")},
    "normalization": {name: Setting(normalization=name) for name in ("batch-norm", "point-wise")},
    "refinement decoders": {str(count): Setting(refinements=count) for count in (0, 1, 2)},
    "supervision": {name: Setting(supervision=name) for name in (END_ONLY, METHOD.supervision)},
}


def all_settings() -> list[Setting]:
    """Every setting that a table asks for, once."""
    return list(dict.fromkeys(setting for rows in TABLES.values() for setting in rows.values()))


def run_config(config: InpaintAblationConfig, setting: Setting, seed: int) -> InpaintConfig:
    """The training run of a setting with one seed; its `network` is the whole method's, see `build_network`."""
    return dataclasses.replace(
        config.train,
        network=dataclasses.replace(config.train.network, refinements=METHOD.refinements),
        losses=dataclasses.replace(config.train.losses, last_only=setting.supervision == END_ONLY),
        seed=seed,
        out=config.out,
    )


def check_ablation(config: InpaintAblationConfig) -> None:
    """Raise `BadInput` for settings that no ablation can have."""
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise BadInput(f"seeds are {list(config.seeds)}; give at least one, each once")
    if config.limit < 0:
        raise BadInput(f"limit is {config.limit}; give a number of photos, or 0 for all")
    if config.train.init_from:
        raise BadInput(f"train.init_from is {config.train.init_from!r}; the rows' networks differ: leave it empty")
    levels = config.train.network.levels
    multiple = 2**levels
    if config.side < multiple or config.side % multiple:
        raise BadInput(f"side is {config.side}; with {levels} levels give a multiple of {multiple} pixels")
    check_config(config.train)
