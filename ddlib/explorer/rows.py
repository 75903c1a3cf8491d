"""From a model's view to what is drawn and said of it."""

from __future__ import annotations

import html
from pathlib import Path

from ddlib import panels
from ddlib.explorer.terms import Answer, Picture, Settings, View
from ddlib.gradcam import FUSED, overlay, upsample

HOT = 0.5  # the outline is drawn where the heat is at least this share of its peak


def layer_choices(layers: dict) -> list[tuple[str, str]]:
    """Return (words, value) for every layer that can be shown, from output to input."""
    names = list(reversed(layers))
    words = {name: f"{name} ({layers[name][0]} x {layers[name][1]})" for name in names}
    first = [(f"last: {words[names[0]]}", ""), (f"fused: mean of {len(names)} layers", FUSED)]
    return first + [(words[name], name) for name in names[1:]]


def shown(answered: list[View], picture: Picture, settings: Settings, band) -> list[panels.Panel]:
    """Return the panels of an answer: the input, each model's map, then ELA maps."""
    first = answered[0]
    known = f"It is {picture.label}, from {picture.source}" if picture.label else "Own picture"
    changes = ", ".join(settings.changes) or "as it is"
    caption = f"Input, {changes}, {first.seen.shape[0]} px"
    found = [panels.Panel(caption, first.seen, head=[Path(picture.name).name, known])]
    found += [_heat_panel(view, settings, band) for view in answered]
    wanted = answered[:1] if settings.ela else answered
    return found + [panels.Panel(v.ela_note, v.ela) for v in wanted if v.ela is not None]


def _heat_panel(view: View, settings: Settings, band) -> panels.Panel:
    remark = f" (before: {view.untouched_score:.3f})" if settings.changes else ""
    head = panels.Verdict(view.model, view.verdict, view.score, remark, band)
    maps, what = view.maps, f"evidence for {settings.target}"
    picture = panels.enlarge(view.seen)
    if not maps.positive[0]:
        return panels.Panel(f"No {what} at {maps.layer}", picture, head=head)
    heat = upsample(maps.heat[0], panels.SIDE)
    drawn = overlay(picture, heat, settings.opacity, settings.colormap)
    if settings.outline:
        drawn = panels.outline(drawn, heat >= HOT)
    height, width = view.layers.get(maps.layer, view.seen.shape[:2])
    unit = "of each layer's peak" if maps.layer == FUSED else "logit a cell"
    scale = (settings.colormap, "0", f"{maps.raw[0].max():.2g} {unit}")
    caption = f"{what.capitalize()}, {maps.layer} ({height} x {width})"
    return panels.Panel(caption, drawn, scale, head)


def told(answer: Answer, mark: str = "{}") -> str:
    """Return in one line, as HTML, what the models say; `mark` goes around each verdict."""
    lines = [
        f"{html.escape(view.model)}: {mark.format(view.verdict)}, P(fake) {view.score:.3f}"
        for view in answer.views
    ]
    picture = answer.picture
    known = f" It is {picture.label}, from {picture.source}." if picture.label else ""
    return html.escape(Path(picture.name).name) + ". " + "; ".join(lines) + "." + html.escape(known)


def sentence(error: Exception) -> str:
    """Return an error as something to read, without a traceback."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if not isinstance(error, ValueError | OSError) or not text:
        text = f"This did not work ({type(error).__name__}: {text})"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
