"""What a detector says of one file: score, verdict, and the warnings that one should know of.

A picture unlike those that the detector was measured on gets a score all the same; the warnings say
where that score is worth less.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from math import isnan
from pathlib import Path

import numpy as np

from ddlib._io import ordered_parallel_map
from ddlib.data.loader import prepare
from ddlib.deploy.detector import Detector
from ddlib.deploy.scorer import Scorer
from ddlib.images.read import (
    MIN_SIDE,
    ImageError,
    center_crop,
    list_images,
    probe,
    read_image,
    resize,
)
from ddlib.metrics.calibration import verdicts

MIN_JPEG_QUALITY = 60  # JPEG quality from which down the traces of generators begin to drown


# A smooth picture has 0.5 (see `fine_detail`), any enlarged twofold up to 0.51; of thirteen sets of
# photographs and fakes prepared at 256 pixels, 98 % of each lie above 0.52.
MIN_FINE_DETAIL = 0.515


MAX_ASPECT = 2.0  # a picture so many times as long as wide loses most of itself to the square


FACE_MARGIN = 1.8  # side of the square that is cut out, in sides of the face's box


_SEARCH = 640  # pixels: faces are looked for in a picture made no larger than this


@dataclass(frozen=True)
class Prediction:
    """One file's row; score and verdict are None where the file could not be read."""

    file: str
    score: float | None = None  # calibrated P(fake)
    verdict: str | None = None  # "real", "unsure" or "fake"
    region: str | None = None  # what was scored: "picture", "centre" (its middle square) or "face"
    width: int | None = None
    height: int | None = None
    format: str | None = None
    jpeg_quality: float | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    prepared: np.ndarray | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict:
        """Return the row as plain values that JSON can hold; the pixels are left out."""
        row = asdict(self)
        del row["prepared"]
        return row


def predict_files(
    files: Iterable, detector: Detector, scorer: Scorer | None = None, face: bool = False
) -> Iterator[Prediction]:
    """Yield a row for each file in order; however many there are, few are in memory at once.

    Parameters
    ----------
    files : iterable of path
    detector : Detector
    scorer : Scorer, optional
        Of this detector, if it was made already.
    face : bool
        Cut out the largest face first (needs OpenCV, see `ddlib.images.faces`).
    """
    scorer = scorer or detector.scorer()
    work = partial(predict_file, detector=detector, scorer=scorer, face=face)
    return ordered_parallel_map(work, files, scorer.workers)


def predict_file(path, detector: Detector, scorer: Scorer, face: bool = False) -> Prediction:
    """Return the row of one file; a file that cannot be read has its error in it."""
    name = os.fspath(path)
    try:
        facts = probe(path)
        image = read_image(path)
    except ImageError as error:
        return Prediction(name, error=str(error).removeprefix(f"{name}: "))
    warnings = file_warnings(facts)
    region, scored = cut_out(image, detector, face)
    if face and region != "face":
        warnings.append("no face found: the picture was scored as it is")
    if region == "centre" and max(facts["width"], facts["height"]) >= MAX_ASPECT * scored.shape[0]:
        warnings.append("long picture: only its middle square was scored")
    protocol = detector.protocol
    warnings += size_warnings(scored, protocol.image_size)
    resized = resize(scored, protocol.image_size, protocol.resize)
    if min(scored.shape[:2]) >= protocol.image_size and fine_detail(resized) < MIN_FINE_DETAIL:
        warnings.append("no fine detail: enlarged or blurred before")
    prepared = prepare(resized, protocol)  # the rest of it: cut and size are right already
    score = float(detector.scores(scorer.logit(prepared)))
    quality = facts["jpeg_quality"]
    facts["jpeg_quality"] = None if isnan(quality) else quality
    del facts["bytes"]
    verdict = str(verdicts(score, detector.unsure))
    return Prediction(name, score, verdict, region, **facts, warnings=warnings, prepared=prepared)


