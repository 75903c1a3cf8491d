"""From scores to decisions: thresholds, temperature, reliability, and a band that says "unsure".

Choose on one set (valid), report on another (test). Labels are 0 (real) and 1 (fake), scores
P(fake), both (N,); `ddlib.metrics.roc_auc.check_scores` raises ValueError for others.
"""

import numpy as np
import pandas as pd

from ddlib.metrics.intervals import wilson
from ddlib.metrics.roc_auc import check_scores, refuse_nan
from ddlib.metrics.score_table import share_with_interval
from ddlib.protocol import FAKE, REAL

TEMPERATURES = (0.05, 20.0)  # beyond, scores are constant in practice


def threshold_at_fpr(labels, scores, rate: float) -> float:
    """Return the lowest threshold that calls at most this share of the reals fake.

    Of n reals at most floor(rate * n) lie at or above it, ties included. It lies midway between two
    reals' scores, or just above the highest, so that it can exceed 1: then nothing is called fake.
    A rate outside [0, 1) or a set without reals is a ValueError.
    """
    labels, scores = check_scores(labels, scores)
    _need_images(labels, REAL)
    return _tail_threshold(scores[labels == REAL], rate)


def threshold_at_fnr(labels, scores, rate: float) -> float:
    """Return the highest threshold that calls at most this share of the fakes real.

    The mirror of `threshold_at_fpr`: of n fakes at most floor(rate * n) lie below it.
    """
    labels, scores = check_scores(labels, scores)
    _need_images(labels, FAKE)
    return max(0.0, 1 - _tail_threshold(1 - scores[labels == FAKE], rate))


def youden(labels, scores) -> float:
    """Return the threshold with the largest recall of reals + recall of fakes (Youden 1950).

    Candidates are 0.5 and the midpoints between neighbouring scores; of equally good ones the
    nearest to 0.5 is returned.
    """
    labels, scores = check_scores(labels, scores)
    _need_images(labels, REAL, FAKE)
    reals, fakes = np.sort(scores[labels == REAL]), np.sort(scores[labels == FAKE])
    levels = np.unique(scores)
    tries = np.append((levels[1:] + levels[:-1]) / 2, 0.5)
    gain = np.searchsorted(reals, tries) / len(reals) - np.searchsorted(fakes, tries) / len(fakes)
    best = tries[gain >= gain.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def probability(logits, temperature: float = 1.0) -> np.ndarray:
    """Return P(fake) = sigmoid(logit / temperature) as float64."""
    from scipy.special import expit

    return expit(np.asarray(logits, np.float64) / temperature)


def temperature(labels, values) -> float:
    """Return the temperature T that fits sigmoid(logit / T) best (Guo et al. 2017).

    T above 1 means that the detector was overconfident. It changes no ranking and no decision at
    0.5. T is the lower end of `TEMPERATURES` when logits separate the classes without error, the
    upper end when they carry no information. A logit that is not finite is a ValueError.
    """
    from scipy.optimize import minimize_scalar

    values = np.ravel(np.asarray(values, dtype=np.float64))
    if not np.isfinite(values).all():
        raise ValueError("a logit is NaN or infinite; check the model's input")
    labels, _ = check_scores(labels, np.zeros(len(values)))
    _need_images(labels, REAL, FAKE)

    def loss(log_t: float) -> float:  # mean negative log likelihood
        scaled = values / np.exp(log_t)
        return np.mean(np.logaddexp(0, scaled) - labels * scaled)

    ends, options = np.log(TEMPERATURES), {"xatol": 1e-9}
    best = minimize_scalar(loss, bounds=ends, method="bounded", options=options)
    return float(np.exp(best.x))


def reliability(labels, scores, bins: int = 15) -> pd.DataFrame:
    """Return, for bins of equal width on [0, 1], the mean score beside the share of fakes.

    A row per non-empty bin: score_from, score_to, n, mean_score, share_fake, low, high (Wilson
    95 %).
    """
    labels, scores = check_scores(labels, scores)
    if bins < 1:
        raise ValueError(f"bins={bins} is out of range; use 1 or more")
    place = np.minimum((scores * bins).astype(int), bins - 1)  # a score of 1 is in the last bin
    rows = []
    for i in np.unique(place):
        chosen = place == i
        fakes, n = int(np.sum(labels[chosen] == FAKE)), int(chosen.sum())
        row = {"score_from": i / bins, "score_to": (i + 1) / bins, "n": n}
        row |= {"mean_score": scores[chosen].mean(), "share_fake": fakes / n}
        row["low"], row["high"] = wilson(fakes, n)
        rows.append(row)
    return pd.DataFrame(rows)


def ece(labels, scores, bins: int = 15) -> float:
    """Return the expected calibration error: the mean of |mean score - share fake| over images.

    Of P(fake), not of the confidence in the verdict; bins as in `reliability` (Guo et al. 2017).
    """
    table = reliability(labels, scores, bins)
    return float(np.average((table.mean_score - table.share_fake).abs(), weights=table.n))


def reject_band(labels, scores, error: float = 0.05) -> tuple[float, float]:
    """Return (low, high): real below low, fake from high upward, "unsure" between.

    At most a share `error` of the reals lies at or above high and at most that share of the fakes
    below low, whatever the mix of classes. A detector that achieves both with one threshold needs
    no band: low and high are then equal, midway between the two limits.
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
    refuse_nan(scores)
    return np.array(["real", "unsure", "fake"])[np.digitize(scores, band)]


def evaluate_reject_band(labels, scores, band: tuple[float, float]) -> dict:
    """Return how many images get a verdict under a band and how many verdicts are wrong.

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
    result |= share_with_interval("coverage", decided, len(labels))
    result |= share_with_interval("error", alarms + misses, decided)
    result["false_alarm"] = alarms / real.sum() if real.any() else np.nan
    result["miss"] = misses / fake.sum() if fake.any() else np.nan
    return result


def _tail_threshold(scores: np.ndarray, rate: float) -> float:
    """Return the threshold that at most floor(rate * n) of the scores reach."""
    if not 0 <= rate < 1:
        raise ValueError(f"rate={rate} is out of range; give a share from 0 up to, not with, 1")
    falling = np.sort(scores)[::-1]
    kept = falling[int(rate * len(scores) + 1e-9)]  # the highest score that must not reach it
    above = falling[falling > kept]
    step = float(np.nextafter(np.float32(kept), np.float32(2)))  # also above it in float32
    return max(step, float(above[-1] + kept) / 2) if len(above) else step


def _need_images(labels, *needed: int) -> None:
    for label in needed:
        if label not in labels:
            word = "fake" if label == FAKE else "real"
            raise ValueError(f"the set has no {word} image; this needs some")
