"""How well scores order the pictures, whatever the threshold: AUC and average precision."""

from __future__ import annotations

from math import exp, log, nan, sqrt

import numpy as np

from ddlib.metrics.intervals import Z95, wilson
from ddlib.protocol import FAKE, REAL


def check_scores(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as int and scores as float arrays, or say what is wrong with them.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    scores : (N,) or (N, 1) array of float in [0, 1]
        P(fake).

    Raises
    ------
    ValueError
        If there is nothing, the lengths differ, a label is neither 0 nor 1, or a score is NaN or
        outside [0, 1].
    """
    labels, scores = np.ravel(labels), np.ravel(np.asarray(scores, dtype=np.float64))
    if len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels but {len(scores)} scores; each picture needs both")
    if not len(labels):
        raise ValueError("no scores to evaluate: the set is empty")
    wrong = ~np.isin(labels, (REAL, FAKE))
    if wrong.any():
        raise ValueError(
            f"label {labels[wrong][0]!r} is not known; use {REAL} (real), {FAKE} (fake)"
        )
    outside = ~((scores >= 0) & (scores <= 1))  # true for NaN as well
    if outside.any():
        where = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"score {scores[where]} at position {where} ({outside.sum()} such) is no probability; "
            "scores lie in [0, 1], put logits through a sigmoid first"
        )
    return labels.astype(int), scores


def auc(labels, scores) -> tuple[float, float, float]:
    """Return the area under the ROC curve with DeLong's 95 % interval.

    Returns
    -------
    (auc, low, high) : floats in [0, 1]
        All NaN when a class is missing; low and high NaN when a class has one picture.

    Notes
    -----
    DeLong 1988 by the midranks of Sun and Xu 2014, on the logit scale, where the interval cannot
    leave [0, 1]. A perfect order has no variance to go by: its interval is Wilson's for as many
    pictures as the smaller class has, which errs on the wide side.
    """
    labels, scores = check_scores(labels, scores)
    n = min(np.bincount(labels, minlength=2))
    if n == 0:
        return nan, nan, nan
    fakes, reals = _placements(labels, scores)
    area = float(fakes.mean())
    if area in (0.0, 1.0):
        return area, *wilson(int(area * n), int(n))
    reach = Z95 * sqrt(_variance(fakes, reals)) / (area * (1 - area))
    middle = log(area / (1 - area))
    low, high = (1 / (1 + exp(-(middle + side * reach))) for side in (-1, 1))
    return area, low, high


def auc_difference(labels, scores_a, scores_b) -> tuple[float, float, float]:
    """Return AUC of a - AUC of b on the same pictures, with DeLong's 95 % interval.

    NaN when a class is missing.
    """
    labels, a = check_scores(labels, scores_a)
    labels, b = check_scores(labels, scores_b)
    if min(np.bincount(labels, minlength=2)) == 0:
        return nan, nan, nan
    (fakes_a, reals_a), (fakes_b, reals_b) = _placements(labels, a), _placements(labels, b)
    apart = float(fakes_a.mean() - fakes_b.mean())
    half = Z95 * sqrt(_variance(fakes_a - fakes_b, reals_a - reals_b))
    return apart, apart - half, apart + half


def average_precision(labels, scores) -> float:
    """Return the average precision of finding fakes: sum of precision times each gain in recall.

    Equal scores count as one step. NaN when a class is missing (without reals it is always 1).
    """
    labels, scores = check_scores(labels, scores)
    if min(np.bincount(labels, minlength=2)) == 0:
        return nan
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # end of each tie
    hits = np.cumsum(labels[order] == FAKE)[last]
    precision = hits / (last + 1)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _placements(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    """For each fake the share of reals below it, for each real the share of fakes above it."""
    fake = labels == FAKE
    ranks = _midranks(scores)
    below = (ranks[fake] - _midranks(scores[fake])) / np.sum(~fake)
    above = 1 - (ranks[~fake] - _midranks(scores[~fake])) / np.sum(fake)
    return below, above


def _variance(fakes: np.ndarray, reals: np.ndarray) -> float:
    if min(len(fakes), len(reals)) < 2:
        return nan
    return float(fakes.var(ddof=1) / len(fakes) + reals.var(ddof=1) / len(reals))
