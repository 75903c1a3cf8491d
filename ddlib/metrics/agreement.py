"""How far two detectors agree on the same pictures."""

from __future__ import annotations

import numpy as np

from ddlib.metrics.intervals import wilson
from ddlib.metrics.roc_auc import auc


def agreement(scores, twin_scores, labels=None, threshold: float = 0.5) -> dict:
    """Return how far a model's scores are from those of its twin on the same pictures.

    Parameters
    ----------
    scores, twin_scores : (N,) arrays
        P(fake) of the exported model and of the one it was made from.
    labels : (N,) array of 0 and 1, optional
        For the loss of AUC.
    threshold : float

    Returns
    -------
    dict
        n; flips, flip_rate with flip_low and flip_high (Wilson 95 %): verdicts that differ;
        mean_difference and max_difference of scores, absolute; auc_loss (twin minus model; NaN
        where there is no AUC).

    Raises
    ------
    ValueError
        If the lengths differ or there is nothing to compare.

    Examples
    --------
    >>> agreement([0.4, 0.9], [0.6, 0.9])["flips"]
    1
    """
    scores, twin = np.asarray(scores, np.float64), np.asarray(twin_scores, np.float64)
    if scores.shape != twin.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(f"scores of one set are compared; got {scores.shape} and {twin.shape}")
    flips, n = int(np.sum((scores >= threshold) != (twin >= threshold))), len(scores)
    low, high = wilson(flips, n)
    loss = np.nan if labels is None else auc(labels, twin)[0] - auc(labels, scores)[0]
    return {
        "n": n,
        **{"flips": flips, "flip_rate": flips / n, "flip_low": low, "flip_high": high},
        "mean_difference": float(np.abs(scores - twin).mean()),
        "max_difference": float(np.abs(scores - twin).max()),
        "auc_loss": float(loss),
    }
