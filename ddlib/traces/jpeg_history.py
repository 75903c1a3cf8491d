"""What a picture's pixels tell of its JPEG history, and how much of an ELA map is merely edges.

`ddlib.ela` draws the map; here are the known answers to hold it against: a picture that saving no
longer changes, the sweep over qualities that finds an earlier one, and the edges that light up in
any picture.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ddlib.ela import ela_difference
from ddlib.images.jpeg import recompress

BLOCK = 8  # pixels: JPEG works on squares of this side


LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in JPEG


def fixed_point(image: np.ndarray, quality: int = 90, most: int = 200) -> tuple[np.ndarray, int]:
    """Save a picture as JPEG again and again until its pixels no longer change.

    Parameters
    ----------
    image : (H, W, 3) uint8
    quality : int
        JPEG quality, 1 to 100.
    most : int
        Saves after which to give up.

    Returns
    -------
    image, saves : (H, W, 3) uint8, int
        The unchanging picture and how many saves changed something on the way.

    Raises
    ------
    RuntimeError
        If the picture still changes after `most` saves.
    """
    for saves in range(most):
        again = recompress(image, quality)
        if np.array_equal(again, image):
            return image, saves
        image = again
    raise RuntimeError(
        f"the picture still changes after {most} saves at quality {quality}; allow more with most="
    )


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
        raise ValueError(f"the box {tuple(box)} must hold a part of the picture, not all or none")
    rows = []
    for quality in qualities:
        change = ela_difference(image, quality)
        rows.append((quality, "inside", change[inside].mean()))
        rows.append((quality, "outside", change[~inside].mean()))
    return pd.DataFrame(rows, columns=["quality", "region", "difference"])


def edge_energy(image: np.ndarray) -> np.ndarray:
    """Return the length of the brightness gradient, (H, W), in grey levels per pixel."""
    down, right = np.gradient(image @ LUMA)
    return np.hypot(down, right)


def block_means(values: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """Return means over squares of `block` pixels, (H // block, W // block); a rest is left out.

    Examples
    --------
    >>> block_means(np.array([[1.0, 3.0], [5.0, 7.0]]), block=2).tolist()
    [[4.0]]
    """
    rows, columns = (n // block for n in values.shape)
    cut = values[: rows * block, : columns * block]
    return cut.reshape(rows, block, columns, block).mean(axis=(1, 3))


def edge_correlation(image: np.ndarray, quality: int = 90) -> float:
    """Return Spearman's correlation of edges and ELA over a picture's 8 x 8 blocks.

    Near 1 the ELA map shows where the edges are and little else. NaN where one of the two is the
    same everywhere, as in a picture that saving does not change.
    """
    pair = [edge_energy(image), ela_difference(image, quality).mean(axis=2)]
    ranks = [pd.Series(block_means(values).ravel()).rank() for values in pair]
    if min(rank.nunique() for rank in ranks) < 2:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
