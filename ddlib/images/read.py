"""Read any image file safely to (H, W, 3) uint8 RGB; resize and crop it.

The content of a file decides how it is read, not its name: a HEIC photograph under a ``.jpg`` name
opens. A file that cannot be read completely raises `ImageError`; nothing is repaired silently.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ddlib.images.jpeg import check_image, jpeg_quality

MIN_SIDE = 16  # pixels; a smaller image is readable, but holds no face and is excluded
MAX_SIDE = 20_000  # pixels; longer sides come from panoramas, scans and damaged headers
MAX_PIXELS = 80_000_000  # 240 MB as RGB, just below the limit of Pillow's decompression bomb check
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
    + (".heic", ".heif", ".avif")
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


class ImageError(ValueError):
    """A file that cannot be read as an image; the message names it and says what to do."""


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read an image file completely, whatever its format and colour mode.

    EXIF rotation is applied, transparency is laid over white, 16-bit values are scaled to 8 bits,
    and an animation gives its first frame. Colour profiles are not applied.

    Returns
    -------
    (H, W, 3) uint8 RGB

    Raises
    ------
    ImageError
        If the file is missing, empty, truncated, not an image, or larger than `MAX_SIDE` on a side
        or `MAX_PIXELS` in all.
    """
    return decode_image(read_bytes(path), path)


def decode_image(data: bytes, name: str | os.PathLike = "image") -> np.ndarray:
    """Read an image from a file's bytes as `read_image` does; errors call it `name`."""
    with _open(data, name) as picture:
        try:
            picture.load()
            return _to_rgb(ImageOps.exif_transpose(picture), name)
        except ImageError:
            raise
        except Exception as error:  # decoders raise errors of many kinds
            raise ImageError(
                f"{os.fspath(name)}: the file is damaged or cut short ({error}); "
                "fetch it again or remove it"
            ) from error


def probe_bytes(data: bytes, name: str | os.PathLike = "image") -> dict:
    """Read the header in a file's bytes.

    Returns
    -------
    dict
        ``width`` and ``height`` in pixels after EXIF rotation, ``format`` as Pillow names the
        content, ``bytes``, and ``jpeg_quality`` 1 to 100 (NaN unless JPEG).

    Raises
    ------
    ImageError
        If the header cannot be read. A file cut short after its header is found by `decode_image`.
    """
    with _open(data, name) as picture:
        width, height = picture.size
        orientation = 1
        # Pillow turns the size of a TIFF itself; a PNG without EXIF would be decoded to look for it
        if picture.format != "TIFF" and (picture.format != "PNG" or "exif" in picture.info):
            orientation = picture.getexif().get(0x0112, 1)
        if 5 <= orientation <= 8:  # those that swap the sides
            width, height = height, width
        tables = getattr(picture, "quantization", None)
        quality = jpeg_quality(tables[0]) if tables and 0 in tables else float("nan")
        return {
            "width": width,
            "height": height,
            "format": picture.format,
            "bytes": len(data),
            "jpeg_quality": quality,
        }


