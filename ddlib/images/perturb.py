"""What happens to pictures on their way through the world, done to training pictures at random.

A detector that never saw a re-saved, blurred or resized picture takes such changes for signs. Wang
et al. 2020 ("CNN-generated images are surprisingly easy to spot", arXiv 1912.11035) found that
blur and JPEG in training carry over to generators never seen; Gragnaniello et al. 2021 (arXiv
2104.02617) confirm it. Real and fake pictures get the same treatment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image, ImageFilter

from ddlib.images.jpeg import check_image, recompress

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


@dataclass(frozen=True)
class Kind:
    """A way to disturb pictures: what does it, how strongly, and which strengths there can be."""

    change: Callable[[np.ndarray, float, int], np.ndarray]
    strengths: tuple[float, ...]  # from mild to harsh
    least: float
    most: float


def _jpeg(image, quality, seed):
    return recompress(image, int(quality))


def _blur(image, sigma, seed):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _resize(image, scale, seed):
    height, width = image.shape[:2]
    small = max(1, round(width * scale)), max(1, round(height * scale))
    there = Image.fromarray(image).resize(small, Image.Resampling.BILINEAR)  # as `images.resize`
    return np.asarray(there.resize((width, height), Image.Resampling.BILINEAR))


def _crop(image, share, seed):
    kept = [max(1, round(side * share)) for side in image.shape[:2]]
    top, left = ((side - k) // 2 for side, k in zip(image.shape, kept, strict=False))
    return image[top : top + kept[0], left : left + kept[1]]


def _noise(image, sigma, seed):
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return np.rint(image + sigma * noise).clip(0, 255).astype(np.uint8)


PERTURBATIONS = {
    "jpeg": Kind(_jpeg, (95, 90, 80, 70, 60, 50, 40, 30), 1, 100),  # quality
    "blur": Kind(_blur, (0.5, 1, 2), 0, 100),  # sigma of a Gaussian in pixels
    "resize": Kind(_resize, (0.75, 0.5, 0.25), 0.01, 1),  # to this share of each side, and back
    "crop": Kind(_crop, (0.9, 0.75, 0.5), 0.01, 1),  # the middle, this share of each side
    "noise": Kind(_noise, (2, 5, 10), 0, 255),  # sigma in grey levels, each value on its own
}


DEFAULT_PERTURBATIONS = tuple(
    (name, s) for name, kind in PERTURBATIONS.items() for s in kind.strengths
)


def perturb(image: np.ndarray, kind: str, strength: float, seed: int = 0) -> np.ndarray:
    """Return a picture after one disturbance.

    Parameters
    ----------
    image : (H, W, 3) uint8
    kind : {"jpeg", "blur", "resize", "crop", "noise"}
    strength : float
        Quality 1 to 100; sigma of the Gaussian in pixels; share of each side that the picture is
        brought to (and back, antialiased); share of each side that is kept, the middle of it; sigma
        of Gaussian noise in grey levels.
    seed : int
        Of the noise. One seed gives one pattern, of which ``strength`` is the scale.

    Returns
    -------
    (H, W, 3) uint8, smaller after a crop

    Raises
    ------
    ValueError
        If the kind is unknown, the strength out of its range or the picture of another form.
    """
    if kind not in PERTURBATIONS:
        raise ValueError(
            f"disturbance {kind!r} is not known; choose from {', '.join(PERTURBATIONS)}"
        )
    least, most = PERTURBATIONS[kind].least, PERTURBATIONS[kind].most
    if not least <= strength <= most:  # true for NaN as well
        raise ValueError(f"{kind} {strength} is out of range; give {least} to {most}")
    check_image(image)
    return PERTURBATIONS[kind].change(image, strength, seed)
