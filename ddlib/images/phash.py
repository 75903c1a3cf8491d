"""A perceptual hash: bits of a picture that a new JPEG pass or another size hardly changes."""

import numpy as np
from PIL import Image

SIDE = 64  # pixels of the grey picture that is transformed
KEPT = 12  # lowest frequencies in each direction
BITS = KEPT**2 - 1  # one for each of them beside the mean
MIN_CONTRAST = 4.0  # standard deviation of the grey levels below which a picture has no hash
# the lowest waves of the discrete cosine transform (DCT-II), a row each, all of the same length
_WAVES = np.cos(np.pi / SIDE * np.outer(np.arange(KEPT), np.arange(SIDE) + 0.5))
_WAVES[0] /= np.sqrt(2)


def perceptual_hash(image: np.ndarray | Image.Image) -> str | None:
    """Return the hash of an RGB image as 36 hexadecimal digits; None if it is flat.

    The grey picture is reduced to 64 x 64 pixels and transformed; its lowest frequencies beside
    the mean are compared with their median, as in the hash known as pHash. The package ImageHash
    has the same with a square number of bits; these few lines spare it and PyWavelets.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float64)
    if grey.std() < MIN_CONTRAST:
        return None
    low = (_WAVES @ grey @ _WAVES.T).ravel()[1:]
    return np.packbits(low > np.partition(low, BITS // 2)[BITS // 2]).tobytes().hex()
