"""Scores against labels, and against other scores: recall, AUC, AP, differences, agreement.

A score is P(fake) and an image is called fake from `threshold` upward. Where a class is missing,
accuracy, AUC and AP are NaN.
"""

from math import nan

import numpy as np

from ddlib.metrics.intervals import paired_difference, wilson
from ddlib.metrics.roc_auc import auc, check_scores, refuse_nan
from ddlib.protocol import FAKE


def score_table(labels, scores, threshold: float = 0.5) -> dict:
    """Return how a detector performs on a set, fake being the positive class.

    Parameters
    ----------
    labels, scores : (N,) arrays
        0 (real) or 1 (fake), and P(fake); others are a ValueError of `check_scores`.

    Returns
    -------
    dict
        n_real, n_fake; accuracy, recall_real, recall_fake and auc, each with _low and _high (95 %,
        Wilson; DeLong for auc); balanced_accuracy, ap; tp, fp, tn, fn; threshold.

    Examples
    --------
    >>> result = score_table([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> result["recall_real"], result["recall_fake"], result["auc"]
    (1.0, 0.5, 0.75)
    """
    labels, scores = check_scores(labels, scores)
    called, fake = scores >= threshold, labels == FAKE
    cells = (called & fake, called & ~fake, ~called & ~fake, ~called & fake)
    tp, fp, tn, fn = (int(cell.sum()) for cell in cells)
    both = tn + fp > 0 and tp + fn > 0
    result = {"n_real": tn + fp, "n_fake": tp + fn}
    result |= share_with_interval("accuracy", tp + tn if both else 0, len(labels) if both else 0)
    result |= share_with_interval("recall_real", tn, tn + fp)
    result |= share_with_interval("recall_fake", tp, tp + fn)
    result["balanced_accuracy"] = (result["recall_real"] + result["recall_fake"]) / 2
    result["auc"], result["auc_low"], result["auc_high"] = auc(labels, scores)
    result["ap"] = nan
    if both:
        from sklearn.metrics import average_precision_score

        result["ap"] = float(average_precision_score(fake, scores))
    return result | {"tp": tp, "fp": fp, "tn": tn, "fn": fn, "threshold": float(threshold)}


def compare(labels, scores_a, scores_b, threshold: float = 0.5) -> dict:
    """Return how two detectors differ on the same images.

    Returns
    -------
    dict
        n; right_a, right_b (shares of right verdicts); difference = a - b with low and high (95 %,
        `paired_difference`); only_a, only_b (images that one alone got right); p_value (McNemar's
        test, exact, two-sided).
    """
    from scipy.stats import binomtest

    labels, a = check_scores(labels, scores_a)
    labels, b = check_scores(labels, scores_b)
    right_a, right_b = ((s >= threshold) == (labels == FAKE) for s in (a, b))
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    result = {"n": len(labels), "right_a": float(right_a.mean()), "right_b": float(right_b.mean())}
    shift = paired_difference(only_a, only_b, len(labels))
    result |= dict(zip(("difference", "low", "high"), shift, strict=True))
    p_value = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return result | {"only_a": only_a, "only_b": only_b, "p_value": float(p_value)}


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
        n; flips (verdicts that differ), flip_rate with flip_low and flip_high (Wilson 95 %);
        mean_difference and max_difference of scores, absolute; auc_loss (reference - model, NaN
        without labels of both classes).

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
    refuse_nan([scores, reference])
    flips, n = int(np.sum((scores >= threshold) != (reference >= threshold))), len(scores)
    low, high = wilson(flips, n)
    difference = np.abs(scores - reference)
    return {
        "n": n,
        "flips": flips,
        "flip_rate": flips / n,
        "flip_low": low,
        "flip_high": high,
        "mean_difference": float(difference.mean()),
        "max_difference": float(difference.max()),
        "auc_loss": nan if labels is None else auc(labels, reference)[0] - auc(labels, scores)[0],
    }


def share_with_interval(name: str, k: int, n: int) -> dict:
    """Return k / n under `name`, and its 95 % Wilson interval under name_low and name_high."""
    low, high = wilson(k, n)
    return {name: k / n if n else nan, f"{name}_low": low, f"{name}_high": high}
