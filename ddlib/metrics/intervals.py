"""95 % intervals: of a proportion, of the difference of two, of a mean."""

from math import nan, sqrt

import numpy as np

Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of k successes in n trials (Wilson 1927); NaN if n = 0.

    Unlike p +- z * se it holds at the ends: at 0 of n its upper limit is z^2 / (n + z^2).
    `scipy.stats.binomtest` gives the same, a thousand times slower.

    Examples
    --------
    >>> low, high = wilson(0, 54)
    >>> low, round(high, 4)
    (0.0, 0.0664)
    """
    if not 0 <= k <= n:
        raise ValueError(f"k={k} successes of n={n} trials is impossible; k lies between 0 and n")
    if n == 0:
        return nan, nan
    share, spread = k / n, Z95 * Z95 / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def difference(k_a: int, n_a: int, k_b: int, n_b: int) -> tuple[float, float, float]:
    """Return (a - b, low, high) for two proportions of different images.

    Method 10 of Newcombe 1998, built from two Wilson intervals; NaN if a set is empty.

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
    """Return (a - b, low, high) for two proportions of the same n images.

    `only_a` and `only_b` count the images that one alone got right. Agresti and Min 2005: Wald's
    interval after half an image is added to each of the four cells.
    """
    if n == 0:
        return nan, nan, nan
    padded = n + 2
    shift = (only_a - only_b) / padded
    half = Z95 * sqrt((only_a + only_b + 1) / padded - shift**2) / sqrt(padded)
    return (only_a - only_b) / n, max(-1.0, shift - half), min(1.0, shift + half)


def mean_interval(values) -> tuple[float, float, float]:
    """Return the mean and Student's 95 % interval of it; NaN ends for a single value.

    Examples
    --------
    >>> [round(x, 3) for x in mean_interval([0.90, 0.92, 0.94])]
    [0.92, 0.87, 0.97]
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return float(values[0]) if len(values) else nan, nan, nan
    mean = float(values.mean())
    half = student(len(values) - 1) * float(values.std(ddof=1)) / sqrt(len(values))
    return mean, mean - half, mean + half


def mean_difference(a, b) -> tuple[float, float, float]:
    """Return (a - b, low, high) for the means of two groups (Welch 1947); NaN below two values.

    Examples
    --------
    >>> [round(x, 2) for x in mean_difference([3.0, 4.0, 5.0], [1.0, 2.0, 3.0])]
    [2.0, -0.27, 4.27]
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if min(len(a), len(b)) < 2:
        return float(a.mean() - b.mean()) if len(a) and len(b) else nan, nan, nan
    parts = [float(each.var(ddof=1)) / len(each) for each in (a, b)]
    change, variance = float(a.mean() - b.mean()), sum(parts)
    if variance == 0:
        return change, change, change
    squares = sum(part**2 / (len(each) - 1) for part, each in zip(parts, (a, b), strict=True))
    half = student(variance**2 / squares) * sqrt(variance)
    return change, change - half, change + half


def student(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's distribution with so many degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))
