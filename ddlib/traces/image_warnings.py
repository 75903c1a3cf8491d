"""Why the score of an image is worth less: compressed, tiny, enlarged, blurred or long."""

from collections.abc import Iterator

import numpy as np

from ddlib.images.read import MIN_SIDE
from ddlib.traces.jpeg_history import block_means

MIN_JPEG_QUALITY = 60  # from here down the traces of generators are lost
# A smooth image has 0.5 (see `fine_detail`), any enlarged twofold up to 0.51; of thirteen sets of
# photographs and fakes prepared at 256 pixels, 98 % of each lie above 0.52.
MIN_FINE_DETAIL = 0.515
MAX_ASPECT = 2.0  # an image so many times as long as wide loses most of itself to the square
LONG = "long picture: only its middle square was scored"


def image_warnings(scored: np.ndarray, resized: np.ndarray, quality: float) -> Iterator[str]:
    """Yield why a score is worth less.

    `scored` is what was scored, before it was resized, and `resized` after it; `quality` is the
    JPEG quality that the file shows, NaN if it shows none.
    """
    if quality <= MIN_JPEG_QUALITY:  # never true of NaN
        yield f"heavily compressed: JPEG quality about {quality:.0f}"
    side, size = min(scored.shape[:2]), len(resized)
    if side < MIN_SIDE:
        yield f"tiny: {side} pixels hold no face"
    elif side < size:
        yield f"{'tiny' if 2 * side <= size else 'small'}: {side} pixels were enlarged to {size}"
    elif fine_detail(resized) < MIN_FINE_DETAIL:
        yield "no fine detail: enlarged or blurred before"


def is_long(image: np.ndarray) -> bool:
    """Return whether an image (H, W, 3) loses most of itself when its middle square is cut out."""
    return max(image.shape[:2]) >= MAX_ASPECT * min(image.shape[:2])


def fine_detail(image: np.ndarray) -> float:
    """Return how much finer the detail of an image (S, S, 3) is than that of a smooth one.

    The mean distance of pixels from the mean of their 2 x 2 block, divided by the same of these
    means: 0.5 where brightness only slopes, 2 for independent noise, 0 for a flat image.
    """
    side = len(image) // 4 * 4
    grey = image[:side, :side].mean(2)
    half = block_means(grey, 2)
    coarse = np.abs(half - np.kron(block_means(half, 2), np.ones((2, 2)))).mean()
    fine = np.abs(grey - np.kron(half, np.ones((2, 2)))).mean()
    return float(fine / coarse) if coarse else 0.0
