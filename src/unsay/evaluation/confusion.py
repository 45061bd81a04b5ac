"""One confusion matrix over a whole data set, and the mean intersection over union read from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput

IGNORED = 255
"""In a truth: the pixel is not judged. In a prediction: none of the classes, which is wrong wherever it is judged."""


class Confusion:
    """Counts [C, C + 1]: row = true class, column = predicted class, the last column = none of the classes."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes + 1), np.int64)

    def add(self, truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> None:
        """Count one photo; both [H, W] with values 0..C-1 or 255 (`IGNORED`). Raises `BadInput`."""
        classes = len(self.counts)
        if truth.shape != predicted.shape:
            raise BadInput(f"the truth is {truth.shape}, the prediction {predicted.shape}: they must be of one size")
        judged = truth != IGNORED
        true, guess = truth[judged].astype(np.int64), predicted[judged].astype(np.int64)
        guess[guess == IGNORED] = classes
        for values, limit in ((true, classes - 1), (guess, classes)):
            if values.size and (values.min() < 0 or values.max() > limit):
                raise BadInput(f"a class lies outside 0 to {classes - 1}: the masks are of another data set")
        cells = np.bincount(true * (classes + 1) + guess, minlength=self.counts.size)
        self.counts += cells.reshape(self.counts.shape)

    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union per class [C]; NaN for a class that neither truth nor prediction has."""
        hit = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0)[:-1] + self.counts.sum(1) - hit
        return np.asarray(np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0))

    def mean_iou(self, classes: Sequence[int] | None = None) -> float:
        """Mean over `classes` (all by default) of those that occur; NaN where none does."""
        chosen = self.iou()[list(classes)] if classes is not None else self.iou()
        chosen = chosen[~np.isnan(chosen)]
        return float(chosen.mean()) if chosen.size else float("nan")
