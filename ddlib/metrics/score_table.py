"""Scores against labels: recall of reals and of fakes, AUC and AP, each with its interval.

A score is P(fake) and a picture is called fake from ``threshold`` upward. A set that holds one
class only has a recall and no accuracy, AUC or AP: those are NaN, so that nobody quotes them.
"""

from __future__ import annotations

from math import nan

import numpy as np

from ddlib.metrics.intervals import mcnemar, paired_difference, wilson
from ddlib.metrics.roc_auc import auc, auc_difference, average_precision, check_scores
from ddlib.protocol import FAKE


def score_table(labels, scores, threshold: float = 0.5) -> dict:
    """Return what a detector does on a set, fake being the positive class.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    scores : (N,) array of float in [0, 1]
        P(fake); called fake when score >= threshold.
    threshold : float

    Returns
    -------
    dict
        n_real, n_fake; accuracy, recall_real, recall_fake and auc, each with _low and _high (95 %,
        Wilson; DeLong for auc); balanced_accuracy, ap; tp, fp, tn, fn; threshold. A set of one
        class has NaN for all but its own recall and counts.

    Raises
    ------
    ValueError
        As `check_scores` does.

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
    result |= dict(zip(("auc", "auc_low", "auc_high"), auc(labels, scores), strict=True))
    result["ap"] = average_precision(labels, scores)
    return result | {"tp": tp, "fp": fp, "tn": tn, "fn": fn, "threshold": float(threshold)}


def real_is_positive(labels, scores, threshold: float = 0.5) -> dict:
    """Return the study's figures, in which real is the positive class.

    Its folder order made real = 1, so that its precision asks how many of those called real are
    real and its recall how many reals were found.

    Returns
    -------
    dict of accuracy, precision, recall, f1; NaN where a set has none (see `score_table`)
    """
    labels, scores = check_scores(labels, scores)
    tp, fp, tn, fn = _counts(labels, scores, threshold)
    precision = _ratio(tn, tn + fn)
    recall = _ratio(tn, tn + fp)
    single = tp + fn == 0 or tn + fp == 0
    return {
        "accuracy": nan if single else (tp + tn) / len(labels),
        "precision": nan if single else precision,
        "recall": recall,
        "f1": nan if single else _ratio(2 * tn, 2 * tn + fn + fp),
    }


def compare(labels, scores_a, scores_b, threshold: float = 0.5) -> dict:
    """Return whether two detectors differ on the same pictures.

    Returns
    -------
    dict
        n; right_a, right_b (shares of right calls); difference = a - b with low and high (95 %,
        Agresti and Min 2005: half a picture added to each of the four cells); only_a, only_b
        (pictures that one alone got right); p_value (McNemar, exact, two-sided); auc_difference
        with auc_low, auc_high (paired DeLong; NaN without both classes).

    Raises
    ------
    ValueError
        As `check_scores` does for either detector.
    """
    labels, a = check_scores(labels, scores_a)
    labels, b = check_scores(labels, scores_b)
    right_a, right_b = ((s >= threshold) == (labels == FAKE) for s in (a, b))
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    shift, low, high = paired_difference(only_a, only_b, len(labels))
    area, area_low, area_high = auc_difference(labels, a, b)
    return {
        "n": len(labels),
        "right_a": float(right_a.mean()),
        "right_b": float(right_b.mean()),
        "difference": shift,
        "low": low,
        "high": high,
        "only_a": only_a,
        "only_b": only_b,
        "p_value": mcnemar(only_a, only_b),
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
