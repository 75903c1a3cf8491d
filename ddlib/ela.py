"""Error Level Analysis: save a picture as JPEG once more and look at what changes.

Regions that have been through the same JPEG quantisation before change little, others more (Krawetz
2007). What the map shows besides is contrast: edges and texture change more than smooth areas
in any picture, which is why a bright spot alone proves nothing.

The picture is saved by Pillow with 4:2:0 chroma subsampling, its default and the study's setting,
so that part of the difference is colour averaged over 2 x 2 pixels.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from ddlib.images.jpeg import recompress


def ela_difference(image: np.ndarray, quality: int = 90) -> np.ndarray:
    """Return how much each value changes when the image is saved as JPEG: |image - saved|.

    Parameters
    ----------
    image : (H, W, 3) uint8
    quality : int
        JPEG quality, 1 to 100.

    Returns
    -------
    (H, W, 3) uint8
        Grey levels, unscaled; at quality 90 seldom above 30.

    Raises
    ------
    ValueError
        If the image is no (H, W, 3) uint8 or the quality is out of range.
    """
    saved = recompress(image, quality)
    difference = np.maximum(image, saved)  # uint8 throughout: max - min cannot wrap around
    difference -= np.minimum(image, saved, out=saved)
    return difference


def ela_map(
    image: np.ndarray, quality: int = 90, scale: str | float | None = "max", inverted: bool = False
) -> np.ndarray:
    """Return the Error Level Analysis map of an image.

    Parameters
    ----------
    image : (H, W, 3) uint8
        At its native size, or resized: resizing mixes the JPEG blocks and hides their history.
    quality : int
        JPEG quality, 1 to 100; the study used 90.
    scale : "max", float or None
        "max" multiplies so that the largest channel difference becomes 255 (the study; maps of two
        pictures are then not comparable), a number multiplies by that and cuts at 255, None leaves
        grey levels.
    inverted : bool
        Analyse the `uint8_overflow` image instead, as the study's training code did by mistake.

    Returns
    -------
    (H, W, 3) uint8
        All zero for an image that the saving does not change.

    Raises
    ------
    ValueError
        As `ela_difference` does, or for a scale that is neither of these.
    """
    if not (scale is None or scale == "max" or (isinstance(scale, (int, float)) and scale > 0)):
        raise ValueError(f"scale={scale!r} is not known; use 'max', a number above 0, or None")
    difference = ela_difference(uint8_overflow(image) if inverted else image, quality)
    if scale is None:
        return difference
    factor = 255 / max(int(difference.max()), 1) if scale == "max" else scale
    levels = np.minimum(np.arange(256) * factor + 0.5, 255).astype(np.uint8)
    return np.take(levels, difference)  # three times as fast as levels[difference]


def ela_maps(
    images, quality: int = 90, scale="max", inverted: bool = False, workers: int | None = None
) -> np.ndarray:
    """Return the maps of many images of one size, in their order.

    Pillow lets go of Python's lock while it encodes and decodes, so threads share the work.

    Parameters
    ----------
    images : (N, H, W, 3) uint8 array, or sequence of N (H, W, 3) images
    quality, scale, inverted
        As in `ela_map`.
    workers : int, optional
        Threads; by default one a core.

    Returns
    -------
    (N, H, W, 3) uint8

    Raises
    ------
    ValueError
        If the images differ in size, or as `ela_map` does.
    """
    shapes = {np.shape(image) for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f"images of {len(shapes)} sizes, such as {sorted(shapes)[:2]}, do not fit one array; "
            "use ela_map on each"
        )
    maps = np.empty((len(images), *(shapes.pop() if shapes else (0, 0, 3))), np.uint8)
    one = partial(ela_map, quality=quality, scale=scale, inverted=inverted)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for place, result in zip(maps, pool.map(one, images), strict=True):
            place[:] = result
    return maps


def uint8_overflow(image: np.ndarray) -> np.ndarray:
    """Return image * 255 as it comes out of a uint8 cast: the study's mistake.

    Its training code took 0..255 values for 0..1 and multiplied them by 255. Modulo 256 that is
    256 - value: the negative of the picture one level brighter, except that 0 stays 0. JPEG treats
    a picture and its negative alike, so what changes an ELA map is black (0) beside near-black
    (1 becomes 255): such places flicker between the extremes.

    Parameters
    ----------
    image : array of uint8

    Examples
    --------
    >>> uint8_overflow(np.uint8([0, 1, 2, 254, 255])).tolist()
    [0, 255, 254, 2, 1]
    """
    return np.negative(image)  # unsigned: modulo 256, on every processor
