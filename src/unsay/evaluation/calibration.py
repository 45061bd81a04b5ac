"""How well scores tell present from absent, and whether a score of 0.7 is right seven times in ten.

Legend: N answers; `present` [N] bool, `scores` [N] in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 10
Truths = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """Answers with a score from `low` to below `high`: how many, their total weight, and, weighted, their mean score
    and the share truly present.
    """

    low: float
    high: float
    answers: int
    weight: float
    mean_score: float
    present: float


def average_precision(present: Truths, scores: Scores) -> float:
    """sum_n (R_n - R_{n-1}) P_n over the distinct scores, highest first; NaN where nothing is present.

    P_n, R_n: precision and recall if every score from the n-th on counts as found (no interpolation: Manning et al.
    2008, section 8.4).
    """
    positives = int(present.sum())
    if positives == 0:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(present[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores are found together
    recall = np.diff(hits[last] / positives, prepend=0.0)
    return float((recall * hits[last] / (last + 1)).sum())


def break_even(present: Truths, scores: Scores) -> float:
    """The score from which as many are found as are present, where precision equals recall; NaN for none present.

    With equal scores at that place a few more are found, and the two differ by so much.
    """
    positives = int(present.sum())
    return float(np.sort(scores)[-positives]) if positives else float("nan")


def even_odds(present: Truths) -> Scores:
    """Weights [N] of mean 1 under which as much is present as absent; equal ones where only one of both occurs."""
    share = float(present.mean())
    if share in (0.0, 1.0):
        return np.ones(len(present))
    return np.where(present, 0.5 / share, 0.5 / (1 - share))


def reliability(present: Truths, scores: Scores, weights: Scores | None = None, bins: int = BINS) -> list[Bin]:
    """The answers in `bins` equal parts of [0, 1], those without any left out (Niculescu-Mizil and Caruana 2005).

    `weights` [N]: how much each answer counts; none: all the same.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    rows = []
    for index in np.unique(place).tolist():
        own = place == index
        shares = (float(np.average(values[own], weights=weights[own])) for values in (scores, present))
        rows.append(Bin(index / bins, (index + 1) / bins, int(own.sum()), float(weights[own].sum()), *shares))
    return rows


def expected_calibration_error(bins: list[Bin]) -> float:
    """Mean distance of score and share present over the bins, by their weights (Naeini et al. 2015), in [0, 1]."""
    total = sum(b.weight for b in bins)
    return sum(b.weight * abs(b.mean_score - b.present) for b in bins) / total
