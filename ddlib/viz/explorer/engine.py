"""What the explorer shows, computed without widgets: a picture and settings in, one PNG out.

Each step is kept: reading the file, changing the picture, the model's forward and backward pass
(which gives every layer at once), and last the colouring. A step runs again only if something
before it changed, so opacity, colour map and layer never touch the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ddlib.data.loader import prepare
from ddlib.ela import ela_map
from ddlib.gradcam import GradCAM, HeatMaps
from ddlib.images import read
from ddlib.images.jpeg import recompress
from ddlib.images.read import MIN_SIDE, center_crop, decode_image, read_image
from ddlib.metrics.calibration import verdicts
from ddlib.models.checkpoint import load_detector
from ddlib.protocol import Protocol
from ddlib.viz.explorer.panels import draw, png
from ddlib.viz.explorer.rows import draw_answer
from ddlib.viz.explorer.terms import Answer, Picture, Settings, View

BAND = (0.35, 0.65)  # scores between these are called unsure


@dataclass(frozen=True, eq=False)
class Loaded:
    """A detector that is ready to answer."""

    protocol: Protocol
    cam: GradCAM


class Engine:
    """Answers requests and keeps what it computed for the next one; use it from one thread.

    Parameters
    ----------
    band : (float, float)
        Scores below the first are called real, from the second upward fake, between them unsure.
    """

    def __init__(self, band: tuple[float, float] = BAND):
        self.band = band
        self._read = lru_cache(8)(_read)
        self._load = lru_cache(4)(_load)
        self._explain = lru_cache(32)(self._explain_anew)
        self._changed = lru_cache(16)(self._change_anew)
        self._error_levels = lru_cache(16)(self._error_levels_anew)

    def answer(self, picture: Picture, models: dict[str, Path], settings: Settings) -> Answer:
        """Score and explain a picture with one model or more.

        Parameters
        ----------
        picture : Picture
        models : dict
            Name -> ``.keras`` file, as `ddlib.models.checkpoint.save_detector` writes it.
        settings : Settings

        Raises
        ------
        ValueError
            If the picture cannot be read, a file is no detector or a setting is out of range.
        """
        views = self.views(picture, models, settings)
        drawn = draw(draw_answer(views, picture, settings, self.band))
        return Answer(picture, views, png(drawn))

    def views(self, picture: Picture, models: dict[str, Path], settings: Settings) -> list[View]:
        """Return the same without drawing it."""
        return [self.view(picture, name, path, settings) for name, path in models.items()]

    def load(self, path: Path) -> Loaded:
        """Return the detector of a file, read once for each time the file is written."""
        return self._load(path, path.stat().st_mtime_ns if path.is_file() else 0)

    def view(self, picture: Picture, name: str, path: Path, settings: Settings) -> View:
        """Return what one model says."""
        loaded = self.load(path)
        change = (settings.resize, settings.resave)
        seen, maps = self._explain(loaded, picture, *change, settings.target)
        layer = settings.layer or list(loaded.cam.layers)[-1]
        if layer not in maps:
            known = ", ".join(maps)
            raise ValueError(f"{name} has no layer {layer!r}; choose from {known}")
        untouched = maps if not any(change) else self._untouched(loaded, picture, settings.target)
        score = float(maps[layer].scores[0])
        verdict = str(verdicts([score], self.band)[0])
        note, error_levels = self._ela_of(name, loaded, picture, settings)
        before = float(untouched[layer].scores[0])
        found = maps[layer]
        return View(
            name, score, before, verdict, seen, found, loaded.cam.layers, error_levels, note
        )

    def _untouched(self, loaded: Loaded, picture: Picture, target: str) -> dict[str, HeatMaps]:
        return self._explain(loaded, picture, None, None, target)[1]

    def _explain_anew(self, loaded: Loaded, picture: Picture, resize, resave, target):
        image = self._changed(picture, resize, resave)
        protocol = loaded.protocol
        seen = given = prepare(image, _without_ela(protocol), picture.crop_share)
        if protocol.ela_quality is not None:
            given = prepare(image, protocol, picture.crop_share)
        return seen, loaded.cam(given[None], target, layer="all")

    def _change_anew(self, picture: Picture, resize, resave) -> np.ndarray:
        return change(self._read(picture), resize, resave)

    def _ela_of(self, name: str, loaded: Loaded, picture: Picture, settings: Settings):
        """Return a note and the map: the one asked for, or the one that the model is given."""
        key = (loaded, picture, settings.resize, settings.resave)
        if settings.ela:
            note = f"ELA, quality {settings.ela_quality}"
            return note, self._error_levels(*key, settings.ela_quality)
        if loaded.protocol.ela_quality is not None:
            quality = loaded.protocol.ela_quality
            return f"ELA {quality}: what {name} sees", self._error_levels(*key, None)
        return "", None

    def _error_levels_anew(self, loaded, picture, resize, resave, quality) -> np.ndarray:
        image, protocol = self._changed(picture, resize, resave), loaded.protocol
        if quality is None:
            return prepare(image, protocol, picture.crop_share)
        if protocol.square == "crop":
            image = center_crop(image, picture.crop_share)
        # before the picture is resized: resizing hides the history of the JPEG blocks
        return read.resize(ela_map(image, quality), protocol.image_size)


def change(image: np.ndarray, resize: int | None = None, resave: int | None = None) -> np.ndarray:
    """Do to (H, W, 3) uint8 what happens to pictures on their way: made smaller, saved as JPEG.

    Parameters
    ----------
    resize : int, optional
        Pixels of the shorter side of the result, at least 16; antialiased.
    resave : int, optional
        JPEG quality, 1 to 100.
    """
    if resize is not None:
        if resize < MIN_SIDE:
            raise ValueError(f"resize={resize} is too small; allowed is {MIN_SIDE} or more")
        height, width = image.shape[:2]
        share = resize / min(height, width)
        size = (round(width * share), round(height * share))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return image if resave is None else recompress(image, resave)


def _without_ela(protocol: Protocol) -> Protocol:
    """Return the same preparation up to the step before ELA."""
    plain = "+".join(part for part in protocol.condition.split("+") if part != "ela")
    return replace(protocol, condition=plain, ela_quality=None)


def _read(picture: Picture) -> np.ndarray:
    if isinstance(picture.where, bytes):
        return decode_image(picture.where, picture.name)
    return read_image(picture.where)


def _load(path: Path, _written: int) -> Loaded:
    try:
        detector, protocol, _ = load_detector(path)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.with_suffix('.json')} does not describe a detector") from error
    return Loaded(protocol, GradCAM(detector))
