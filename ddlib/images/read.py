"""Read any image file safely to (H, W, 3) uint8 RGB; resize and crop it.

The content of a file decides how it is read, not its name: a HEIC photograph under a ``.jpg`` name
opens. A file that cannot be read completely raises `ImageError`; nothing is repaired silently. The
same bytes give the same pixels, whatever was read before.
"""

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ddlib._utils import check_choice
from ddlib.images.integrity import load_jpeg, pixel_chunks
from ddlib.images.jpeg import check_image, jpeg_quality

MIN_SIDE = 16  # pixels; a smaller image is readable, but holds no face and is excluded
MAX_SIDE = 20_000  # pixels; longer sides come from panoramas, scans and damaged headers
MAX_PIXELS = 80_000_000  # 240 MB as RGB, just below the limit of Pillow's decompression bomb check
MAX_BYTES = 500_000_000  # of a file: so many pixels of 16 bits without compression
LARGE = 16_000_000  # pixels; while it is decoded and turned, an image takes 20 bytes for each
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
    + (".heic", ".heif", ".avif")
)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # and HEIF, AVIF; none runs a program
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106  # tags of EXIF and TIFF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_one_large = threading.Lock()  # images above LARGE are decoded one at a time by all threads
# One block of memory an image: what is freed goes back to the system. Of Pillow's own blocks, 16 MB
# each, every thread would keep those of the largest image that it has read.
Image.core.set_block_size(1 << 29)


class ImageError(ValueError):
    """A file that cannot be read as an image; the message names it and says what to do."""


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read an image file completely, whatever its format and colour mode.

    EXIF rotation is applied, transparency is laid over white, 16-bit values are scaled to 8 bits,
    and an animation gives its first frame. Colour profiles and XMP are not applied. Of images
    above `LARGE` one is decoded at a time, however many threads read.

    Returns
    -------
    (H, W, 3) uint8 RGB

    Raises
    ------
    ImageError
        If the file is missing, no regular file, empty, damaged, cut short, of another format, or
        beyond `MAX_BYTES`, `MAX_SIDE`, `MAX_PIXELS` or, for a JPEG, `integrity.MAX_SCANS`.
    """
    return decode_image(read_bytes(path), path)


def decode_image(data: bytes, name: str | os.PathLike = "image") -> np.ndarray:
    """Read an image from a file's bytes as `read_image` does; errors call it `name`."""
    return np.array(decode_with_facts(data, name)[0])


def decode_with_facts(data: bytes, name="image") -> tuple[Image.Image, dict]:
    """Read an image from a file's bytes as a PIL image of mode RGB, with facts about the file.

    These are ``width`` and ``height`` in pixels after EXIF rotation, ``format`` as Pillow names the
    content, ``bytes``, and ``jpeg_quality`` 1 to 100 (NaN unless JPEG).
    """
    name = os.fspath(name)
    with _open(data, name) as picture:
        width, height = picture.size
        try:
            with _one_large if width * height > LARGE else nullcontext():
                if picture.format in ("JPEG", "MPO"):
                    load_jpeg(picture, data)
                picture.load()
                image = _to_rgb(picture, name)  # its pixels outlive the open file
        except ImageError:
            raise
        except Exception as error:  # decoders raise errors of many kinds
            raise ImageError(
                f"{name}: the file is damaged or cut short ({error}); fetch it again or remove it"
            ) from error
        tables = getattr(picture, "quantization", None)
        quality = jpeg_quality(tables[0]) if tables and 0 in tables else float("nan")
        facts = {"width": image.width, "height": image.height, "format": picture.format}
        return image, facts | {"bytes": len(data), "jpeg_quality": quality}


