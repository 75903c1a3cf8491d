"""Heat maps as data and as pictures: scaled, resized, averaged, laid over an image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Grad-CAM maps of N images.

    Attributes
    ----------
    heat : ndarray, (N, h, w) float32
        Each map divided by its own maximum, in [0, 1]; all zeros where `positive` is False.
    positive : ndarray, (N,) bool
        Whether any cell speaks for the target class. False is a finding, not a failure.
    raw : ndarray, (N, h, w) float32
        The map before the division, >= 0, at the layer's own resolution (in logits per cell, so
        that images can be compared). For the fused map, the mean before its last division.
    logits, scores : ndarray, (N,) float32
        The logit of "fake" and P(fake), whatever the target.
    target : {"fake", "real"}
    layer : str
        The layer's name, or "fused".
    """

    heat: np.ndarray
    positive: np.ndarray
    raw: np.ndarray
    logits: np.ndarray
    scores: np.ndarray
    target: str
    layer: str

    def __len__(self):
        return len(self.heat)

    def upsampled(self, size) -> HeatMaps:
        """Return the same maps with `heat` at another size, as `upsample` makes it."""
        return dataclasses.replace(self, heat=upsample(self.heat, size))


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


def fuse(heats: list[np.ndarray], size) -> np.ndarray:
    """Average maps of many resolutions; resizing is linear, so equal ones are added before it."""
    totals = {}
    for heat in heats:
        totals[heat.shape] = totals.get(heat.shape, 0) + heat
    return sum(upsample(total, size) for total in totals.values()) / len(heats)
