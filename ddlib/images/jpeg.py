"""JPEG in memory: encode, decode, save once more, tell the quality of a file.

OpenCV's codec does the work where it is installed (``pip install "ddlib[face]"``), Pillow's
elsewhere. Both are libjpeg-turbo with the same settings, so bytes and pixels are the same; OpenCV
only copies less. A test holds them to that.
"""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


_END = b"\xff\xd9"  # the marker that closes a JPEG file


# The standard luminance table of the JPEG standard (ITU-T T.81, table K.1), row by row.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
).ravel()


def encode_jpeg(image: np.ndarray, quality: int, subsampling: str = "4:2:0") -> bytes:
    """Encode (H, W, 3) uint8 as JPEG of `quality` 1 to 100; `subsampling` 4:4:4, 4:2:2 or 4:2:0."""
    check_image(image)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality={quality!r} is out of range; allowed is 1 to 100")
    if subsampling not in SUBSAMPLINGS:
        raise ValueError(
            f"subsampling={subsampling!r} is not known; choose from {', '.join(SUBSAMPLINGS)}"
        )
    cv2 = _opencv()
    if cv2:
        factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{subsampling.replace(':', '')}")
        options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
        return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality), subsampling=subsampling)
    return buffer.getvalue()


def decode_colour(data: bytes) -> np.ndarray | None:
    """Decode a plain colour JPEG (no EXIF, three components) to (H, W, 3) uint8 RGB.

    Returns None where OpenCV is missing or the file does not close with its end marker: OpenCV
    fills up files cut short without a word, so these are for Pillow, which raises.
    """
    cv2 = _opencv()
    if cv2 is None or not data.endswith(_END):
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def recompress(image: np.ndarray, quality: int) -> np.ndarray:
    """Return what is left of `image` after saving it as JPEG of `quality` and reading it again."""
    data = encode_jpeg(image, quality)
    decoded = decode_colour(data)
    if decoded is not None:
        return decoded
    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture)


def jpeg_quality(luminance_table) -> float:
    """Estimate the JPEG quality from a luminance quantisation table of 64 steps, row by row.

    Exact for the tables of the Independent JPEG Group's library (Pillow, most software); for other
    tables it is the quality whose standard table has the nearest steps (mean absolute difference).
    """
    steps = np.asarray(luminance_table, dtype=float).ravel()
    distance = np.abs(_standard_tables() - steps).mean(axis=1)
    return float(100 - np.argmin(distance[::-1]))  # of equals the higher quality


def check_image(image: np.ndarray) -> None:
    """Raise ValueError unless an array is (H, W, 3) uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is (H, W, 3) uint8; got {image.shape} {image.dtype}")


@cache
def _standard_tables() -> np.ndarray:
    """Return the IJG library's luminance tables of qualities 1 to 100, shape (100, 64)."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((_LUMINANCE * scale[:, None] + 50) // 100, 1, 255)


@cache
def _opencv():
    """Return OpenCV where it is installed and can decode to RGB (4.11 and newer), else None."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2 if hasattr(cv2, "IMREAD_COLOR_RGB") else None
