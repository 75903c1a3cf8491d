"""Scores against labels: recall of reals and of fakes, AUC and AP, each with its interval.

A score is P(fake) and an image is called fake from `threshold` upward. A set of a single class has
a recall and no accuracy, AUC or AP: those are NaN.
"""

from __future__ import annotations

from math import nan

import numpy as np

from ddlib.metrics.intervals import paired_difference, wilson
from ddlib.metrics.roc_auc import auc, auc_difference, check_scores
from ddlib.protocol import FAKE


def score_table(labels, scores, threshold: float = 0.5) -> dict:
    """Return how a detector performs on a set, fake being the positive class.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    scores : (N,) array of float in [0, 1]

    Returns
    -------
    dict
        n_real, n_fake; accuracy, recall_real, recall_fake and auc, each with _low and _high (95 %,
        Wilson; DeLong for auc); balanced_accuracy, ap (scikit-learn's average precision); tp, fp,
        tn, fn; threshold. NaN where a class is missing.

    Raises
    ------
    ValueError
        As `ddlib.metrics.roc_auc.check_scores` does.

    Examples
    --------
    >>> result = score_table([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> result["recall_real"], result["recall_fake"], result["auc"]
    (1.0, 0.5, 0.75)
    """
    labels, scores = check_scores(labels, scores)
    tp, fp, tn, fn = _counts(labels, scores, threshold)
    both = tn + fp > 0 and tp + fn > 0
    result = {"n_real": tn + fp, "n_fake": tp + fn}
    result |= _share("accuracy", tp + tn if both else 0, len(labels) if both else 0)
    result |= _share("recall_real", tn, tn + fp) | _share("recall_fake", tp, tp + fn)
    result["balanced_accuracy"] = (result["recall_real"] + result["recall_fake"]) / 2
    result["auc"], result["auc_low"], result["auc_high"] = auc(labels, scores)
    result["ap"] = nan
    if both:
        from sklearn.metrics import average_precision_score

        result["ap"] = float(average_precision_score(labels == FAKE, scores))
    return result | {"tp": tp, "fp": fp, "tn": tn, "fn": fn, "threshold": float(threshold)}


def real_is_positive(labels, scores) -> dict:
    """Return the study's accuracy, precision, recall and f1 at threshold 0.5: real is positive.

    The study's folder order made real = 1. Its precision is the share of real among the images
    called real, its recall that of reals found. NaN where undefined (see `score_table`).
    """
    labels, scores = check_scores(labels, scores)
    tp, fp, tn, fn = _counts(labels, scores, 0.5)
    single = tp + fn == 0 or tn + fp == 0
    return {
        "accuracy": nan if single else (tp + tn) / len(labels),
        "precision": nan if single else _ratio(tn, tn + fn),
        "recall": _ratio(tn, tn + fp),
        "f1": nan if single else _ratio(2 * tn, 2 * tn + fn + fp),
    }


def compare(labels, scores_a, scores_b, threshold: float = 0.5) -> dict:
    """Return how two detectors differ on the same images.

    Returns
    -------
    dict
        n; right_a, right_b (shares of right verdicts); difference = a - b with low and high (95 %,
        `paired_difference`); only_a, only_b (images that one alone got right); p_value (McNemar's
        test, exact, two-sided); auc_difference with auc_low and auc_high (paired DeLong).
    """
    from scipy.stats import binomtest

    labels, a = check_scores(labels, scores_a)
    labels, b = check_scores(labels, scores_b)
    right_a, right_b = ((s >= threshold) == (labels == FAKE) for s in (a, b))
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    shift, low, high = paired_difference(only_a, only_b, len(labels))
    area, area_low, area_high = auc_difference(labels, a, b)
    differ = only_a + only_b
    return {
        "n": len(labels),
        "right_a": float(right_a.mean()),
        "right_b": float(right_b.mean()),
        "difference": shift,
        "low": low,
        "high": high,
        "only_a": only_a,
        "only_b": only_b,
        "p_value": float(binomtest(only_a, differ).pvalue) if differ else 1.0,
        "auc_difference": area,
        "auc_low": area_low,
        "auc_high": area_high,
    }


def _counts(labels, scores, threshold) -> tuple[int, int, int, int]:
    called, fake = scores >= threshold, labels == FAKE
    cells = (called & fake, called & ~fake, ~called & ~fake, ~called & fake)
    return tuple(int(cell.sum()) for cell in cells)


def _share(name: str, k: int, n: int) -> dict:
    low, high = wilson(k, n)
    return {name: _ratio(k, n), f"{name}_low": low, f"{name}_high": high}


def _ratio(k: int, n: int) -> float:
    return k / n if n else nan
