"""Error Level Analysis: save an image as JPEG once more and look at what changes.

Regions that went through the same JPEG quantisation before change little, others change more
(Krawetz 2007). The map also shows contrast: edges and texture change more than smooth areas in any
image, so a bright spot alone proves nothing.

Part of the difference is colour, which JPEG averages over 2 x 2 pixels (4:2:0 subsampling).
"""

import numpy as np

from ddlib.images.jpeg import recompress


def ela_difference(image: np.ndarray, quality: int = 90) -> np.ndarray:
    """Return how much each value changes when the image is saved as JPEG: |image - saved|.

    Image and result are (H, W, 3) uint8, an RGB PIL image is taken too; `quality` is 1 to 100,
    others are a ValueError. At quality 90 differences are seldom above 30 grey levels.
    """
    image = np.asarray(image)
    saved = recompress(image, quality)
    return np.maximum(image, saved) - np.minimum(image, saved)  # cannot wrap around in uint8


def ela_map(image: np.ndarray, quality: int = 90, scale: str | float | None = "max") -> np.ndarray:
    """Return the Error Level Analysis map of an image.

    Parameters
    ----------
    image : (H, W, 3) uint8 array or RGB PIL image
        Best at its native size: resizing mixes the JPEG blocks and hides their history.
    quality : int
        JPEG quality, 1 to 100; the study used 90.
    scale : "max", float or None
        "max" multiplies so that the largest difference becomes 255, as the study did; maps of two
        images are then not comparable. A number multiplies by it and clips at 255. None returns the
        differences in grey levels.

    Returns
    -------
    (H, W, 3) uint8
        All zero for an image that saving does not change.

    Examples
    --------
    >>> ela_map(np.full((16, 16, 3), 128, np.uint8)).max()
    np.uint8(0)
    """
    is_factor = isinstance(scale, (int, float)) and 0 < scale < np.inf
    if scale not in (None, "max") and not is_factor:
        raise ValueError(f"scale={scale!r} is not known; use 'max', a number above 0, or None")
    difference = ela_difference(image, quality)
    if scale is None:
        return difference
    factor = 255 / max(int(difference.max()), 1) if scale == "max" else scale
    scaled_levels = np.minimum(np.arange(256) * factor + 0.5, 255).astype(np.uint8)
    return np.take(scaled_levels, difference)  # a table of 256 values is faster than arithmetic


def uint8_overflow(image: np.ndarray) -> np.ndarray:
    """Return image * 255 with the overflow of a uint8 cast: the study's mistake.

    Its training code took 0..255 values for 0..1 and multiplied them by 255. Modulo 256 that is
    256 - value: the negative of the image, one level brighter, except that 0 stays 0. JPEG treats
    an image and its negative alike, so an ELA map changes only where black (0) lies beside
    near-black (1 becomes 255): such places flicker between the extremes.

    Examples
    --------
    >>> uint8_overflow(np.uint8([0, 1, 2, 254, 255])).tolist()
    [0, 255, 254, 2, 1]
    """
    return np.negative(image)  # unsigned: modulo 256, on every processor
