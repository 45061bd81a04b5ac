"""One photo after the other, judged under every setting of the ablation: what is shared is computed once, yet counted
in the time of every setting that needs it.

Legend: K regions, P patches of the region encoder, C = 21 classes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unsay.bundle import Bundle
from unsay.evaluation.calibration import average_precision
from unsay.evaluation.confusion import Confusion
from unsay.evaluation.datasets import Sample
from unsay.evaluation.voc import ANIMALS7, ANIMALS7_INDICES, CLASSES
from unsay.options import SegmentOptions
from unsay.results import Pixels
from unsay.segmentation.asking import read_constants
from unsay.segmentation.grouping import Labels, group_photo
from unsay.segmentation.pipeline import recognise
from unsay.segmentation.recipe import Grouping, Network, read_recipe
from unsay.segmentation.recognition import Constants
from unsay.segmentation.regions import Regions, Scene, coverage
from unsay.segmentation.sizes import at_size, enlarge
from unsay.segmentation.vision import Array, prepare
from unsay.training.segment_ablation_config import GROUPINGS, AblationConfig, Setting, all_settings
from unsay.training.segment_ablation_runs import Learned
from unsay.training.segment_bundle import RegionsWithClasses

P = ParamSpec("P")
T = TypeVar("T")
Counts = npt.NDArray[np.int64]
Maps = dict[str, Array]
ASKED = ANIMALS7[1:]
"""The names whose presence is judged."""


@dataclass(frozen=True, eq=False)
class Trunk:
    """The frozen CNN. `see`: prepared pixels [1, 3, H, W] -> its maps `fine`, `last` [C, h, w], as in use;
    `network`: the CNN itself, for what follows these maps.
    """

    see: Callable[[Array], Maps]
    network: Any


@dataclass(frozen=True, eq=False)
class Partition:
    """A photo's groups, pixels a group and true class `counts` [K, C] with drawn borders, and the seconds it took."""

    groups: Labels
    counts: Counts
    seconds: float


@dataclass(eq=False)
class Tally:
    """What is counted of one setting and seed. `given`: as `found`, but told which words are there."""

    found: Confusion = field(default_factory=lambda: Confusion(CLASSES))
    given: Confusion = field(default_factory=lambda: Confusion(CLASSES))
    oracle: Confusion = field(default_factory=lambda: Confusion(CLASSES))
    present: list[list[bool]] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    regions: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def measures(self) -> dict[str, float]:
        """The figures of a row; NaN for presence where no photo has any of the six names."""
        present, scores = np.array(self.present, bool).T, np.array(self.scores, np.float64).T
        precisions = [average_precision(p, s) for p, s in zip(present, scores, strict=True) if p.any()]
        return {
            "mIoU-7": self.found.mean_iou(ANIMALS7_INDICES),
            "mIoU-21": self.found.mean_iou(),
            "mIoU-7, words given": self.given.mean_iou(ANIMALS7_INDICES),
            "presence mAP": float(np.mean(precisions)) if precisions else float("nan"),
            "oracle mIoU-7": self.oracle.mean_iou(ANIMALS7_INDICES),
            "regions": float(np.mean(self.regions)),
            "seconds": float(np.median(self.seconds)),
        }


class Judge:
    """Judges photos under all settings and seeds; `tallies` holds what was counted."""

    def __init__(
        self, config: AblationConfig, learned: dict[tuple[str, int], Learned], trunk: Trunk, words: list[str]
    ) -> None:
        """`learned` by variant and seed; `words`: the names of the classes 1 to 20, all offered for every photo."""
        self.config, self.learned, self.trunk, self.words = config, learned, trunk, words
        settings = all_settings()
        self.tallies = {(setting, seed): Tally() for setting in settings for seed in config.seeds}
        self.by_regions: dict[Setting, list[Setting]] = {}
        for setting in settings:
            self.by_regions.setdefault(dataclasses.replace(setting, evidence="both"), []).append(setting)
        bundle = next(iter(learned.values())).bundle
        self.features, self.constants = read_recipe(bundle).features, read_constants(bundle)
        self.networks = {
            key: RegionsWithClasses(one.encoder, trunk.network).eval()  # type: ignore[arg-type]
            for key, one in learned.items()
        }

    def add(self, sample: Sample) -> None:
        """Judge one photo under every setting."""
        maps, seeing = timed(see, self.trunk, sample.rgb, self.features)
        partitions = {name: partition(name, sample, maps) for name in GROUPINGS}
        for setting, judged in self.by_regions.items():
            part, crops, cutting = partitions[setting.grouping], None, 0.0
            if setting.regions == "crops":
                crops, cutting = timed(self._cut, sample.rgb, part.groups)
            for seed in self.config.seeds:
                network = self.networks[setting.variant, seed]
                regions, describing = timed(describe, network, maps, part.groups, crops)
                before = seeing + part.seconds + cutting + describing
                for one in judged:
                    self._judge(one, seed, Scene(part.groups, regions), part.counts, before)

    def _judge(self, setting: Setting, seed: int, scene: Scene, counts: Counts, before: float) -> None:
        tally, learned = self.tallies[setting, seed], self.learned[setting.variant, seed]
        bundle = learned.sentences if setting.evidence == "sentences" else learned.bundle
        scene = Scene(scene.groups, speaking(scene.regions, setting.evidence))
        (named, scores), naming = timed(recognise, scene, self.words, bundle, self.constants, SegmentOptions())
        _count(tally.found, named, counts)
        _count(tally.given, name_given(scene, counts, self.words, bundle, self.constants), counts)
        _count(tally.oracle, counts.argmax(1), counts)
        places = [self.words.index(name) for name in ASKED]
        tally.present.append([bool(counts[:, i + 1].any()) for i in places])
        tally.scores.append([float(scores[i]) for i in places])
        tally.regions.append(len(counts))
        tally.seconds.append(before + naming)

    def _cut(self, rgb: Pixels, groups: Labels) -> list[Maps]:
        side = dataclasses.replace(self.features, side=self.config.crop_side)
        return [see_box(self.trunk, rgb, groups == k, side) for k in range(int(groups.max()) + 1)]


