"""Error Level Analysis: save an image as JPEG once more and look at what changes.

JPEG cuts an image into blocks of 8 x 8 pixels, takes each apart into frequencies, and rounds these
to multiples of steps that the quality decides. Where they were rounded with the same steps before,
rounding again changes little; a region that was saved at another quality, or never, changes more
(Krawetz 2007, "A Picture's Worth"). But edges and texture change more than smooth areas in every
image, and coloured edges most, because JPEG stores colour at half the height and width (4:2:0
subsampling). So a bright spot alone proves nothing.
"""

import numpy as np

from ddlib.images.jpeg import recompress


def ela_difference(image: np.ndarray, quality: int = 90) -> np.ndarray:
    """Return how much each pixel and colour changes when the image is saved: |image - saved|.

    From an (H, W, 3) uint8 array or an RGB PIL image to (H, W, 3) uint8; at quality 90 differences
    seldom exceed 30. An image of another kind or a quality outside 1 to 100 is a ValueError.
    """
    image = np.asarray(image)
    saved = recompress(image, quality)
    # image - saved would wrap around below 0 in uint8
    return np.maximum(image, saved) - np.minimum(image, saved)


def ela_map(image: np.ndarray, quality: int = 90, scale: str | float | None = "max") -> np.ndarray:
    """Return the Error Level Analysis map of an image.

    Parameters
    ----------
    image : (H, W, 3) uint8 array or RGB PIL image
        Best at its native size: resizing mixes the blocks, and with them the traces of how a region
        was saved. The study resized first, and `ddlib.data.loader.prepare` repeats that, since the
        question there is whether the study's maps help a network.
    quality : int
        JPEG quality, 1 to 100; the study used 90.
    scale : "max", float or None
        "max" stretches the map so that its largest value is 255, as in the study; the maps of two
        images are then not comparable. A number multiplies the differences and clips at 255. None
        leaves them as they are.

    Returns
    -------
    (H, W, 3) uint8
        All zero for an image that saving does not change.

    Raises
    ------
    ValueError
        If the image is of another kind, or the quality or the scale is out of range.

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
    """Repeat the study's mistake: multiply uint8 pixels by 255, modulo 256.

    The study's training code expected pixels of 0 to 1 and multiplied them by 255, but they were 0
    to 255 already. So v became (256 - v) modulo 256: the negative of the image, one level brighter,
    except that 0 stays 0. JPEG subtracts 128 from every pixel first, so a negative has the same
    frequencies with the other sign, and the same ELA map. It changes only in blocks that hold black
    (0), most where near-black lies beside it: 1 becomes 255, and 0 beside it is a sharp false edge.

    Examples
    --------
    >>> uint8_overflow(np.uint8([0, 1, 2, 254, 255])).tolist()
    [0, 255, 254, 2, 1]
    """
    return np.negative(image)  # in uint8: modulo 256