def resize(image: np.ndarray, size: int, method: str = "antialias") -> np.ndarray:
    """Resize to a square of `size` pixels; an image that is not square is squeezed.

    Parameters
    ----------
    image : (H, W, 3) uint8
    size : int
        Side of the result in pixels.
    method : {"antialias", "nearest", "none"}
        ``antialias`` is Pillow's triangle filter, as ``tf.image.resize(antialias=True)``. Lanczos
        is sharper but rings at edges, a trace that detectors and ELA react to. ``nearest`` takes
        single pixels as Keras's loader did by default: it aliases, and is kept to repeat the study.
        ``none`` cuts out the middle, and enlarges a smaller image as ``antialias`` does.

    Returns
    -------
    (size, size, 3) uint8
    """
    if method not in ("antialias", "nearest", "none"):
        raise ValueError(f"method={method!r} is not known; choose from antialias, nearest, none")
    check_image(image)
    if image.shape[:2] == (size, size):
        return image
    if method == "none" and min(image.shape[:2]) >= size:
        top, left = ((side - size) // 2 for side in image.shape[:2])
        return image[top : top + size, left : left + size]
    if method == "nearest":  # the pixel at the centre of each new one
        rows, columns = (
            ((np.arange(size) + 0.5) * side / size).astype(int) for side in image.shape[:2]
        )
        return image.take(rows, 0).take(columns, 1)
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def center_crop(image: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Return the middle `share` (above 0, up to 1) of the largest centred square."""
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r} is out of range; allowed is above 0 and up to 1")
    check_image(image)
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) * share))
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def read_bytes(path) -> bytes:
    """Return a file's bytes; raise ImageError if it cannot be read or is empty."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{os.fspath(path)}: there is no such file; check the path") from error
    except OSError as error:  # a folder, no permission, a failing disk
        raise ImageError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from error
    if not data:
        raise ImageError(
            f"{os.fspath(path)}: the file is empty (0 bytes); fetch it again or remove it"
        )
    return data


def _open(data: bytes, name) -> Image.Image:
    name = os.fspath(name)
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        import pillow_heif  # loaded only when a HEIC file turns up

        pillow_heif.register_heif_opener()
    try:
        picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: the content is not a known image format (it begins with {data[:16]!r}); "
            "remove it, or convert it to JPEG or PNG"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: too large ({error}); make it smaller or remove it") from error
    except Exception as error:  # a damaged header makes plugins fail in their own ways
        raise ImageError(
            f"{name}: the header is damaged ({error}); fetch it again or remove it"
        ) from error
    width, height = picture.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} pixels is too large; up to {MAX_SIDE} on a side and "
            f"{MAX_PIXELS} in all are read; make it smaller or remove it"
        )
    return picture


def _to_rgb(picture: Image.Image, name) -> np.ndarray:
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _from_16_bits(np.asarray(picture), name)
    if picture.mode == "F":
        raise ImageError(
            f"{os.fspath(name)}: floating-point pixels have no known range; save it with 8 bits"
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


def _from_16_bits(grey: np.ndarray, name) -> np.ndarray:
    """Scale 0..65535 to 0..255; Pillow's conversion would clip values above 255."""
    if grey.min() < 0 or grey.max() > 65535:
        raise ImageError(f"{os.fspath(name)}: pixels exceed 16 bits; save it with 8 bits")
    scaled = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=2)


def list_images(root) -> list[str]:
    """Return the sorted paths, relative to `root`, of files below it with an image's suffix.

    Paths have forward slashes. Hidden files and folders are skipped.
    """
    root, found = os.fspath(root), []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name[0] != "."]
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        front = "" if below == "." else f"{below}/"
        found += [
            front + name
            for name in names
            if name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122
        ]
    return sorted(found)


def read_images(source) -> list[np.ndarray]:
    """Read the images of a source, as `list_sources` takes it, to (H, W, 3) uint8."""
    return [read_image(x) if isinstance(x, Path) else x for x in list_sources(source)]


def list_sources(source) -> list[Path | np.ndarray]:
    """Return a path or an array (H, W, 3) uint8 for each image of a source; no file is read.

    Parameters
    ----------
    source : path, PIL image, array (H, W, 3) or (N, H, W, 3) uint8, or a list of these
        In a folder all images are taken (`list_images`). ValueError if it is none of these or holds
        no image.
    """
    found = list(_each_source(source))
    if not found:
        raise ValueError("there is no image: the array, list or folder is empty")
    return found


def _each_source(source) -> Iterator[Path | np.ndarray]:
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        yield from [path / name for name in list_images(path)] if path.is_dir() else [path]
    elif isinstance(source, Image.Image):
        yield _to_rgb(ImageOps.exif_transpose(source), "PIL image")
    elif isinstance(source, (list, tuple)):
        for each in source:
            yield from _each_source(each)
    elif len(getattr(source, "shape", ())) in (3, 4):
        images = np.asarray(source)
        for image in images if images.ndim == 4 else [images]:
            check_image(image)
            yield image
    else:
        raise ValueError(
            f"{getattr(source, 'shape', type(source).__name__)} is not an image; give a path, a "
            "folder, a PIL image, an array (H, W, 3) or (N, H, W, 3) uint8, or a list of these"
        )