def cut_out(image: np.ndarray, detector: Detector, face: bool) -> tuple[str, np.ndarray]:
    """Return what is scored of a picture, in one word and as pixels, before it is prepared."""
    box = find_face_square(image) if face else None
    if box:
        left, top, right, bottom = box
        return "face", image[top:bottom, left:right]
    if detector.protocol.square == "crop" and image.shape[0] != image.shape[1]:
        return "centre", center_crop(image)
    return "picture", image


def find_face_square(image: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the square around the largest face (left, top, right, bottom) in pixels, or None.

    The square is `FACE_MARGIN` times as wide as the face's box, about what portrait sets show, and
    moved or made smaller where it would leave the picture.
    """
    from PIL import Image

    from ddlib.images.faces import find_face

    height, width = image.shape[:2]
    shrink = max(1.0, max(height, width) / _SEARCH)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    box = find_face(np.asarray(Image.fromarray(image).resize(size)))
    if box is None:
        return None
    x0, y0, x1, y1 = (shrink * value for value in box)
    side = round(min(FACE_MARGIN * max(x1 - x0, y1 - y0), height, width))
    left = round(min(max((x0 + x1 - side) / 2, 0), width - side))
    top = round(min(max((y0 + y1 - side) / 2, 0), height - side))
    return left, top, left + side, top + side


def file_warnings(facts: dict) -> list[str]:
    """Return what the file's header warns of; `facts` as `ddlib.images.read.probe` gives them."""
    quality = facts["jpeg_quality"]
    if quality <= MIN_JPEG_QUALITY:  # never true of NaN
        return [f"heavily compressed: JPEG quality about {quality:.0f}"]
    return []


def size_warnings(scored: np.ndarray, image_size: int) -> list[str]:
    """Return what the size of the scored part warns of."""
    side = min(scored.shape[:2])
    if side < MIN_SIDE:
        return [f"tiny: {side} pixels hold no face"]
    if 2 * side <= image_size:
        return [f"tiny: {side} pixels were enlarged to {image_size}"]
    if side < image_size:
        return [f"small: {side} pixels were enlarged to {image_size}"]
    return []


def fine_detail(image: np.ndarray) -> float:
    """Return how much finer a picture's detail is than that of a smooth one.

    The mean distance of pixels from the mean of their 2 x 2 block, divided by the same of these
    means: 0.5 where brightness only slopes, 2 for independent noise, 0 for a flat picture.

    Parameters
    ----------
    image : (S, S, 3) uint8, S of at least 4
    """
    side = len(image) // 4 * 4
    grey = image[:side, :side].mean(2)
    half = _block_means(grey)
    coarse = np.abs(half - np.kron(_block_means(half), np.ones((2, 2)))).mean()
    fine = np.abs(grey - np.kron(half, np.ones((2, 2)))).mean()
    return float(fine / coarse) if coarse else 0.0


def _block_means(grey: np.ndarray) -> np.ndarray:
    half = len(grey) // 2
    return grey.reshape(half, 2, half, 2).mean((1, 3))


def find_files(paths: Iterable[str], listed: Iterable[str] = ()) -> Iterator[Path]:
    """Yield the files that paths mean, in order, each as often as it is meant.

    Parameters
    ----------
    paths : iterable of str
        Files; folders (everything below them that is named like an image, hidden files passed
        over); patterns with ``*``, ``?`` or ``[``, as shells that do not expand them leave them;
        ``-`` for the lines of `listed`. What does not exist is yielded too: reading it gives the
        error.
    listed : iterable of str
        One path a line.
    """
    for given in paths:
        if given == "-":
            lines = (line.rstrip("\r\n") for line in listed)
            yield from find_files(line for line in lines if line not in ("", "-"))
            continue
        matches = [given]
        if not os.path.lexists(given) and glob.has_magic(given):
            matches = sorted(glob.glob(given, recursive=True)) or [given]  # noqa: PTH207
        for match in matches:
            if Path(match).is_dir():
                yield from (Path(match) / name for name in list_images(match))
            else:
                yield Path(match)
