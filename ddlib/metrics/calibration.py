"""From scores to decisions: thresholds, temperature, reliability, and a band that says "unsure".

Everything here is chosen on one set (valid) and stated on another (test). Scores are P(fake).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ddlib.metrics.intervals import wilson
from ddlib.metrics.roc_auc import check_scores
from ddlib.protocol import FAKE, REAL

TEMPERATURES = (0.05, 20.0)  # beyond, scores are constant in practice


VERDICTS = ("real", "unsure", "fake")


_GOLDEN = (5**0.5 - 1) / 2


_TINY = 1e-7  # a float32 sigmoid that is saturated says no more than this


def threshold_at_fpr(labels, scores, rate: float) -> float:
    """Return the lowest threshold that calls at most this share of the reals fake.

    Conservative: of n reals at most floor(rate * n) lie at or above it, ties included. It lies
    midway between two reals' scores, or just above the highest when none may be called fake (so it
    can exceed 1: nothing is called fake then).

    Parameters
    ----------
    labels, scores : (N,) arrays
        As in `ddlib.metrics.score_table`; only the reals matter.
    rate : float in [0, 1)
        Allowed false alarms, 0.01 for one real in a hundred.

    Raises
    ------
    ValueError
        If there is no real or the rate is out of range.
    """
    labels, scores = check_scores(labels, scores)
    return _tail_threshold(scores[labels == REAL], rate, "real")


def threshold_at_fnr(labels, scores, rate: float) -> float:
    """Return the highest threshold that calls at most this share of the fakes real.

    The mirror of `threshold_at_fpr`: of n fakes at most floor(rate * n) lie below it.
    """
    labels, scores = check_scores(labels, scores)
    mirrored = _tail_threshold(1 - scores[labels == FAKE], rate, "fake")
    return max(0.0, 1 - mirrored)


def youden(labels, scores) -> float:
    """Return the threshold with the largest recall of reals + recall of fakes (Youden 1950).

    Thresholds midway between neighbouring scores are tried, and 0.5; of equally good ones the
    nearest to 0.5 is returned.

    Raises
    ------
    ValueError
        If a class is missing.
    """
    labels, scores = check_scores(labels, scores)
    reals, fakes = np.sort(scores[labels == REAL]), np.sort(scores[labels == FAKE])
    _need(len(reals), "real")
    _need(len(fakes), "fake")
    levels = np.unique(scores)
    tries = np.concatenate([(levels[1:] + levels[:-1]) / 2, [0.5]])
    below_real = np.searchsorted(reals, tries, side="left") / len(reals)
    below_fake = np.searchsorted(fakes, tries, side="left") / len(fakes)
    gain = below_real - below_fake
    best = tries[gain >= gain.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def logits(scores) -> np.ndarray:
    """Return log(p / (1 - p)); scores within 1e-7 of 0 or 1 count as that far from it."""
    scores = np.clip(np.asarray(scores, dtype=np.float64), _TINY, 1 - _TINY)
    return np.log(scores / (1 - scores))


def nll(labels, values, temperature: float = 1.0) -> float:
    """Return the mean negative log likelihood (nats) under sigmoid(logit / temperature)."""
    scaled = np.asarray(values, dtype=np.float64) / temperature
    return float(np.mean(np.logaddexp(0, scaled) - np.asarray(labels) * scaled))


def temperature(labels, values) -> float:
    """Return the temperature T that fits sigmoid(logit / T) best (Guo 2017).

    T above 1 says that the detector was too sure. It changes no order and no decision at 0.5.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    values : (N,) array of float
        Logits, any finite number; see `logits`.

    Returns
    -------
    float in `TEMPERATURES`
        The lower end when logits separate the classes without error (no finite T is best), the
        upper end when they say nothing.

    Raises
    ------
    ValueError
        If lengths differ, a class is missing or a logit is not finite.
    """
    values = np.ravel(np.asarray(values, dtype=np.float64))
    if not np.isfinite(values).all():
        raise ValueError("a logit is NaN or infinite; look at what the model was given")
    labels, _ = check_scores(labels, np.zeros(len(values)))
    _need(np.sum(labels == REAL), "real")
    _need(np.sum(labels == FAKE), "fake")
    low, high = np.log(TEMPERATURES)
    for _ in range(60):  # golden section: the likelihood has one minimum in log T
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if nll(labels, values, np.exp(left)) <= nll(labels, values, np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def probability(logits, temperature: float = 1.0) -> np.ndarray:
    """Return P(fake) = sigmoid(logit / temperature) as float64, small scores exact.

    Examples
    --------
    >>> probability([0.0, -800.0])
    array([0.5, 0. ])
    """
    return np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64) / temperature))


def tempered(scores, temperature: float) -> np.ndarray:
    """Return scores softened (T > 1) or sharpened (T < 1): sigmoid(logit / T), float64."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} cannot be; it is a number above 0")
    return probability(logits(scores), temperature)


