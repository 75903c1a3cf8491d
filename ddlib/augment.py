"""What happens to pictures on their way through the world, done to training pictures at random.

A detector that never saw a re-saved, blurred or resized picture takes such changes for signs. Wang
et al. 2020 ("CNN-generated images are surprisingly easy to spot", arXiv 1912.11035) found that
blur and JPEG in training carry over to generators never seen; Gragnaniello et al. 2021 (arXiv
2104.02617) confirm it. Real and fake pictures get the same treatment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image, ImageFilter

from ddlib.jpeg import recompress

_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Augmentation:
    """How often each change is made (a share of the pictures), and how strongly at most."""

    resize: float = 0.5
    smallest: float = 0.5  # scale; a picture is made smaller and brought back to its size
    zoom: float = 0.25
    least_kept: float = 0.7  # of each side; the part is brought back to the whole size
    blur: float = 0.3
    largest_sigma: float = 1.5  # pixels, of a Gaussian
    jpeg: float = 0.5
    lowest_quality: int = 30
    highest_quality: int = 95

    def to_dict(self) -> dict:
        """Return the fields as plain values that JSON can hold."""
        return asdict(self)


def augment(image: np.ndarray, plan: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return a picture changed at random: zoomed, resized, blurred, saved as JPEG, in this order.

    Parameters
    ----------
    image : (S, S, 3) uint8
    plan : Augmentation
    rng : numpy.random.Generator
        Decides everything: the same state gives the same picture.

    Returns
    -------
    (S, S, 3) uint8
    """
    picture = Image.fromarray(image)
    side = picture.width
    if rng.random() < plan.zoom:
        kept = max(1, round(side * rng.uniform(plan.least_kept, 1)))
        left, top = rng.integers(0, side - kept + 1, 2)
        box = (left, top, left + kept, top + kept)
        picture = picture.resize((side, side), _a_filter(rng), box=box)
    if rng.random() < plan.resize:
        small = max(1, round(side * rng.uniform(plan.smallest, 1)))
        picture = picture.resize((small, small), _a_filter(rng))
        picture = picture.resize((side, side), _a_filter(rng))
    if rng.random() < plan.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, plan.largest_sigma)))
    image = np.asarray(picture)
    if rng.random() < plan.jpeg:
        quality = rng.integers(plan.lowest_quality, plan.highest_quality + 1)
        image = recompress(image, int(quality))
    return image


def random_window(image: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a square of `side` pixels cut out at random, mirrored half the time."""
    top, left = (rng.integers(0, length - side + 1) for length in image.shape[:2])
    window = image[top : top + side, left : left + side]
    return window[:, ::-1] if rng.random() < 0.5 else window


def _a_filter(rng: np.random.Generator):
    return _FILTERS[rng.integers(len(_FILTERS))]
