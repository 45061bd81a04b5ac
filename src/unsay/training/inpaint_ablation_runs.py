"""The training runs of the inpainting ablation, and how each is judged; what is finished is read, not done again."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning_fabric.utilities.warnings import PossibleUserWarning
from torch import nn

from unsay.evaluation.inpaint import ALL_BANDS, hole_for, list_photos, read_photo
from unsay.evaluation.inpaint_result import band_name
from unsay.evaluation.metrics import Scores, mean_scores, score
from unsay.models.recompute import recompute_all
from unsay.results import Mask, Pixels
from unsay.training.features import feature_network
from unsay.training.inpaint import Inpainter
from unsay.training.inpaint_ablation_config import InpaintAblationConfig, Setting
from unsay.training.inpaint_ablation_models import Sizes, build_network
from unsay.training.inpaint_config import MAY_CHANGE, InpaintConfig
from unsay.training.inpaint_data import InpaintData, denormalise, normalise
from unsay.training.machine import make_trainer, settle
from unsay.training.photos import Photos
from unsay.training.segment_files import fingerprint, write_atomically

log = logging.getLogger(__name__)
Fill = Callable[[Pixels, list[Mask]], list[Pixels]]
"""A photo [S, S, 3] uint8 and holes [S, S] bool, True = fill -> the photo with each hole filled."""
JUDGING_SEED = 0
"""Of the holes that all are judged on, whatever their training seed."""


@dataclass(frozen=True)
class Judged:
    """A photo that is judged: its file's name, and its central square [S, S, 3] uint8 RGB."""

    name: str
    rgb: Pixels


class AblationInpainter(Inpainter):
    """The training of `unsay train inpaint`, with another network."""

    def __init__(self, config: InpaintConfig, network: nn.Module, features: nn.Module | None) -> None:
        super().__init__(config, features)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        recompute_all(self.network, config.recompute)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()


def trained(config: InpaintConfig, setting: Setting, sizes: Sizes, photos: Callable[[], Photos]) -> dict[str, Any]:
    """The averaged network of one run and its seconds a step: `{"network", "seconds"}`.

    Trained, or read where it is finished in `config.out`; a run that was stopped begins anew. `photos` is called only
    to train.
    """
    path = Path(config.out) / f"{run_name(config, setting, sizes)}.pt"
    network = fresh_network(config, setting, sizes)
    if path.is_file():
        kept = torch.load(path, map_location="cpu", weights_only=True)
    else:
        log.info("training %s", path.stem)
        kept = _train(config, path.stem, network, photos())
        write_atomically(path, lambda stream: torch.save(kept, stream))
    network.load_state_dict(kept["network"])
    return {"network": network.eval(), "seconds": kept["seconds"]}


def run_name(config: InpaintConfig, setting: Setting, sizes: Sizes) -> str:
    """Names a run's files: its setting, its seed, and a fingerprint of all that its outcome depends on."""
    read = {name: value for name, value in asdict(config).items() if name not in MAY_CHANGE}
    return f"{setting.name}-{config.seed}-{fingerprint(read, asdict(setting), asdict(sizes))}"


def fresh_network(config: InpaintConfig, setting: Setting, sizes: Sizes) -> nn.Module:
    """The network of a run before its first step; its initial values follow from the run's seed."""
    settle(config.machine, config.seed)
    return build_network(setting, config.network, sizes)


def judged_photos(config: InpaintAblationConfig) -> list[Judged]:
    """The photos to judge, by name. Raises `BadInput` for a folder without any, or one that cannot be read."""
    paths = list_photos(Path(config.data), limit=config.limit or None)
    return [Judged(path.name, central_square(read_photo(path), config.side)) for path in paths]


def central_square(rgb: Pixels, side: int) -> Pixels:
    """The central square of a photo [H, W, 3], at `side` pixels."""
    short = min(rgb.shape[:2])
    y, x = (rgb.shape[0] - short) // 2, (rgb.shape[1] - short) // 2
    method = cv2.INTER_AREA if short > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb[y : y + short, x : x + short], (side, side), interpolation=method), np.uint8)


def judge(fill: Fill, photos: list[Judged]) -> dict[str, dict[str, float]]:
    """Mean scores by band, and of all bands under "all"; one random hole a photo and band, the same for everyone."""
    found: dict[int, list[Scores]] = {band: [] for band in ALL_BANDS}
    for photo in photos:
        height, width = photo.rgb.shape[:2]
        holes = [hole_for(photo.name, height, width, band, JUDGING_SEED)[0] for band in ALL_BANDS]
        for band, hole, filled in zip(ALL_BANDS, holes, fill(photo.rgb, holes), strict=True):
            found[band].append(score(filled, photo.rgb, hole))
    bands = {band_name(band): mean_scores(scores) for band, scores in found.items()}
    return {"all": mean_scores([one for scores in found.values() for one in scores]), **bands}


def judged_run(
    config: InpaintAblationConfig, name: str, network: nn.Module, photos: list[Judged]
) -> dict[str, dict[str, float]]:
    """The scores of the run `name`, from the file that keeps them, or judged now."""
    seen = hashlib.sha256(b"".join(photo.rgb.tobytes() for photo in photos)).hexdigest()
    asked = fingerprint([photo.name for photo in photos], seen, JUDGING_SEED)
    path = Path(config.out) / f"{name}.{asked}.json"
    if path.is_file():
        kept: dict[str, dict[str, float]] = json.loads(path.read_text())
        return kept
    scores = judge(lambda rgb, holes: fill_holes(network, rgb, holes), photos)
    write_atomically(path, lambda stream: stream.write(json.dumps(scores).encode()))
    return scores


@torch.inference_mode()
def fill_holes(network: nn.Module, rgb: Pixels, holes: list[Mask]) -> list[Pixels]:
    """The network's last output in each hole of `rgb` [S, S, 3] uint8, the photo's own pixels elsewhere."""
    keep = torch.from_numpy(~np.stack(holes)).float().unsqueeze(1)
    photo = normalise(torch.from_numpy(rgb).permute(2, 0, 1).unsqueeze(0)).expand(len(holes), -1, -1, -1)
    filled = denormalise(network(photo, keep)[-1]).permute(0, 2, 3, 1).numpy()
    return [np.where(hole[..., None], one, rgb) for hole, one in zip(holes, filled, strict=True)]


def _train(config: InpaintConfig, name: str, network: nn.Module, photos: Photos) -> dict[str, Any]:
    model = AblationInpainter(config, network, feature_network(config.features, config.features_file))
    trainer = make_trainer(config.machine, str(Path(config.out) / "logs" / name), [], config.clip)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)  # that no worker is too few
        trainer.fit(model, datamodule=InpaintData(config, photos))
    return {"network": model.average.state_dict(), "seconds": (time.perf_counter() - start) / config.steps}
