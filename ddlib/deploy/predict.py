"""What a detector says about an image: score, verdict, warnings, and where the evidence lies.

An image unlike those that the detector was measured on gets a score all the same; the warnings say
where that score is worth less. A score is evidence, not proof.
"""

import glob
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import isnan, nan
from pathlib import Path

import numpy as np
from PIL import Image

from ddlib._utils import atomic_write, ordered_parallel_map
from ddlib.data.loader import prepare
from ddlib.deploy.detector import Detector
from ddlib.deploy.scorer import DetectorError, Scorer
from ddlib.images.faces import find_face
from ddlib.images.overlay import overlay
from ddlib.images.read import (
    ImageError,
    center_crop,
    decode_with_facts,
    list_images,
    read_bytes,
    resize,
)
from ddlib.metrics.calibration import verdicts
from ddlib.traces.image_warnings import LONG, image_warnings, is_long

FACE_MARGIN = 1.8  # side of the square, in sides of the face's box: about what portrait sets show
_SEARCH = 640  # pixels: faces are looked for in an image made no larger than this


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where the evidence for a class lies in a prepared image."""

    target: str  # "fake" or "real"
    heat: np.ndarray  # (S, S) float32 in [0, 1]
    overlay: np.ndarray  # (S, S, 3) uint8, the map over the image

    def save(self, path) -> Path:
        """Write the overlay as an image file; the suffix of its name says which kind."""
        image = io.BytesIO()  # into a file on a full disk, Pillow writes a part without an error
        image.name = os.fspath(path)  # Pillow chooses the format by it
        Image.fromarray(self.overlay).save(image)
        with atomic_write(Path(path)) as unfinished:
            unfinished.write_bytes(image.getvalue())
        return Path(path)

    def _repr_png_(self):
        return Image.fromarray(self.overlay)._repr_png_()


@dataclass(frozen=True)
class Prediction:
    """What a detector says about one image; without a score if it could not be read."""

    file: str | None = None  # None for an image that was given as an array
    score: float | None = None  # calibrated P(fake)
    verdict: str | None = None  # "real", "unsure" or "fake"
    region: str | None = None  # what was scored: "picture", "centre" (its middle square) or "face"
    width: int | None = None
    height: int | None = None
    format: str | None = None
    jpeg_quality: float | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    # what `explain` needs: the path or array, whether a face was asked for, the detector
    origin: tuple = field(default=(), repr=False, compare=False)

    def to_dict(self) -> dict:
        """Return the prediction as plain values that JSON can hold."""
        return {name: value for name, value in vars(self).items() if name != "origin"}

    def explain(self, target: str | None = None) -> Explanation:
        """Return a Grad-CAM heat map of the evidence for "fake" or "real"; the first takes seconds.

        By default for the side of the threshold that the score lies on. A ValueError without a
        score or a .keras file of the detector.
        """
        if self.score is None:
            raise ValueError(f"{self.file} cannot be explained: {self.error}")
        source, face, detector = self.origin
        protocol = detector.protocol
        if target is None:
            target = "fake" if self.score >= detector.threshold else "real"
        image = prepare(_cut_out(_read(source)[0], protocol.square, face)[1], protocol)
        heat = detector.grad_cam(image, target, size=protocol.image_size).heat[0]
        return Explanation(target, heat, overlay(image, heat))


def predict_files(
    files: Iterable, detector: Detector, scorer: Scorer, face: bool = False
) -> Iterator[Prediction]:
    """Yield a prediction for each file or array in order; few are in memory at once."""
    work = partial(_predict, detector=detector, scorer=scorer, face=face)
    return ordered_parallel_map(work, files, scorer.workers)


def _read(source) -> tuple[np.ndarray, dict]:
    """Return an image and its facts, as `decode_with_facts` gives them, of a file or an array."""
    if isinstance(source, np.ndarray):
        height, width = source.shape[:2]
        return source, {"width": width, "height": height, "format": None, "jpeg_quality": nan}
    image, facts = decode_with_facts(read_bytes(source), source)
    return np.array(image), facts


def _predict(source, detector: Detector, scorer: Scorer, face: bool) -> Prediction:
    """Return the prediction for one file or array; of a file that cannot be read, its error."""
    name = None if isinstance(source, np.ndarray) else os.fspath(source)
    try:
        image, facts = _read(source)
    except ImageError as error:
        return Prediction(name, error=str(error).removeprefix(f"{name}: "))
    quality, protocol = facts["jpeg_quality"], detector.protocol
    region, scored = _cut_out(image, protocol.square, face)
    resized = resize(scored, protocol.image_size, protocol.resize)
    warnings = list(image_warnings(scored, resized, quality))
    if face and region != "face":
        warnings.append("no face found: the picture was scored as it is")
    if region == "centre" and is_long(image):
        warnings.append(LONG)
    found = Prediction(
        file=name,
        region=region,
        width=facts["width"],
        height=facts["height"],
        format=facts["format"],
        jpeg_quality=None if isnan(quality) else quality,
        warnings=warnings,
        origin=(source, face, detector),
    )
    prepared = prepare(resized, protocol)  # the rest of it: cut and size are right already
    try:
        score = float(detector.scores(scorer.logit(prepared)))
    except DetectorError as error:  # of this image the model makes NaN or infinity
        return replace(found, error=str(error))
    return replace(found, score=score, verdict=str(verdicts(score, detector.reject_band)))


def _cut_out(image: np.ndarray, square: str, face: bool) -> tuple[str, np.ndarray]:
    """Return what is scored of an image, in one word and as pixels, before it is prepared."""
    box = find_face_square(image) if face else None
    if box:
        left, top, right, bottom = box
        return "face", image[top:bottom, left:right]
    if square == "crop" and image.shape[0] != image.shape[1]:
        return "centre", center_crop(image)
    return "picture", image


def find_face_square(image: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the square around the largest face (left, top, right, bottom) in pixels, or None.

    It is moved or made smaller where it would leave the image.
    """
    height, width = image.shape[:2]
    small = Image.fromarray(image)
    small.thumbnail((_SEARCH, _SEARCH), reducing_gap=None)
    box = find_face(np.asarray(small))
    if box is None:
        return None
    x0, y0, x1, y1 = (width / small.width * value for value in box)
    side = round(min(FACE_MARGIN * max(x1 - x0, y1 - y0), height, width))
    left = round(min(max((x0 + x1 - side) / 2, 0), width - side))
    top = round(min(max((y0 + y1 - side) / 2, 0), height - side))
    return left, top, left + side, top + side


def find_files(paths: Iterable[str], listed: Iterable[str] = ()) -> Iterator[Path]:
    """Yield the files that paths mean, in order.

    A path is a file; a folder (everything below it that is named like an image); a pattern with
    ``*``, ``?`` or ``[``; or ``-`` for the paths in `listed`. What does not exist is yielded too:
    reading it gives the error.
    """
    for given in paths:
        if given == "-":
            yield from find_files(path for path in listed if path != "-")
            continue
        matches = [given]
        if not os.path.lexists(given) and glob.has_magic(given):
            matches = sorted(glob.glob(given, recursive=True)) or [given]  # noqa: PTH207
        for match in map(Path, matches):
            # Path.is_dir would raise for a name too long and below a folder that is closed to us
            is_folder = os.path.isdir(match)  # noqa: PTH112
            yield from (match / name for name in list_images(match)) if is_folder else [match]
