"""Where the face is: OpenCV's classic Haar cascade, an optional extra.

Viola and Jones (2001). Frontal faces only, quick, needs no download: OpenCV 4 carries the trained
cascade. OpenCV 5 dropped it, hence the version in ``pip install "ddlib[face]"``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

CASCADE = "haarcascade_frontalface_default.xml"


INSTALL = 'pip install "ddlib[face]"'


def find_face(image: np.ndarray, smallest: float = 0.2) -> tuple[int, int, int, int] | None:
    """Return the box of the largest frontal face.

    Parameters
    ----------
    image : ndarray, (H, W, 3) uint8
    smallest : float in (0, 1]
        Side of the smallest face looked for, as a share of the picture's shorter side. Larger is
        faster and has fewer false finds.

    Returns
    -------
    (x0, y0, x1, y1) or None
        In pixels, x1 and y1 excluded; None where no face is found.

    Raises
    ------
    ImportError
        If OpenCV 4 or its cascade is missing.
    ValueError
        If the image is not (H, W, 3) uint8 or `smallest` is out of range.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"an image (H, W, 3) of uint8 is needed, not {image.shape} of {image.dtype}"
        )
    if not 0 < smallest <= 1:
        raise ValueError(f"smallest={smallest!r} is out of range; allowed is above 0 up to 1")
    grey = np.asarray(Image.fromarray(image).convert("L"))
    side = max(1, round(smallest * min(grey.shape)))
    found = _cascade().detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(side, side))
    if not len(found):
        return None
    x, y, width, height = (int(value) for value in max(found, key=lambda box: box[2] * box[3]))
    return x, y, x + width, y + height


def find_faces(images: np.ndarray, smallest: float = 0.2) -> list[tuple[int, int, int, int] | None]:
    """Return the largest face of each of N images (N, H, W, 3), as `find_face` does."""
    return [find_face(image, smallest) for image in images]


def available() -> bool:
    """Return whether OpenCV 4 and its cascade are installed."""
    try:
        _cascade()
    except ImportError:
        return False
    return True


@cache
def _cascade():
    """Load the detector once."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"finding faces needs OpenCV 4, which is not installed: {INSTALL}"
        ) from error
    version = getattr(cv2, "__version__", "of unknown version")
    folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
    if folder is None or getattr(cv2, "CascadeClassifier", None) is None:
        raise ImportError(f"OpenCV {version} has no Haar cascades, OpenCV 4 does: {INSTALL}")
    file = Path(folder) / CASCADE
    if not file.is_file():
        raise ImportError(f"OpenCV {version} has no {file}: {INSTALL}")
    return cv2.CascadeClassifier(str(file))
