"""The settings of a training run of the inpainting half."""

from __future__ import annotations

from dataclasses import dataclass, field

from unsay.errors import BadInput
from unsay.models.madf import MADFConfig
from unsay.training.holes import MaskConfig
from unsay.training.inpaint_losses import LossWeights
from unsay.training.machine import MachineConfig
from unsay.training.photos import SCALES

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
MAY_CHANGE = ("machine", "recompute", "out", "save_every", "save_minutes", "pictures_every")
"""Settings with which a run may be resumed though they have changed: they do not enter the result."""


@dataclass(frozen=True)
class InpaintConfig:
    """What is trained on what and how; see `configs/inpaint-starter.yaml` and `configs/inpaint-paper.yaml`."""

    folders: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    """How often each folder is drawn from; empty: by its number of photos."""
    layout: str = "folders"
    """How the folders are laid out: "folders" (every photo under them), "places2", "celeba", "celeba-hq",
    "paris-streetview"."""
    leave_out: str = ""
    """A text file whose lines begin with names of photos not to train on; "" for none."""
    in_memory: bool = True
    """Photos are read once and kept in memory, encoded; if not, from the disk whenever one is drawn."""
    masks: MaskConfig = field(default_factory=MaskConfig)
    network: MADFConfig = field(default_factory=MADFConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    features: str = ""
    """Frozen network of the perceptual and style terms: "" (none: no such terms), "efficientnet-lite0", "hed-vgg",
    "torchvision-vgg16"."""
    features_file: str = ""
    """Its weights; "": where its own package keeps them."""
    crop: int = 128
    """The network sees `crop` x `crop` pixels, a multiple of 2**levels."""
    short_side: int = 0
    """Photos' shorter side before they are cropped (the paper: 572 for crops of 512); 0: crops of random scale."""
    scales: tuple[float, float] = SCALES
    """With `short_side` 0 the pieces that are cut out and resized are so many crops wide."""
    stretch: float = 1.0
    """With `short_side` 0 their height and width differ by a random factor of at most so much."""
    batch: int = 16
    """Crops a step, in each process."""
    steps: int = 12000
    lr: float = 5e-4
    warmup: int = 200
    """Steps until the learning rate is `lr`; 0: from the first."""
    decay_from: float = 0.6
    """Share of the steps after which the learning rate falls linearly to a fiftieth; 1: it does not."""
    ema: float = 0.998
    """Decay of the running average of the network that is kept for use; 0: none, the network as it is."""
    clip: float = 1.0
    """Largest norm of the gradients; 0: any."""
    sync_batchnorm: bool = False
    """Batch-norm's statistics are those of all processes' crops, not of each one's own; on GPUs only."""
    seed: int = 0
    save_every: int = 500
    save_minutes: float = 10.0
    """A checkpoint is written after so many steps, and after so many minutes."""
    pictures_every: int = 500
    """Input, mask, outputs and truth of four crops are drawn after so many steps; 0: never."""
    out: str = "runs/inpaint"
    init_from: str = ""
    """Checkpoint of another run whose averaged weights this one starts from."""
    recompute: bool = False
    """The backward pass makes again what the decoders and filters compute inside, instead of keeping it: about two
    thirds of the memory at the paper's size, a quarter more time, the same numbers."""
    machine: MachineConfig = field(default_factory=MachineConfig)


def check_config(config: InpaintConfig) -> None:
    """Raise `BadInput` for settings that no run can have."""
    multiple = 2**config.network.levels
    if config.crop < multiple or config.crop % multiple:
        raise BadInput(f"crop is {config.crop}; with {config.network.levels} levels give a multiple of {multiple}")
    if config.short_side and config.short_side < config.crop:
        raise BadInput(f"short_side is {config.short_side}, less than crop, {config.crop}: give at least that, or 0")
    if not 0 < config.scales[0] <= config.scales[1] or not config.stretch >= 1:
        found = f"scales are {list(config.scales)}, stretch {config.stretch}"
        raise BadInput(f"{found}; scales are two positive factors, the smaller one first, and stretch is at least 1")
    if config.batch < 1 or config.steps < 1 or config.save_every < 1:
        found = f"batch is {config.batch}, steps {config.steps}, save_every {config.save_every}"
        raise BadInput(f"{found}; each must be at least 1")
    losses = config.losses
    used = (losses.hole, losses.squared, losses.known, losses.variation) + (
        (losses.perceptual, losses.style) if config.features else ()
    )
    if min(used) < 0 or not any(used):
        raise BadInput(f"losses are {losses}: none may be below 0, and one that can be computed must be above it")
    if not 0 <= config.ema < 1:
        raise BadInput(f"ema is {config.ema}; it must be at least 0 and below 1")
    if config.machine.precision not in PRECISIONS:
        raise BadInput(f"machine.precision is {config.machine.precision!r}; known: {', '.join(PRECISIONS)}")
    if config.sync_batchnorm and config.machine.accelerator == "cpu":
        raise BadInput("sync_batchnorm needs GPUs: leave it out, and batch-norm sees each process's own crops")
