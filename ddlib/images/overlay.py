"""Heat maps as arrays and as pictures: scale, resize, average, and lay over an image."""

import numpy as np


def normalise(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide maps (N, h, w) >= 0 by their own maximum.

    Returns
    -------
    heat : ndarray, (N, h, w)
        In [0, 1]; a map without any value above 0 stays all zeros.
    has_evidence : ndarray, (N,) bool
        Which maps have a value above 0.
    """
    peak = raw.max(axis=(1, 2))
    has_evidence = peak > 0
    return raw / np.where(has_evidence, peak, 1)[:, None, None], has_evidence


def mean_map(heats: list[np.ndarray], size) -> np.ndarray:
    """Resize maps of several resolutions, each (N, h, w), to `size` and average them.

    Resizing is linear, so maps of one resolution are added first and resized once.
    """
    totals = {}
    for heat in heats:
        totals[heat.shape] = totals.get(heat.shape, 0) + heat
    return sum(upsample(total, size) for total in totals.values()) / len(heats)


def upsample(heat: np.ndarray, size) -> np.ndarray:
    """Resize maps (h, w) or (N, h, w) bilinearly to float32, as ``tf.image.resize`` does.

    `size` is the new height and width in pixels, or one number for both. Values stay in their
    range; a peak between two new pixel centres comes out a little lower.

    Examples
    --------
    >>> upsample(np.array([[0.0, 1.0]]), (1, 4)).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    heat = np.asarray(heat, np.float32)
    height, width = (size, size) if np.isscalar(size) else size
    if heat.shape[-2:] == (height, width):
        return heat
    wide = _interpolate(heat, width)
    return _interpolate(wide.swapaxes(-1, -2), height).swapaxes(-1, -2)


def _interpolate(values: np.ndarray, new: int) -> np.ndarray:
    """Interpolate along the last axis at the centres of `new` pixels, constant beyond them."""
    old = values.shape[-1]
    position = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    below = position.astype(int)
    low, high = values[..., below], values[..., np.minimum(below + 1, old - 1)]
    return low + (high - low) * (position - below).astype(np.float32)


def overlay(
    image: np.ndarray, heat: np.ndarray, opacity: float = 0.5, colormap: str = "inferno"
) -> np.ndarray:
    """Lay one heat map over its image.

    Parameters
    ----------
    image : array or PIL image, (H, W, 3), uint8 or float of 0..255
    heat : ndarray, (h, w), values in [0, 1]
        Resized to the image. A map of zeros (no positive evidence) leaves the image untouched.
    opacity : float
        Share of the colour in the mixture, 0 to 1, the same everywhere.
    colormap : str
        A Matplotlib name: "inferno" and "viridis" are perceptually uniform, the study used "jet".

    Returns
    -------
    ndarray, (H, W, 3) uint8
    """
    from matplotlib import colormaps  # loaded for pictures only: it takes longer than the rest

    if colormap not in colormaps:
        raise ValueError(f"colormap={colormap!r} is not one of Matplotlib's; try inferno or jet")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity={opacity!r} is out of range; allowed is 0 to 1")
    image, heat = np.asarray(image), np.asarray(heat)
    if image.ndim != 3 or image.shape[2] != 3 or heat.ndim != 2:
        raise ValueError(
            f"image {image.shape} and heat {heat.shape} do not fit; needed are one image (H, W, 3) "
            "and one map (h, w), for example images[0] and maps.heat[0]"
        )
    image = _as_uint8(image)
    if not (heat.min() >= 0 and heat.max() <= 1 + 1e-6):  # false for NaN too
        raise ValueError(
            f"heat ranges from {heat.min():.3g} to {heat.max():.3g}; needed is 0 to 1: "
            "use maps.heat, or `normalise` a raw map"
        )
    if not heat.any():
        return image.copy()
    colour = colormaps[colormap](upsample(heat, image.shape[:2]))[..., :3] * 255
    return np.rint((1 - opacity) * image + opacity * colour).astype(np.uint8)


def _as_uint8(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    low, high = image.min(), image.max()
    # Up to 2: a picture of 0..1 that resizing has carried a little beyond. False for NaN too.
    is_0_to_255 = low >= 0 and high <= 255 and (high > 2 or high == 0)
    if image.dtype.kind != "f" or not is_0_to_255:
        raise ValueError(
            f"image is {image.dtype} from {low:.3g} to {high:.3g}; needed is uint8, or float of "
            "0..255 (values of 0..1: multiply them by 255; 16 bits: divide them by 257)"
        )
    return np.rint(image).astype(np.uint8)
