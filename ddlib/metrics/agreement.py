"""How far two detectors agree on the same images."""

from __future__ import annotations

import numpy as np

from ddlib.metrics.intervals import wilson
from ddlib.metrics.roc_auc import auc


def agreement(scores, reference_scores, labels=None, threshold: float = 0.5) -> dict:
    """Return how far a model's scores are from a reference's on the same images.

    Parameters
    ----------
    scores, reference_scores : (N,) arrays
        P(fake) of the exported model and of the one it was made from.
    labels : (N,) array of 0 and 1, optional
        Needed for `auc_loss`.

    Returns
    -------
    dict
        n; flips, flip_rate with flip_low and flip_high (Wilson 95 %): verdicts that differ;
        mean_difference and max_difference of scores, absolute; auc_loss (reference minus model,
        NaN without labels of both classes).

    Examples
    --------
    >>> agreement([0.4, 0.9], [0.6, 0.9])["flips"]
    1
    """
    scores, reference = np.asarray(scores, np.float64), np.asarray(reference_scores, np.float64)
    if scores.shape != reference.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(
            f"scores {scores.shape} and reference_scores {reference.shape} must both be (N,), N > 0"
        )
    flips, n = int(np.sum((scores >= threshold) != (reference >= threshold))), len(scores)
    low, high = wilson(flips, n)
    loss = np.nan if labels is None else auc(labels, reference)[0] - auc(labels, scores)[0]
    difference = np.abs(scores - reference)
    return {
        "n": n,
        "flips": flips,
        "flip_rate": flips / n,
        "flip_low": low,
        "flip_high": high,
        "mean_difference": float(difference.mean()),
        "max_difference": float(difference.max()),
        "auc_loss": float(loss),
    }
