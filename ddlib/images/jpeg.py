"""JPEG in memory: encode, save once more, estimate the quality of a file."""

import io
from functools import cache

import numpy as np
from PIL import Image


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Encode (H, W, 3) uint8 as JPEG of `quality` 1 to 100 with 4:2:0 subsampling."""
    check_image(image)
    if not isinstance(quality, (int, np.integer)) or not 1 <= quality <= 100:
        raise ValueError(
            f"quality={quality!r} is out of range; allowed is a whole number, 1 to 100"
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    return buffer.getvalue()


def recompress(image: np.ndarray, quality: int) -> np.ndarray:
    """Return what is left of an image after saving it as JPEG of `quality` and reading it again.

    Examples
    --------
    >>> int(recompress(np.full((8, 8, 3), 128, np.uint8), 75).max())
    128
    """
    with Image.open(io.BytesIO(encode_jpeg(image, quality))) as picture:
        return np.array(picture)


def jpeg_quality(luminance_table) -> float:
    """Estimate the JPEG quality from a luminance quantisation table of 64 steps, row by row.

    Exact for the tables of the Independent JPEG Group's library (Pillow, most software); for other
    tables it is the quality whose standard table has the nearest steps (mean absolute difference).
    """
    distance = np.abs(_standard_tables() - np.ravel(luminance_table)).mean(axis=1)
    return float(100 - np.argmin(distance[::-1]))  # of equals the higher quality


def check_image(image: np.ndarray) -> None:
    """Raise ValueError unless an array is (H, W, 3) uint8 with at least one pixel."""
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(
            f"an image is (H, W, 3) uint8; got {shape} {dtype}; `read_image` makes one of a file, "
            'picture.convert("RGB") of a PIL image'
        )


@cache
def _standard_tables() -> np.ndarray:
    """Return the luminance tables that Pillow writes for qualities 1 to 100, shape (100, 64)."""
    grey = np.full((8, 8, 3), 128, np.uint8)
    files = (io.BytesIO(encode_jpeg(grey, quality)) for quality in range(1, 101))
    return np.array([Image.open(file).quantization[0] for file in files])
