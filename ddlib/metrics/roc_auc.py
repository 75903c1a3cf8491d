"""How well scores rank fakes above reals, independent of a threshold: AUC and its interval."""

from math import exp, log, nan, sqrt

import numpy as np

from ddlib.metrics.intervals import student, wilson
from ddlib.protocol import FAKE, REAL


def check_scores(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (0 real, 1 fake) as int and scores, P(fake) in [0, 1], as float, both (N,).

    A column (N, 1), as Keras gives it, is taken too.

    Raises
    ------
    ValueError
        If the set is empty, the lengths differ, or a label or score is not one.
    """
    labels, scores = np.ravel(labels), np.ravel(np.asarray(scores, dtype=np.float64))
    if len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels but {len(scores)} scores; each image needs both")
    if not len(labels):
        raise ValueError("no scores to evaluate: the set is empty")
    wrong = ~np.isin(labels, (REAL, FAKE))
    if wrong.any():
        raise ValueError(
            f"label {labels[wrong][0]!r} is not known; use {REAL} (real), {FAKE} (fake)"
        )
    outside = ~((scores >= 0) & (scores <= 1))  # true for NaN as well
    if outside.any():
        raise ValueError(
            f"score {scores[outside][0]} at position {outside.argmax()} ({outside.sum()} such) is "
            "not a probability in [0, 1]; apply a sigmoid to logits first"
        )
    return labels.astype(int), scores


def refuse_nan(scores) -> None:
    """Raise a ValueError if a score is NaN: comparing it with a threshold gives a verdict still."""
    if np.isnan(scores).any():
        raise ValueError("a score is NaN, of which there is no verdict")


def auc(labels, scores) -> tuple[float, float, float]:
    """Return the area under the ROC curve and its 95 % interval: (auc, low, high).

    DeLong 1988 by the midranks of Sun and Xu 2014, on the logit scale, which keeps the interval in
    [0, 1]. The variance is itself estimated, so the quantile is Student's, with the degrees of
    freedom of the smaller class. A perfect ranking has no variance: its interval is Wilson's for as
    many images as the smaller class has. All NaN without both classes; low and high NaN when one
    has a single image.

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])[0]
    0.75
    """
    labels, scores = check_scores(labels, scores)
    n = int(min(np.bincount(labels, minlength=2)))
    if n == 0:
        return nan, nan, nan
    placed = placements(labels, scores)
    fakes, reals = placed[labels == FAKE], placed[labels == REAL]
    area = float(fakes.mean())
    if n == 1:
        return area, nan, nan
    if area in (0.0, 1.0):
        return area, *wilson(int(area * n), n)
    variance = fakes.var(ddof=1) / len(fakes) + reals.var(ddof=1) / len(reals)
    reach = student(n - 1) * sqrt(variance) / (area * (1 - area))
    middle = log(area / (1 - area))
    low, high = (1 / (1 + exp(-(middle + side * reach))) for side in (-1, 1))
    return area, low, high


def placements(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return for each fake the share of reals below it, for each real that of fakes above it, (N,).

    The mean of either class is the AUC.
    """
    from scipy.stats import rankdata

    fake, placed = labels == FAKE, np.empty(len(scores))
    ranks = rankdata(scores)
    placed[fake] = (ranks[fake] - rankdata(scores[fake])) / np.sum(~fake)
    placed[~fake] = 1 - (ranks[~fake] - rankdata(scores[~fake])) / np.sum(fake)
    return placed
