"""What the explorer shows, computed without widgets: `render(state)` gives the panels.

Each step is cached: reading the file, changing the picture, the network's forward and backward pass
(which gives every layer at once). A step runs again only if something before it changed, so
opacity, colours and layer never reach the network.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ddlib.data.loader import prepare
from ddlib.deploy.detector import Detector, open_detector
from ddlib.ela import ela_map
from ddlib.gradcam import MEAN, HeatMaps
from ddlib.images.jpeg import recompress
from ddlib.images.overlay import overlay, upsample
from ddlib.images.read import center_crop, decode_image, read_image, resize
from ddlib.metrics.calibration import verdicts
from ddlib.traces.image_warnings import LONG, image_warnings, is_long
from ddlib.viz.explorer.gallery import ANY, Picture, model_title
from ddlib.viz.explorer.panels import SIDE, Panel, enlarge, outline

HOT = 0.5  # the outline is drawn where the heat is at least this share of its peak


@dataclass(frozen=True)
class State:
    """Everything that decides what the explorer shows; each control sets one field."""

    picture: Picture | None = None  # None where no picture passes the filters
    model: str = ""  # the .keras file of the detector that answers
    second: str = ""  # another one, or empty
    target: str = "fake"  # whose evidence is mapped: "fake" or "real"
    layer: str = ""  # a layer's name, "mean", or empty for the last convolution
    opacity: float = 0.5
    colormap: str = "inferno"
    outline: bool = True
    ela: int = 0  # JPEG quality of an Error Level Analysis to show; 0 for none
    side: int = 0  # make the shorter side this many pixels before the model sees it; 0 as it is
    jpeg: int = 0  # then save as JPEG of this quality; 0 for not at all
    source: str = ANY  # filters of the gallery
    label: str = ANY  # "real" or "fake"
    decision: str = ANY  # "right" or "wrong"

    @property
    def changes(self) -> str:
        """What is done to the picture before the model sees it, in words."""
        steps = [f"resized to {self.side} px"] if self.side else []
        return ", ".join(steps + ([f"JPEG {self.jpeg}"] if self.jpeg else []))


@dataclass(frozen=True, eq=False)
class View:
    """One model's answer to one picture."""

    name: str
    detector: Detector
    seen: np.ndarray  # (S, S, 3) uint8, the prepared picture before any ELA
    given: np.ndarray  # what the network takes
    score: float  # calibrated P(fake)
    score_before: float  # the same of the picture as it is, unchanged
    verdict: str  # "real", "unsure" or "fake"
    maps: HeatMaps  # of the layer asked for; of the last one where the model lacks it


def render(state: State) -> tuple[list[View], list[Panel]]:
    """Return what the models say, and the panels: the input, each model's map, then ELA maps.

    A ValueError says why there is no answer: no picture, one that cannot be read, no detector.
    """
    if state.picture is None:
        raise ValueError("No picture passes these filters; widen one of them")
    files = dict.fromkeys(file for file in (state.model, state.second) if file)
    views = [_view(file, state) for file in files]
    first, picture = views[0], state.picture
    kept = f"middle {picture.crop_share:.0%}" if picture.crop_share < 1 else "as it is"
    caption = f"Input, {state.changes or kept}, {len(first.seen)} px"
    found = _warnings(first.detector, picture, state.side, state.jpeg)
    remark = ". ".join([picture.origin, *found])
    panels = [Panel(first.seen, caption, picture.name, remark=remark)]
    panels += [_heat_panel(view, state) for view in views]
    if state.ela:
        levels = _error_levels(first.detector, picture, state.side, state.jpeg, state.ela)
        return views, [*panels, Panel(levels, f"ELA, quality {state.ela}")]
    for view in views:
        if view.detector.protocol.ela_quality is not None:
            panels.append(Panel(view.given, f"ELA: what {view.name} sees"))
    return views, panels


def layer_choices(detector: Detector) -> list[tuple[str, str]]:
    """Return (words, value) for every layer that can be shown, from output to input."""
    layers = detector.grad_cam.layers
    words = [(f"{name} ({h} x {w})", name) for name, (h, w) in reversed(layers.items())]
    return [(f"last: {words[0][0]}", ""), (f"mean of {len(words)} layers", MEAN), *words[1:]]


