"""Repeated trainings: intervals over seeds, the prediction of a new run, learning curves."""

from math import nan, sqrt

import numpy as np

from ddlib.metrics.intervals import Z95, mean_interval, student
from ddlib.protocol import FAKE, REAL


def difference_over_seeds(changes, per_image, labels, measure: str) -> tuple[float, float, float]:
    """Return the mean of k differences between two models and its 95 % interval.

    The models have seed and test images in common. Both are drawn: half the interval is
    sqrt((t s / sqrt(k))^2 + (z e)^2), with standard deviation s over the seeds, and e the standard
    error of the mean over the test images.

    Parameters
    ----------
    changes : (k,) array
        The difference of the measure for each seed.
    per_image : (m, N) array
        For m of these seeds how the models differ on each image: whether each is right, or for the
        AUC where it is placed (`ddlib.metrics.roc_auc.placements`).
    labels : (N,) array
    measure : {"accuracy", "recall_real", "recall_fake", "auc"}
        Which images count.
    """
    mean, low, high = mean_interval(changes)
    of_images = np.mean(per_image, axis=0)
    classes = [of_images[labels == label] for label in (REAL, FAKE)]
    counted = {"accuracy": [of_images], "recall_real": classes[:1], "recall_fake": classes[1:]}
    error = sqrt(sum(part.var(ddof=1) / len(part) for part in counted.get(measure, classes)))
    half = sqrt((high - mean) ** 2 + (Z95 * error) ** 2)
    return mean, mean - half, mean + half


def new_run_interval(values, n: int, n_new: int | None = None) -> tuple[float, float]:
    """Return where the share measured in one new run lies with 95 %, given k earlier runs.

    The new run has another seed, and `n_new` other test images (None: n as well) of the same kind:
    half the interval is sqrt((t s sqrt(1 + 1/k))^2 + z^2 p (1 - p) (1/n + 1/n_new)), with standard
    deviation s over the runs, which all saw the same n images, and p their mean, drawn to one half
    as if z^2 more images had been seen (Agresti and Coull 1998), so that 0 of n leaves a doubt.

    Parameters
    ----------
    values : (k,) array
        Shares, k at least 2.
    """
    values, n_new = np.asarray(values, float), n_new or n
    k, mean = len(values), float(values.mean())
    if k < 2 or n == 0:
        return nan, nan
    of_seeds = student(k - 1) * values.std(ddof=1) * sqrt(1 + 1 / k)
    p = (n * mean + Z95**2 / 2) / (n + Z95**2)
    of_images = Z95 * sqrt(p * (1 - p) * (1 / n + 1 / n_new))
    half = sqrt(of_seeds**2 + of_images**2)
    return max(0.0, mean - half), min(1.0, mean + half)


def variance_components(shares: np.ndarray, n: int) -> dict[str, float]:
    """Split the variance of shares measured in crossed trainings into its sources.

    A two-way analysis of variance with random effects, one training a cell; negative estimates
    become 0.

    Parameters
    ----------
    shares : (A, B) array
        A training sets by B seeds, each tested on the same n images.

    Returns
    -------
    dict
        Variances: "training set", "seed", "both together" (their interaction and what is left), and
        "test images", p (1 - p) / n, which another draw of the test set would add.
    """
    rows, columns = shares.shape
    mean = shares.mean()
    of_rows, of_columns = shares.mean(axis=1), shares.mean(axis=0)
    rest = shares - of_rows[:, None] - of_columns + mean
    left = float((rest**2).sum() / ((rows - 1) * (columns - 1)))
    return {
        "training set": max(0.0, float(of_rows.var(ddof=1)) - left / columns),
        "seed": max(0.0, float(of_columns.var(ddof=1)) - left / rows),
        "both together": left,
        "test images": float(mean * (1 - mean) / n),
    }


def power_law(n, a, b, c=0.0):
    """Return the error a (n / 1000)^-b + c of a learning curve at n training images."""
    return a * (np.asarray(n, float) / 1000) ** -b + c


def fit_power_law(n, error, floor: bool) -> np.ndarray:
    """Fit learning curves by least squares of log(error); return (..., 3): a, b, c.

    For each floor c, tried in 100 steps from 0 to the smallest error, a and b are the straight line
    through log(error - c) against log(n); the c whose curve lies nearest to log(error) is kept.
    Without `floor` c is 0. A curve that does not fall gets b = 0.

    Parameters
    ----------
    n : (K,) array
        Training images.
    error : (..., K) array
        Errors of one or many curves; an error of 0 counts as 0.0001.

    Examples
    --------
    >>> n = np.array([100, 400, 1600, 6400])
    >>> fit_power_law(n, power_law(n, 0.1, 0.5, 0.02), floor=True).round(2)
    array([0.1 , 0.5 , 0.02])
    """
    x = np.log(np.asarray(n, float) / 1000)
    error = np.maximum(np.asarray(error, float), 1e-4)
    best = np.full((*error.shape[:-1], 3), nan)
    nearest = np.full(error.shape[:-1], np.inf)
    for part in np.linspace(0, 0.99, 100) if floor else (0.0,):
        c = part * error.min(axis=-1)
        y = np.log(error - c[..., None])
        centred = x - x.mean()
        b = np.maximum(0, -(y @ centred) / (centred @ centred))
        a = np.exp(y.mean(axis=-1) + b * x.mean())
        fitted = a[..., None] * np.exp(-b[..., None] * x) + c[..., None]
        far = ((np.log(fitted) - np.log(error)) ** 2).sum(axis=-1)
        nearer = far < nearest - 1e-12
        nearest = np.where(nearer, far, nearest)
        best[nearer] = np.stack([a, b, c], axis=-1)[nearer]
    return best
