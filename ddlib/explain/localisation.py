"""Localisation: maps against the place of a face or of planted evidence.

`pointing_game` counts peaks inside a region (Zhang et al. 2016), `share_of_heat` measures how much
of the map lies there. Both mean something only beside chance, the share of the image that the
region covers; `by_decision` asks whether right and wrong decisions differ.

Regions are boxes (N, 4) as (x0, y0, x1, y1) in pixels with x1 and y1 excluded; maps (N, H, W) have
the images' size (`ddlib.images.overlay.upsample`).
"""

import numpy as np
import pandas as pd

from ddlib.metrics.intervals import mean_difference, mean_interval

ABOVE_CHANCE = ["above_chance", "above_chance_low", "above_chance_high"]


def pointing_game(heats: np.ndarray, regions: np.ndarray) -> dict:
    """Count how often a map's peak falls into the right region.

    Returns
    -------
    dict
        n, hits, misses, empty (maps of zeros, which point nowhere); rate = hits / (hits + misses).
    """
    masks = _masks(regions, heats)
    peaks = (heats == heats.max((1, 2), keepdims=True)) & (heats > 0)
    seen = peaks.any((1, 2))
    # A plateau has no single peak; it hits where at least half of it lies inside.
    inside = (peaks & masks).sum((1, 2)) >= 0.5 * peaks.sum((1, 2))
    hits, tried = int((inside & seen).sum()), int(seen.sum())
    return {
        "n": len(heats),
        "hits": hits,
        "misses": tried - hits,
        "empty": len(heats) - tried,
        "rate": hits / tried if tried else np.nan,
    }


def share_of_heat(heats: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Return the share of each map's heat inside its region, (N,); NaN for a map of zeros.

    Compare it with `area_share`, which is what heat spread evenly would give.
    """
    masks = _masks(regions, heats)
    total = heats.sum((1, 2), dtype=float)
    inside = (heats * masks).sum((1, 2), dtype=float)
    return np.divide(inside, total, out=np.full(len(heats), np.nan), where=total > 0)


def area_share(regions: np.ndarray, heats: np.ndarray) -> np.ndarray:
    """Return the share of the picture that each region covers, (N,)."""
    return _masks(regions, heats).mean((1, 2))


def by_decision(shares, chance, right) -> pd.DataFrame:
    """Compare the heat inside a region for right and for wrong decisions.

    Parameters
    ----------
    shares, chance : array, (N,)
        From `share_of_heat` and `area_share`. Rows with NaN are left out and counted as empty.
    right : array, (N,) bool
        Whether the model's decision was right.

    Returns
    -------
    DataFrame
        Rows right, wrong and right - wrong: n, empty, share, chance, and above_chance = share -
        chance with its 95 % interval over images. A group without images has NaN.
    """
    shares, chance, right = np.asarray(shares), np.asarray(chance), np.asarray(right, bool)
    kept, above = ~np.isnan(shares), shares - chance
    groups = {"right": right, "wrong": ~right}
    rows = []
    for name, group in groups.items():
        own = group & kept
        n = int(own.sum())
        means = (shares[own].mean(), chance[own].mean()) if n else (np.nan, np.nan)
        rows.append((name, n, int(group.sum()) - n, *means, *mean_interval(above[own])))
    first, second = rows
    counts, shifts = np.add(first[1:3], second[1:3]), np.subtract(first[3:5], second[3:5])
    change = mean_difference(*(above[group & kept] for group in groups.values()))
    rows.append(("right - wrong", *counts, *shifts, *change))
    columns = ["decision", "n", "empty", "share", "chance"]
    return pd.DataFrame(rows, columns=[*columns, *ABOVE_CHANCE])


def _masks(regions, heats) -> np.ndarray:
    """Return regions as masks (N, H, W) bool of the maps' size."""
    regions, (n, height, width) = np.asarray(regions), heats.shape
    if regions.shape != (n, 4):
        raise ValueError(
            f"regions of shape {regions.shape} do not fit maps of shape {heats.shape}: "
            f"boxes ({n}, 4) are needed"
        )
    x0, y0, x1, y1 = regions.T[..., None, None]
    bad = ~((x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(
            f"box {i}, {regions[i].tolist()}, is not (x0, y0, x1, y1) inside a map of {width} x "
            f"{height} pixels; upsample the maps to the images' size first"
        )
    y, x = np.arange(height)[:, None], np.arange(width)
    return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