def see(trunk: Trunk, rgb: Pixels, network: Network) -> Maps:
    """The trunk's maps of a photo, or of a part of one, at the size that `network` gives it."""
    return trunk.see(prepare(rgb, network))


def partition(grouping: str, sample: Sample, maps: Maps) -> Partition:
    """The photo's groups by one of `GROUPINGS`, and what they cover of the truth at the photo's size."""
    groups, grouped = timed(group, GROUPINGS[grouping], sample.rgb, maps)
    drawn, drawing = timed(at_size, groups, sample.rgb)
    drawn, judged = enlarge(drawn, sample.rgb.shape, smooth=False), sample.truth < CLASSES
    counts = np.zeros((int(groups.max()) + 1, CLASSES), np.int64)
    np.add.at(counts, (drawn[judged], sample.truth[judged]), 1)
    return Partition(groups, counts, grouped + drawing)


def group(recipe: Grouping | None, rgb: Pixels, maps: Maps) -> Labels:
    """Groups as `recipe` makes them; None: every patch of the region encoder is one."""
    if recipe is not None:
        return group_photo(rgb, maps, recipe)
    height, width = maps["last"].shape[1:]
    return np.arange(height * width, dtype=np.int32).reshape(height, width)


def see_box(trunk: Trunk, rgb: Pixels, region: npt.NDArray[np.bool_], network: Network) -> Maps:
    """The maps of what a region's box cuts out of the photo; region [h, w] on any grid, `network`: the size it gets."""
    (height, width), (rows, columns) = rgb.shape[:2], region.shape
    x, y, w, h = cv2.boundingRect(region.astype(np.uint8))
    top, bottom = y * height // rows, -(-(y + h) * height // rows)
    left, right = x * width // columns, -(-(x + w) * width // columns)
    return see(trunk, np.ascontiguousarray(rgb[top:bottom, left:right]), network)


@torch.inference_mode()
def describe(network: nn.Module, maps: Maps, groups: Labels, crops: list[Maps] | None = None) -> Regions:
    """What the networks say of all groups and, last, of the whole photo; with `crops`, the maps of each group's box, of
    each crop as if it were a photo of its own.
    """
    height, width = maps["last"].shape[1:]
    shares = coverage(groups, height, width)
    if crops is None:
        embeddings, logits = _run(network, maps, torch.from_numpy(shares))
    else:
        alone = [_run(network, seen, torch.ones(1, seen["last"][0].size)) for seen in [*crops, maps]]
        embeddings, logits = (torch.cat(column) for column in zip(*alone, strict=True))
    return Regions(embeddings.numpy(), logits.numpy(), shares.mean(1))


def speaking(regions: Regions, evidence: str) -> Regions:
    """The regions with one kind of evidence silenced: no class is known of them, or their embeddings fit no word."""
    if evidence == "sentences":
        return Regions(regions.embeddings, regions.logits[:, :0], regions.area)
    if evidence == "classes":
        return Regions(np.zeros_like(regions.embeddings), regions.logits, regions.area)
    return regions


def name_given(scene: Scene, counts: Counts, words: list[str], bundle: Bundle, constants: Constants) -> Counts:
    """The class of each group [K] where only the classes that the photo truly has are offered and taken for found.

    What is left to err is which group is what: thresholds of presence, chosen for one kind of evidence, play no part.
    """
    classes = [i for i in range(1, CLASSES) if counts[:, i].any()]
    if not classes:
        return np.zeros(len(counts), np.int64)
    told = dataclasses.replace(constants, behind_best=np.inf, behind_rival=np.inf, things=())
    named, _ = recognise(scene, [words[i - 1] for i in classes], bundle, told, SegmentOptions(threshold=0.0))
    return np.asarray(np.array([0, *classes], np.int64)[named])


def timed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    """What `work` returns, and the seconds it took."""
    start = time.perf_counter()
    result = work(*args, **kwargs)
    return result, time.perf_counter() - start


def _run(network: nn.Module, maps: Maps, shares: Tensor) -> tuple[Tensor, Tensor]:
    fine, last = (torch.from_numpy(maps[name])[None] for name in ("fine", "last"))
    embeddings, logits = network(fine, last, shares)
    return embeddings, logits


def _count(confusion: Confusion, named: npt.NDArray[np.integer], counts: Counts) -> None:
    """Add a photo whose groups are named by class [K]."""
    confusion.counts[:, :CLASSES] += counts.T @ np.eye(CLASSES, dtype=np.int64)[named]