def resize(image: np.ndarray, size: int, method: str = "antialias") -> np.ndarray:
    """Resize to a square of `size` pixels; an image that is not square is squeezed.

    Parameters
    ----------
    image : (H, W, 3) uint8
    size : int
        Side of the result in pixels.
    method : {"antialias", "nearest"}
        ``antialias`` is Pillow's triangle filter, as ``tf.image.resize(antialias=True)``. Lanczos
        is sharper but rings at edges, a trace that detectors and ELA react to. ``nearest`` takes
        single pixels as Keras's loader did by default: it aliases, and is kept to repeat the study.

    Returns
    -------
    (size, size, 3) uint8
    """
    check_choice("method", method, ("antialias", "nearest"))
    if not 1 <= size <= MAX_SIDE:
        raise ValueError(f"size={size!r} is out of range; allowed is 1 to {MAX_SIDE} pixels")
    check_image(image)
    if image.shape[:2] == (size, size):
        return image
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
    """Return a file's bytes; raise ImageError if it is no regular file, empty or too large."""
    name = os.fspath(path)
    try:
        status = Path(path).stat()
        regular = stat.S_ISREG(status.st_mode)  # reading a pipe or a device might never end
        data = b""
        if regular and status.st_size <= MAX_BYTES:
            with Path(path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)  # it may have grown
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file; check the path") from error
    except (OSError, ValueError) as error:  # no permission, a failing disk, NUL in a name
        reason = getattr(error, "strerror", error)
        raise ImageError(f"{name}: cannot be read ({reason}); check the path") from error
    if not regular:
        raise ImageError(f"{name}: not a regular file but a folder, pipe or device; give a file")
    if max(status.st_size, len(data)) > MAX_BYTES:
        raise ImageError(
            f"{name}: {status.st_size} bytes are too many; up to {MAX_BYTES} are read; make it "
            "smaller or remove it"
        )
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes); fetch it again or remove it")
    return data


def _open(data: bytes, name: str) -> Image.Image:
    """Open one of `FORMATS` by its content; nothing that an earlier file registered has a say."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other libraries set it for the whole process
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            data = pixel_chunks(data)
        picture = Image.open(io.BytesIO(data), formats=_formats(data))
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


def _formats(data: bytes) -> tuple[str, ...]:
    """Return the formats to try; HEIF and AVIF share a container, whose brands tell them apart."""
    if data[4:8] != b"ftyp":
        return FORMATS
    brands = {
        data[i : i + 4] for i in (8, *range(16, min(int.from_bytes(data[:4], "big"), 256), 4))
    }
    if brands & _AVIF_BRANDS:
        return ("AVIF",)
    if not brands & _HEIF_BRANDS:
        return FORMATS
    import pillow_heif  # loaded only when a HEIC file turns up

    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says; an orientation that cannot be read counts for none."""
    # Pillow turns a TIFF itself, and would decode a PNG without EXIF to look for it.
    if picture.format == "TIFF" or (picture.format == "PNG" and "exif" not in picture.info):
        return picture
    picture.info.pop("xmp", None)  # where Pillow would look as well; few programs do
    try:
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION))
    except Exception:  # Pillow raises errors of many kinds for EXIF that is damaged
        return picture
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image, name: str) -> Image.Image:
    picture = _upright(picture)
    if picture.mode in ("F", "I"):
        kind = "floating-point" if picture.mode == "F" else "32-bit"
        raise ImageError(f"{name}: {kind} pixels have no known range; save it with 8 bits")
    transparent = picture.info.get("transparency")
    if picture.mode.startswith("I;16"):
        grey = np.asarray(picture)
        if getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # white is 0; Pillow forgets it
            grey = 65535 - grey
        if transparent is not None:
            grey = np.where(grey == transparent, 65535, grey)
        # Pillow's own conversion would clip values above 255.
        scaled = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if isinstance(transparent, tuple) and max(transparent) > 255:
        raise ImageError(
            f"{name}: a transparent colour of 16 bits is not read; save it with 8 bits"
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def list_images(root) -> list[str]:
    """Return the sorted paths, relative to `root`, of files below it with an image's suffix.

    Paths have forward slashes. Hidden files and folders are skipped. Links to folders are followed,
    but not to one that they lie in. A folder that cannot be read is listed itself, with a slash at
    its end, so that reading it fails and names it.
    """
    root = os.fspath(root)
    return sorted(_images_below(root, "", {os.path.realpath(root)}))


def _images_below(folder: str, front: str, way: set[str]) -> Iterator[str]:
    """Yield what `list_images` lists of a folder; `way` holds the real folders that it lies in."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = front + entry.name
            if entry.name.startswith(".") or _is_system(entry):
                continue
            linked = entry.is_symlink()  # a folder that may not be entered is one all the same
            if not (os.path.isdir(entry.path) if linked else entry.is_dir()):  # noqa: PTH112
                if os.path.splitext(path)[1].lower() in SUFFIXES:  # noqa: PTH122
                    yield path
            elif (real := os.path.realpath(entry.path)) not in way:
                try:
                    yield from _images_below(entry.path, f"{path}/", way | {real})
                except OSError:
                    yield f"{path}/"


def _is_system(entry: os.DirEntry) -> bool:
    """Return whether Windows keeps a file or folder for itself, such as what was thrown away."""
    if os.name != "nt":
        return False
    wanted = stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM
    return entry.stat(follow_symlinks=False).st_file_attributes & wanted == wanted


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
        yield np.array(_to_rgb(source.copy(), "PIL image"))
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
