"""Where the face is: OpenCV's Haar cascade (Viola and Jones 2001), an optional extra.

It finds frontal faces. OpenCV 4 carries the trained cascade, OpenCV 5 dropped it, hence the version
in the extra ``face``.
"""

import threading
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from ddlib.images.jpeg import check_image

INSTALL = "pip install '.[face]' in the checkout"
MIN_SHARE = 0.2  # of the shorter side: smaller faces are not searched for, nor falsely found


def find_face(image: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the box (x0, y0, x1, y1) of the largest frontal face, or None if none is found.

    The image is (H, W, 3) uint8; the box is in pixels, x1 and y1 are excluded. Raises ImportError
    where OpenCV 4 is not installed.
    """
    check_image(image)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    side = max(1, round(MIN_SHARE * min(grey.shape)))
    boxes = load_cascade().detectMultiScale(
        grey, scaleFactor=1.1, minNeighbors=5, minSize=(side, side)
    )
    if not len(boxes):
        return None
    x, y, width, height = (int(value) for value in max(boxes, key=lambda box: box[2] * box[3]))
    return x, y, x + width, y + height


def load_cascade():
    """Return OpenCV's detector of frontal faces; raise ImportError where it is missing.

    Each thread has its own: one that two threads use at once finds other faces.
    """
    return _cascade_of(threading.get_ident())


@cache
def _cascade_of(thread: int):
    try:
        import cv2

        # read here: on Windows OpenCV opens no path with other letters than those of English
        text = Path(cv2.data.haarcascades, "haarcascade_frontalface_default.xml").read_text()
        kept = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        cascade = cv2.CascadeClassifier()
        cascade.read(kept.getFirstTopLevelNode())
        return cascade
    except (ImportError, AttributeError) as error:
        raise ImportError(f"finding faces needs OpenCV 4: {INSTALL}") from error
