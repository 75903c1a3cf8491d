"""Heat maps as data and as pictures: scaled, resized, averaged, laid over an image."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def upsample(heat: np.ndarray, size) -> np.ndarray:
    """Resize maps (N, h, w) or one map (h, w) bilinearly to `size`, an int or (height, width).

    Values stay in their range; a peak between the centres of new pixels comes out a little lower.
    """
    heat = np.asarray(heat, np.float32)
    size = (size, size) if np.isscalar(size) else tuple(size)
    if heat.shape[-2:] == size:
        return heat
    stack = heat.reshape(-1, *heat.shape[-2:], 1)
    return tf.image.resize(stack, size, "bilinear").numpy().reshape(*heat.shape[:-2], *size)


def overlay(
    image: np.ndarray, heat: np.ndarray, opacity: float = 0.5, colormap: str = "inferno"
) -> np.ndarray:
    """Lay one heat map over its image.

    Parameters
    ----------
    image : ndarray, (H, W, 3) uint8
    heat : ndarray, (h, w), values in [0, 1]
        Resized to the image. A map of zeros (no positive evidence) leaves the image untouched.
    opacity : float in [0, 1]
        Share of the colour, the same everywhere.
    colormap : str
        A Matplotlib name: "inferno" and "viridis" are perceptually uniform, the study used "jet".

    Returns
    -------
    ndarray, (H, W, 3) uint8
    """
    from matplotlib import colormaps

    if colormap not in colormaps:
        raise ValueError(f"colormap={colormap!r} is not one of Matplotlib's; try inferno or jet")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity={opacity!r} is out of range; allowed is 0 to 1")
    image, heat = np.asarray(image), np.asarray(heat)
    if image.ndim != 3 or image.shape[2] != 3 or heat.ndim != 2:
        raise ValueError(
            f"one image (H, W, 3) and one map (h, w) are needed, not {image.shape} and {heat.shape}"
        )
    if not heat.any():
        return image.astype(np.uint8)
    colour = colormaps[colormap](upsample(heat, image.shape[:2]))[..., :3] * 255
    return np.rint((1 - opacity) * image + opacity * colour).clip(0, 255).astype(np.uint8)


def normalise(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide each map by its maximum; return the maps and which of them have one above zero."""
    peak = raw.max((1, 2))
    positive = peak > 0
    return raw / np.where(positive, peak, 1)[:, None, None], positive


def mean_map(heats: list[np.ndarray], size) -> np.ndarray:
    """Average maps of many resolutions; resizing is linear, so equal ones are added before it."""
    totals = {}
    for heat in heats:
        totals[heat.shape] = totals.get(heat.shape, 0) + heat
    return sum(upsample(total, size) for total in totals.values()) / len(heats)