def reliability(labels, scores, bins: int = 15, binning: str = "width") -> pd.DataFrame:
    """Return, bin by bin, the mean score beside the share of fakes that came.

    Parameters
    ----------
    labels, scores : (N,) arrays
    bins : int
    binning : {"width", "mass"}
        Bins of equal width on [0, 1] (the usual way, Guo 2017), or with equally many pictures
        (less noisy when most scores sit at the ends).

    Returns
    -------
    DataFrame
        A row per bin that is not empty: score_from, score_to, n, mean_score, share_fake, low, high
        (Wilson 95 %).

    Raises
    ------
    ValueError
        As `ddlib.metrics.roc_auc.check` does, or for an unknown binning or fewer than one bin.
    """
    labels, scores = check_scores(labels, scores)
    if bins < 1 or binning not in ("width", "mass"):
        raise ValueError(f"bins={bins}, binning={binning!r}; use 1 or more and 'width' or 'mass'")
    order = np.argsort(scores, kind="stable")
    if binning == "mass":
        groups = [part for part in np.array_split(order, bins) if len(part)]
    else:
        place = np.minimum((scores * bins).astype(int), bins - 1)  # a score of 1 is in the last bin
        groups = [order[place[order] == i] for i in np.unique(place)]
    rows = []
    for group in groups:
        edges = (scores[group[0]], scores[group[-1]])
        if binning == "width":
            edges = (place[group[0]] / bins, (place[group[0]] + 1) / bins)
        fakes, n = int(np.sum(labels[group] == FAKE)), len(group)
        rows.append((*edges, n, scores[group].mean(), fakes / n, *wilson(fakes, n)))
    columns = ["score_from", "score_to", "n", "mean_score", "share_fake", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def ece(labels, scores, bins: int = 15, binning: str = "width") -> float:
    """Return the expected calibration error: the mean of |mean score - share fake| over pictures.

    Of P(fake), not of the confidence in the call; bins as in `reliability`.
    """
    table = reliability(labels, scores, bins, binning)
    return float(np.average((table.mean_score - table.share_fake).abs(), weights=table.n))


def reject_band(labels, scores, error: float = 0.05) -> tuple[float, float]:
    """Return (low, high): real below low, fake from high upward, "unsure" between.

    At most a share ``error`` of the reals lies at or above high and at most that share of the
    fakes below low, whatever the mix of classes. A detector that keeps both promises with one
    threshold needs no band: low and high are then the same, midway between the two limits.

    Parameters
    ----------
    labels, scores : (N,) arrays
        The set to choose on (valid); state the result on another with `evaluate_reject_band`.
    error : float in [0, 1)

    Raises
    ------
    ValueError
        If a class is missing or ``error`` is out of range.
    """
    high = threshold_at_fpr(labels, scores, error)
    low = threshold_at_fnr(labels, scores, error)
    if low >= high:
        low = high = (low + high) / 2
    return low, high


def verdicts(scores, band: tuple[float, float]) -> np.ndarray:
    """Return "real", "unsure" or "fake" for each score."""
    low, high = band
    if not low <= high:
        raise ValueError(f"band {band} is upside down; give (low, high) with low <= high")
    scores = np.asarray(scores, dtype=np.float64)
    return np.array(VERDICTS)[(scores >= low).astype(int) + (scores >= high)]


def evaluate_reject_band(labels, scores, band: tuple[float, float]) -> dict:
    """Return what a band does on a set: how many get a verdict and how many of those are wrong.

    Returns
    -------
    dict
        n, n_decided; coverage (share with a verdict) and error (share of verdicts that are wrong),
        each with _low and _high (Wilson 95 %); false_alarm (share of the reals called fake) and
        miss (share of the fakes called real). NaN where there is nothing to divide by.
    """
    labels, scores = check_scores(labels, scores)
    said = verdicts(scores, band)
    real, fake = labels == REAL, labels == FAKE
    alarms, misses = int(np.sum(real & (said == "fake"))), int(np.sum(fake & (said == "real")))
    decided = int(np.sum(said != "unsure"))
    result = {"n": len(labels), "n_decided": decided}
    shares = {"coverage": (decided, len(labels)), "error": (alarms + misses, decided)}
    for name, (k, n) in shares.items():
        low, high = wilson(k, n)
        result |= {name: k / n if n else np.nan, f"{name}_low": low, f"{name}_high": high}
    result["false_alarm"] = alarms / real.sum() if real.any() else np.nan
    result["miss"] = misses / fake.sum() if fake.any() else np.nan
    return result


def _tail_threshold(scores: np.ndarray, rate: float, label: str) -> float:
    """Threshold that at most floor(rate * n) of the scores reach."""
    _need(len(scores), label)
    if not 0 <= rate < 1:
        raise ValueError(f"rate={rate} is out of range; give a share from 0 up to, not with, 1")
    falling = np.sort(scores)[::-1]
    kept = falling[int(rate * len(scores) + 1e-9)]  # the highest score that must not reach it
    above = falling[falling > kept]
    step = float(np.nextafter(np.float32(kept), np.float32(2)))  # also above it in float32
    return max(step, float(above[-1] + kept) / 2) if len(above) else step


def _need(n: int, label: str) -> None:
    if n == 0:
        raise ValueError(f"there is no {label} picture in the set; a threshold needs some")
