"""What happens to images on their way to us: re-saved, blurred, resized, cropped, noisy.

A detector that never saw such changes mistakes them for traces of a generator. Blur and JPEG during
training carry over to unseen generators (Wang et al. 2020, arXiv 1912.11035; Gragnaniello et al.
2021, arXiv 2104.02617). `perturb` makes one change of a stated strength, for measuring; `augment`
makes several at random, for training.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from ddlib._utils import check_choice
from ddlib.images.jpeg import check_image, recompress

_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Perturbation:
    """A kind of change: usual strengths, and the range of the strength."""

    strengths: tuple[float, ...]  # from mild to harsh
    lowest: float
    highest: float


PERTURBATIONS = {
    "jpeg": Perturbation((95, 90, 80, 70, 60, 50, 40, 30), 1, 100),  # quality
    "blur": Perturbation((0.5, 1, 2), 0, 100),  # sigma of a Gaussian in pixels
    "resize": Perturbation((0.75, 0.5, 0.25), 0.01, 1),  # share of each side
    "crop": Perturbation((0.9, 0.75, 0.5), 0.01, 1),  # share of each side
    "noise": Perturbation((2, 5, 10), 0, 255),  # sigma in grey levels
}
DEFAULT_PERTURBATIONS = tuple(
    (name, s) for name, kind in PERTURBATIONS.items() for s in kind.strengths
)


def perturb(image: np.ndarray, kind: str, strength: float, seed: int = 0) -> np.ndarray:
    """Return an image (H, W, 3) uint8 after one change; after a crop it is smaller.

    Parameters
    ----------
    kind : {"jpeg", "blur", "resize", "crop", "noise"}
    strength : float
        "jpeg": quality 1 to 100; "blur": sigma of the Gaussian in pixels; "resize": share that each
        side is reduced to before it is enlarged back; "crop": share of each side that is kept, the
        middle; "noise": sigma of Gaussian noise in grey levels. ValueError if out of range.
    seed : int
        Seed of the noise. One seed gives one pattern, scaled by `strength`.
    """
    check_choice("kind", kind, PERTURBATIONS)
    lowest, highest = PERTURBATIONS[kind].lowest, PERTURBATIONS[kind].highest
    if not lowest <= strength <= highest:  # true for NaN as well
        raise ValueError(f"{kind} {strength} is out of range; give {lowest} to {highest}")
    check_image(image)
    if kind == "jpeg":
        return recompress(image, int(strength))
    if kind == "blur":
        return _blur(image, strength)
    if kind == "resize":
        return _resize(image, strength)
    if kind == "crop":
        height, width = (max(1, round(side * strength)) for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        return image[top : top + height, left : left + width]
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return np.rint(image + strength * noise).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Augmentation:
    """The share of images that each change is made to, and the limits of its strength."""

    resize: float = 0.5
    smallest: float = 0.5  # scale, before the image is enlarged back
    zoom: float = 0.25
    least_kept: float = 0.7  # of each side; the part is enlarged to the whole size
    blur: float = 0.3
    largest_sigma: float = 1.5  # pixels, of a Gaussian
    jpeg: float = 0.5
    lowest_quality: int = 30
    highest_quality: int = 95


def augment(image: np.ndarray, plan: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return a square image (S, S, 3) uint8 changed at random; one state of `rng`, one result.

    In this order: zoomed, resized, blurred, saved as JPEG.
    """
    side = len(image)
    if rng.random() < plan.zoom:
        kept = max(1, round(side * rng.uniform(plan.least_kept, 1)))
        left, top = rng.integers(0, side - kept + 1, 2)
        box = (left, top, left + kept, top + kept)
        image = np.asarray(Image.fromarray(image).resize((side, side), _filter(rng), box=box))
    if rng.random() < plan.resize:
        image = _resize(image, rng.uniform(plan.smallest, 1), _filter(rng), _filter(rng))
    if rng.random() < plan.blur:
        image = _blur(image, rng.uniform(0, plan.largest_sigma))
    if rng.random() < plan.jpeg:
        image = recompress(image, rng.integers(plan.lowest_quality, plan.highest_quality + 1))
    return image


def random_window(image: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a square of `side` pixels at a random place, mirrored half the time."""
    top, left = (rng.integers(0, length - side + 1) for length in image.shape[:2])
    window = image[top : top + side, left : left + side]
    return window[:, ::-1] if rng.random() < 0.5 else window


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _resize(image: np.ndarray, scale: float, down=_FILTERS[0], up=_FILTERS[0]) -> np.ndarray:
    """Reduce each side to `scale` of it and enlarge the image back."""
    height, width = image.shape[:2]
    small = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(small, down).resize((width, height), up))


def _filter(rng: np.random.Generator):
    return _FILTERS[rng.integers(len(_FILTERS))]