def _view(file: str, state: State) -> View:
    path = Path(file)
    detector = _open(file, path.stat().st_mtime_ns if path.is_file() else 0)
    asked = detector, state.picture, state.target
    seen, given, maps, score = _explain(*asked, state.side, state.jpeg)
    before = _explain(*asked, 0, 0)[-1] if state.changes else score
    layer = state.layer if state.layer in maps else list(detector.grad_cam.layers)[-1]
    verdict = str(verdicts(score, detector.reject_band))
    return View(model_title(file), detector, seen, given, score, before, verdict, maps[layer])


def _heat_panel(view: View, state: State) -> Panel:
    low, high = band = view.detector.reject_band
    limits = f"unsure from {low:.2f} to {high:.2f}" if low < high else f"fake from {high:.2f}"
    before = f" (before: {view.score_before:.3f})" if state.changes else ""
    title, remark = f"{view.name}: {limits}", f"P(fake) {view.score:.3f}{before}"
    maps, image = view.maps, enlarge(view.seen)
    caption = f"No evidence for {state.target} at {maps.layer}"
    panel = Panel(image, caption, title, view.verdict, remark, view.score, band)
    if not maps.has_evidence[0]:
        return panel
    heat = upsample(maps.heat[0], SIDE)
    image = overlay(image, heat, state.opacity, state.colormap)
    if state.outline:
        image = outline(image, heat >= HOT)
    grid = "\N{NO-BREAK SPACE}x\N{NO-BREAK SPACE}".join(map(str, maps.raw[0].shape))
    caption = f"Evidence for {state.target}, {maps.layer} ({grid})"
    unit = "of each layer's peak" if maps.layer == MEAN else "logit a cell"
    scale = state.colormap, f"{maps.raw[0].max():.2g} {unit}"
    return replace(panel, image=image, caption=caption, scale=scale)


@lru_cache(4)
def _open(file: str, _written: int) -> Detector:
    """Return a detector, opened again once its file is written again."""
    return open_detector(file)


@lru_cache(2)  # few, since an image may have 79 million pixels: as it is and as it was changed
def _read(picture: Picture) -> np.ndarray:
    if isinstance(picture.where, bytes):
        return decode_image(picture.where, picture.name)
    return read_image(picture.where)


@lru_cache(2)
def _change(picture: Picture, side: int, jpeg: int) -> np.ndarray:
    """Do to a picture what happens on its way: made smaller (antialiased), saved as JPEG."""
    image = _read(picture)
    if side:
        scale = side / min(image.shape[:2])
        scaled = ImageOps.scale(Image.fromarray(image), scale, Image.Resampling.BILINEAR)
        image = np.asarray(scaled)
    return recompress(image, jpeg) if jpeg else image


@lru_cache(8)
def _warnings(detector: Detector, picture: Picture, side: int, jpeg: int) -> list[str]:
    """Return why a score is worth less, as `ddlib predict` says it of the picture's pixels."""
    image, protocol = _change(picture, side, jpeg), detector.protocol
    cropped = protocol.square == "crop"
    scored = center_crop(image, picture.crop_share) if cropped else image
    resized = resize(scored, protocol.image_size, protocol.resize)
    found = list(image_warnings(scored, resized, jpeg or np.nan))
    return [*found, LONG] if cropped and is_long(image) else found


@lru_cache(8)
def _explain(detector: Detector, picture: Picture, target: str, side: int, jpeg: int):
    """Return the picture prepared without ELA, what the network takes, maps by layer, P(fake)."""
    image, protocol = _change(picture, side, jpeg), detector.protocol
    seen = given = prepare(image, protocol.without_ela(), picture.crop_share)
    if protocol.ela_quality is not None:
        given = prepare(image, protocol, picture.crop_share)
    maps = detector.grad_cam(given[None], target, layer="all")
    logit = maps[MEAN].logits[0]
    if detector.card.tflite_sha256:  # as `ddlib predict` does; converting would take seconds
        logit = detector.scorer(workers=1).logit(given)
    return seen, given, maps, float(detector.scores(logit))


@lru_cache(8)
def _error_levels(detector: Detector, picture: Picture, side: int, jpeg: int, quality: int):
    """Return the ELA map; of the picture before it is resized, which hides its JPEG history."""
    image, protocol = _change(picture, side, jpeg), detector.protocol
    if protocol.square == "crop":
        image = center_crop(image, picture.crop_share)
    return resize(ela_map(image, quality), protocol.image_size)
