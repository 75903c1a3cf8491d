"""What an image's pixels reveal of its JPEG history, and how much of an ELA map is merely edges."""

import numpy as np
import pandas as pd

from ddlib.ela import ela_difference
from ddlib.images.jpeg import recompress

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in JPEG
BLOCK = 8  # pixels, the unit in which JPEG works
MAX_SAVES = 200  # until which an image settles; most take under twenty


def fixed_point(image: np.ndarray, quality: int = 90) -> tuple[np.ndarray, int]:
    """Save an image (H, W, 3) uint8 as JPEG repeatedly until its pixels no longer change.

    Returns
    -------
    image, saves : (H, W, 3) uint8, int
        The unchanging image and how many saves changed something on the way. One that still
        changes after `MAX_SAVES` is a RuntimeError.
    """
    for saves in range(MAX_SAVES):
        again = recompress(image, quality)
        if np.array_equal(again, image):
            return image, saves
        image = again
    raise RuntimeError(f"the image still changes after {MAX_SAVES} saves at quality {quality}")


def quality_sweep(image: np.ndarray, box, qualities=range(75, 96)) -> pd.DataFrame:
    """Measure how much a region and the rest change when saved at each of many qualities.

    A part that was saved at quality q before changes least at q ("JPEG ghosts", Farid 2009).

    Parameters
    ----------
    image : (H, W, 3) uint8
    box : (x0, y0, x1, y1)
        Pixels; x1 and y1 are excluded.
    qualities : iterable of int

    Returns
    -------
    DataFrame
        quality, region ("inside" or "outside" the box), difference (mean change in grey levels).
    """
    x0, y0, x1, y1 = box
    inside = np.zeros(image.shape[:2], bool)
    inside[y0:y1, x0:x1] = True
    if inside.all() or not inside.any():
        raise ValueError(f"the box {tuple(box)} must hold a part of the image, not all or none")
    rows = []
    for quality in qualities:
        change = ela_difference(image, quality)
        rows.append((quality, "inside", change[inside].mean()))
        rows.append((quality, "outside", change[~inside].mean()))
    return pd.DataFrame(rows, columns=["quality", "region", "difference"])


def edge_correlation(image: np.ndarray) -> float:
    """Return Spearman's correlation of edges and ELA over an image's 8 x 8 blocks.

    Near 1 the ELA map shows the edges and little else. NaN where either is constant, as ELA is for
    an image that saving does not change.
    """
    from scipy.stats import spearmanr

    gradient = np.hypot(*np.gradient(image @ LUMA))  # grey levels per pixel
    change = ela_difference(image).mean(axis=2)
    edges, error = (block_means(values, BLOCK).ravel() for values in (gradient, change))
    if np.ptp(edges) == 0 or np.ptp(error) == 0:
        return float("nan")
    return float(spearmanr(edges, error).statistic)


def block_means(values: np.ndarray, block: int) -> np.ndarray:
    """Return the means of all whole squares of `block` pixels: (H, W) -> (H // b, W // b)."""
    rows, columns = (n // block for n in values.shape)
    values = values[: rows * block, : columns * block]
    return values.reshape(rows, block, columns, block).mean(axis=(1, 3))
