"""From a model's view to what is drawn and said of it."""

from __future__ import annotations

import html
from pathlib import Path

from ddlib.gradcam import MEAN
from ddlib.images.overlay import overlay, upsample
from ddlib.viz.explorer.panels import SIDE, Panel, Verdict, enlarge, outline
from ddlib.viz.explorer.terms import Answer, Picture, Settings, View

HOT = 0.5  # the outline is drawn where the heat is at least this share of its peak


def layer_choices(layers: dict) -> list[tuple[str, str]]:
    """Return (words, value) for every layer that can be shown, from output to input."""
    names = list(reversed(layers))
    words = {name: f"{name} ({layers[name][0]} x {layers[name][1]})" for name in names}
    first = [(f"last: {words[names[0]]}", ""), (f"mean of {len(names)} layers", MEAN)]
    return first + [(words[name], name) for name in names[1:]]


def draw_answer(answered: list[View], picture: Picture, settings: Settings, band) -> list[Panel]:
    """Return the panels of an answer: the input, each model's map, then ELA maps."""
    first = answered[0]
    known = f"It is {picture.label}, from {picture.source}" if picture.label else "Own picture"
    changes = ", ".join(settings.changes) or "as it is"
    caption = f"Input, {changes}, {first.seen.shape[0]} px"
    found = [Panel(caption, first.seen, header=[Path(picture.name).name, known])]
    found += [_heat_panel(view, settings, band) for view in answered]
    wanted = answered[:1] if settings.ela else answered
    return found + [Panel(v.ela_note, v.ela) for v in wanted if v.ela is not None]


def _heat_panel(view: View, settings: Settings, band) -> Panel:
    remark = f" (before: {view.untouched_score:.3f})" if settings.changes else ""
    header = Verdict(view.model, view.verdict, view.score, remark, band)
    maps, what = view.maps, f"evidence for {settings.target}"
    picture = enlarge(view.seen)
    if not maps.has_evidence[0]:
        return Panel(f"No {what} at {maps.layer}", picture, header=header)
    heat = upsample(maps.heat[0], SIDE)
    drawn = overlay(picture, heat, settings.opacity, settings.colormap)
    if settings.outline:
        drawn = outline(drawn, heat >= HOT)
    height, width = view.layers.get(maps.layer, view.seen.shape[:2])
    unit = "of each layer's peak" if maps.layer == MEAN else "logit a cell"
    scale = (settings.colormap, "0", f"{maps.raw[0].max():.2g} {unit}")
    caption = f"{what.capitalize()}, {maps.layer} ({height} x {width})"
    return Panel(caption, drawn, scale, header)


def verdict_line(answer: Answer, mark: str = "{}") -> str:
    """Return in one line, as HTML, what the models say; `mark` goes around each verdict."""
    lines = [
        f"{html.escape(view.model)}: {mark.format(view.verdict)}, P(fake) {view.score:.3f}"
        for view in answer.views
    ]
    picture = answer.picture
    known = f" It is {picture.label}, from {picture.source}." if picture.label else ""
    return html.escape(Path(picture.name).name) + ". " + "; ".join(lines) + "." + html.escape(known)


def error_message(error: Exception) -> str:
    """Return an error as something to read, without a traceback."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if not isinstance(error, ValueError | OSError) or not text:
        text = f"This did not work ({type(error).__name__}: {text})"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
