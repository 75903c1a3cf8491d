"""Proportions: intervals of one, of the difference of two, and of two on the same pictures."""

from __future__ import annotations

from math import nan, sqrt
from statistics import NormalDist

import numpy as np

Z95 = NormalDist().inv_cdf(0.975)


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, 95 % by default.

    Parameters
    ----------
    k, n : int
        Successes and trials.
    z : float
        Normal quantile, 1.95996 for 95 %.

    Returns
    -------
    (low, high) : floats in [0, 1], NaN when n is 0

    Raises
    ------
    ValueError
        If k is not between 0 and n.

    Notes
    -----
    Wilson 1927. Unlike p +- z * se it holds at 0 of 54, where the high end is z^2 / (n + z^2).

    Examples
    --------
    >>> low, high = wilson(0, 54)
    >>> low, round(high, 4)
    (0.0, 0.0664)
    """
    if not 0 <= k <= n:
        raise ValueError(f"k={k} successes of n={n} trials cannot be; k lies between 0 and n")
    if n == 0:
        return nan, nan
    share, spread = k / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def difference(k_a: int, n_a: int, k_b: int, n_b: int) -> tuple[float, float, float]:
    """Return a - b of two independent proportions with its 95 % interval.

    The interval is method 10 of Newcombe 1998, built from two Wilson intervals.

    Use it for results on different pictures, such as the study's and ours; `compare` is for two
    models on the same pictures.

    Returns
    -------
    (difference, low, high) : floats in [-1, 1]; the two differ where 0 lies outside low to high

    Examples
    --------
    >>> [round(x, 4) for x in difference(56, 70, 48, 80)]
    [0.2, 0.0524, 0.3339]
    """
    (low_a, high_a), (low_b, high_b) = wilson(k_a, n_a), wilson(k_b, n_b)
    if not n_a or not n_b:
        return nan, nan, nan
    a, b = k_a / n_a, k_b / n_b
    low = a - b - sqrt((a - low_a) ** 2 + (high_b - b) ** 2)
    high = a - b + sqrt((high_a - a) ** 2 + (b - low_b) ** 2)
    return a - b, low, high


def paired_difference(only_a: int, only_b: int, n: int) -> tuple[float, float, float]:
    """Return a - b of two shares of the same n pictures with its 95 % interval.

    Parameters
    ----------
    only_a, only_b : int
        Pictures that a alone, and that b alone, got right; the others say nothing of a difference.
    n : int
        All pictures.

    Notes
    -----
    Agresti and Min 2005: Wald's interval after half a picture is added to each of the four cells.
    """
    padded = n + 2
    shift = (only_a - only_b) / padded
    half = Z95 * sqrt((only_a + only_b + 1) / padded - shift**2) / sqrt(padded)
    return (only_a - only_b) / n, max(-1.0, shift - half), min(1.0, shift + half)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: so uneven a split by fair coins.

    Counted in whole numbers until the last step, so that it holds for any number of pictures.
    """
    n, term, total = only_a + only_b, 1, 0
    for i in range(min(only_a, only_b) + 1):
        total += term
        term = term * (n - i) // (i + 1)
    return min(1.0, 2 * total / 2**n)


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap percentile interval; NaN without values."""
    values = np.asarray(values, float)
    low, high = np.quantile(_resampled_means(values, seed), [0.025, 0.975])
    return (float(values.mean()) if len(values) else np.nan), float(low), float(high)


def _resampled_means(values, seed, repeats=2000) -> np.ndarray:
    if not len(values):
        return np.full(repeats, np.nan)
    picks = np.random.default_rng(seed).integers(0, len(values), (repeats, len(values)))
    return values[picks].mean(1)
