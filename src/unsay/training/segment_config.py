"""The settings of a training run of the segmentation half."""

from __future__ import annotations

from dataclasses import dataclass, field

from unsay.errors import BadInput
from unsay.models.starter_encoder import StarterConfig
from unsay.training.machine import MachineConfig
from unsay.training.nouns import NounConfig
from unsay.training.pairs_readers import DataConfig
from unsay.training.segment_loss import LossConfig, check_loss

NETWORKS = ("starter", "paper")


@dataclass(frozen=True)
class SegmentConfig:
    """What is trained on what and how; see `configs/segment-starter.yaml` and `configs/segment-paper.yaml`."""

    data: DataConfig = field(default_factory=DataConfig)
    out: str = "runs/segment-starter"
    cache: str = ""
    """Folder of what frozen networks saw, for all processes and runs; empty: `out`."""
    network: str = "starter"
    """"starter": a frozen CNN and `starter`; "paper": CLIP's vision tower on DINO's groups."""
    trunk_weights: str = ""
    """The trunk's state dictionary; empty: the installed package's."""
    text_weights: str = ""
    """Folder of the starter's sentence encoder; empty: the installed package's."""
    starter: StarterConfig = field(default_factory=StarterConfig)
    clip: str = ""
    dino: str = ""
    """Folders of the paper's networks, in the `transformers` format."""
    start: int = 6
    """The paper's L0: the layer of CLIP's tower from which region tokens exist."""
    side: int = 320
    """Photos are brought to `side` x `side` pixels."""
    groups: int = 14
    """At most so many groups a photo (K)."""
    flip: bool = False
    """Every photo is mirrored in half of the epochs; the starter keeps a second view for that."""
    nouns: NounConfig = field(default_factory=NounConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    epochs: int = 12
    batch: int = 256
    """Photos a step, in each process."""
    rate: float = 1e-3
    tune_rate: float = 0.3
    """Learning rate of the CNN's last stages (the starter's `tune`), as a share of `rate`."""
    decay: float = 0.05
    warmup: int = 30
    """Steps until the learning rate is `rate`; it falls to 0 along a cosine from there."""
    clip_norm: float = 1.0
    ema: float = 0.0
    """Decay of the running average of the encoder that is kept for use; 0: none, the encoder as it is."""
    save_minutes: float = 10.0
    """A checkpoint is written after every epoch and after so many minutes."""
    seed: int = 0
    machine: MachineConfig = field(default_factory=MachineConfig)


def check_config(config: SegmentConfig) -> None:
    """Raise `BadInput` for settings that no run can have."""
    check_loss(config.loss)
    if config.network not in NETWORKS:
        raise BadInput(f"unknown network {config.network!r}; known: {', '.join(NETWORKS)}")
    if config.epochs < 1 or config.batch < 2:
        raise BadInput(f"epochs is {config.epochs} and batch {config.batch}; at least 1 and 2 are needed")
    if not 1 <= config.groups <= 127:
        raise BadInput(f"groups is {config.groups}; 1 to 127 are possible")
    if not 0 <= config.ema < 1:
        raise BadInput(f"ema is {config.ema}; it must be at least 0 and below 1")
    if not config.nouns.templates or any("{}" not in t for t in config.nouns.templates):
        raise BadInput(f"nouns.templates are {config.nouns.templates}; give at least one, each with {{}} for the noun")
