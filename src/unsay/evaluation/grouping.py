"""Partitions judged against human outlines (BSDS500) and against class masks (Pascal VOC).

Covering, probabilistic Rand index and variation of information as in Arbelaez et al. 2011 (section 3.2 of "Contour
detection and hierarchical image segmentation"): each against every person's outlines, then the mean over the persons,
then over the photos. One setting serves all photos ("optimal data set scale" without the search).

Legend: S a person's outlines, S' the partition found, both [H, W] integers, one number a segment, 0 and up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.evaluation.confusion import IGNORED, Confusion
from unsay.evaluation.segment import majority
from unsay.evaluation.voc import ANIMALS7_INDICES, CLASSES
from unsay.results import Pixels

Partition = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outlined:
    """One photo [H, W, 3] uint8 RGB and several persons' segments of it, each [H, W] int32, 0 and up."""

    name: str
    rgb: Pixels
    outlines: tuple[npt.NDArray[np.int32], ...]


@dataclass(frozen=True)
class Agreement:
    """Means over the photos: `covering` and `rand` in 0..1, more is better; `information` in bits, less is better;
    `segments` a photo.
    """

    covering: float
    rand: float
    information: float
    segments: float


def read_bsds(data: Path, split: str = "test", limit: int | None = None) -> Iterator[Outlined]:
    """The photos of a split of BSDS500 that have outlines, by name. Raises `BadInput` where there are none."""
    from scipy.io import loadmat

    truths = sorted((data / "groundTruth" / split).glob("*.mat"))[:limit]
    if not truths:
        raise BadInput(f"{data} has no groundTruth/{split}/*.mat: give the folder of BSDS500")
    for path in truths:
        photo = cv2.imread(str(data / "images" / split / f"{path.stem}.jpg"), cv2.IMREAD_COLOR)
        if photo is None:
            raise BadInput(f"{data} lacks the photo images/{split}/{path.stem}.jpg that has outlines")
        persons = loadmat(path)["groundTruth"][0]
        outlines = tuple(p["Segmentation"][0, 0].astype(np.int32) - 1 for p in persons)
        yield Outlined(path.stem, np.ascontiguousarray(photo[..., ::-1]), outlines)


def overlaps(truth: Partition, found: Partition) -> Floats:
    """Pixels that lie in segment r of S and r' of S', [R, R']. Raises `BadInput` for partitions of different size."""
    if truth.shape != found.shape:
        raise BadInput(f"the truth is {truth.shape}, the partition {found.shape}: they must be of one size")
    rows, columns = int(truth.max()) + 1, int(found.max()) + 1
    joint = truth.astype(np.int64).ravel() * columns + found.ravel()
    return np.bincount(joint, minlength=rows * columns).reshape(rows, columns).astype(np.float64)


def covering(table: Floats) -> float:
    """Covering of S by S': each segment of S takes its best overlap (intersection over union), weighted by its area."""
    areas = table.sum(1)
    union = areas[:, None] + table.sum(0) - table
    best = (table / np.maximum(union, 1)).max(1)
    return float((areas * best).sum() / areas.sum())


def rand_index(table: Floats) -> float:
    """Share of all pairs of pixels on which S and S' agree: together in both or apart in both."""
    total = table.sum()
    pairs = total * (total - 1)
    if pairs == 0:
        return 1.0
    apart = (table.sum(0) ** 2).sum() + (table.sum(1) ** 2).sum() - 2 * (table**2).sum()
    return float(1 - apart / pairs)


def variation_of_information(table: Floats) -> float:
    """H(S) + H(S') - 2 I(S, S') in bits (Meila 2005): 2 H(S, S') - H(S) - H(S')."""
    shares = table / table.sum()
    return 2 * _entropy(shares) - _entropy(shares.sum(0)) - _entropy(shares.sum(1))


def agreement(samples: Sequence[Outlined], partitions: Sequence[Partition]) -> Agreement:
    """Score one partition a photo against every person's outlines of it."""
    rows = []
    for sample, found in zip(samples, partitions, strict=True):
        tables = [overlaps(truth, found) for truth in sample.outlines]
        measures = [[covering(t), rand_index(t), variation_of_information(t)] for t in tables]
        rows.append([*np.mean(measures, axis=0), len(np.unique(found))])
    return Agreement(*(float(v) for v in np.mean(rows, axis=0)))


class Oracle:
    """The best labelling that the groups of many photos allow, as mIoU-7: each group takes its majority class.

    `covering`: of the class masks by the groups, mean over the photos; it falls where a thing is cut into many groups.
    """

    def __init__(self) -> None:
        self._confusion = Confusion(CLASSES)
        self._rows: list[tuple[float, int]] = []

    def add(self, truth: npt.NDArray[np.uint8], groups: npt.NDArray[np.int32]) -> None:
        """Count one photo; both [H, W], truth 0..20 or 255 = ignored."""
        self._confusion.add(truth, majority(groups, truth, CLASSES))
        known = truth != IGNORED
        self._rows.append((covering(overlaps(truth[known], groups[known])), len(np.unique(groups))))

    @property
    def miou7(self) -> float:
        """Over background and the six animals (person is one)."""
        return self._confusion.mean_iou(ANIMALS7_INDICES)

    @property
    def covering(self) -> float:
        """Mean over the photos."""
        return float(np.mean([row[0] for row in self._rows]))

    @property
    def groups(self) -> float:
        """Mean number of groups a photo."""
        return float(np.mean([row[1] for row in self._rows]))


def tune(count_at: Callable[[float], float], wanted: float, low: float, high: float, rounds: int = 7) -> float:
    """The setting in [low, high] at which `count_at` (a mean number of segments, falling as the setting grows) comes
    nearest to `wanted`: bisection on a logarithmic scale. Sees no outlines.
    """
    best, off = low, math.inf
    for _ in range(rounds):
        middle = math.sqrt(low * high)
        count = count_at(middle)
        if abs(count - wanted) < off:
            best, off = middle, abs(count - wanted)
        low, high = (middle, high) if count > wanted else (low, middle)
    return best


def _entropy(shares: Floats) -> float:
    used = shares[shares > 0]
    return float(-(used * np.log2(used)).sum())
