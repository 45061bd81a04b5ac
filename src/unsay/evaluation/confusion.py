"""One confusion matrix over a whole data set, and the mean intersection over union read from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput

IGNORED = 255


class Confusion:
    """Counts [C, C]: row = true class, column = predicted class; pixels whose truth is 255 are left out."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> None:
        """Count one photo; both [H, W] with values 0..C-1 (255 = ignored, in `truth` only). Raises `BadInput`."""
        classes = len(self.counts)
        if truth.shape != predicted.shape:
            raise BadInput(f"the truth is {truth.shape}, the prediction {predicted.shape}: they must be of one size")
        valid = truth != IGNORED
        true, guess = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
        if true.size and (true.max() >= classes or guess.max() >= classes or guess.min() < 0):
            raise BadInput(f"a class lies outside 0 to {classes - 1}: the masks are of another data set")
        self.counts += np.bincount(true * classes + guess, minlength=classes * classes).reshape(classes, classes)

    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union per class [C]; NaN for a class that neither truth nor prediction has."""
        hit = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        return np.asarray(np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0))

    def mean_iou(self, classes: Sequence[int] | None = None) -> float:
        """Mean over `classes` (all by default) of those that occur."""
        chosen = self.iou()[list(classes)] if classes is not None else self.iou()
        chosen = chosen[~np.isnan(chosen)]
        return float(chosen.mean()) if chosen.size else float("nan")
