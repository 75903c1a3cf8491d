"""The explorer's controls: which widgets there are, what they are called, what they begin with.

All have a label and a tooltip and are reached with the Tab key; all but the field for a file are
core controls of ipywidgets.
"""

from __future__ import annotations

import ipywidgets as w

from ddlib.viz.explorer.drop import DropZone
from ddlib.viz.explorer.gallery import PAGE, THUMB
from ddlib.viz.explorer.terms import Settings

# the empty word, not None: a choice whose value is None shows nothing at all
ANY, NONE = ("any", ""), ("none", "")


COLORMAPS = [("inferno (even steps)", "inferno"), ("viridis (even steps)", "viridis")]


COLORMAPS += [("jet (the study's)", "jet")]


_LABEL = {"description_width": "92px"}


# of the controls, and the picture beside them or, where there is no room, below them
PLACES = ("ddlib-columns", "ddlib-controls", "ddlib-shown")


STYLE = """<style>
.ddlib-explorer {max-width: 1240px; container-type: inline-size}
.ddlib-explorer .ddlib-columns {gap: 4px 24px; align-items: flex-start}
.ddlib-explorer .ddlib-controls {flex: 1 1 264px; max-width: 360px}
.ddlib-explorer .ddlib-shown {flex: 3 1 440px; min-width: 0}
@container (max-width: 820px) {
  .ddlib-explorer .ddlib-columns {flex-direction: column; align-items: stretch}
  .ddlib-explorer .ddlib-shown {flex: none}
  .ddlib-explorer .ddlib-controls {flex: none; max-width: none; display: grid; gap: 0 24px;
    grid-template-columns: minmax(0, 1fr) minmax(0, 1fr)}
  .ddlib-explorer .ddlib-controls > :nth-child(2) {grid-column: 2; grid-row: 1 / span 2}
}
.ddlib-explorer .ddlib-range .widget-readout {min-width: 84px}
.ddlib-explorer .ddlib-head {font-weight: 600; line-height: 1.4; margin: 8px 0 2px}
.ddlib-explorer .ddlib-verdict {line-height: 1.4; font-size: 15px}
.ddlib-explorer .ddlib-error {line-height: 1.4; border-left: 4px solid #b00020;
  background: #fdecee; color: #7a0016; padding: 6px 10px; margin: 4px 0}
.ddlib-explorer .ddlib-said {line-height: 1.4}
.ddlib-explorer img {max-width: 100%; height: auto; object-fit: contain}
.ddlib-explorer .ddlib-picture {align-self: flex-start}
.ddlib-explorer .widget-checkbox input {vertical-align: middle}
.ddlib-explorer .ddlib-drop {width: 100%; height: 100%; min-height: 48px; padding: 4px 10px;
  font: inherit; line-height: 1.4; cursor: pointer; color: inherit; background: transparent;
  border: 2px dashed #767676; border-radius: 6px}
.ddlib-explorer .ddlib-drop:hover, .ddlib-explorer .ddlib-over {border-color: #0b57d0}
.ddlib-explorer .ddlib-over {border-style: solid; background: rgba(11, 87, 208, 0.12)}
.ddlib-explorer :focus-visible {outline: 3px solid #0b57d0 !important; outline-offset: 1px}
</style>"""


def _wide() -> w.Layout:
    return w.Layout(width="auto", margin="2px 0")


def head(text: str) -> w.HTML:
    """Return a small heading."""
    return w.HTML(f'<div class="ddlib-head" role="heading" aria-level="3">{text}</div>')


def same(values) -> list[tuple[str, str]]:
    """Return options whose words are their values; a list must not mix words and pairs."""
    return [(value, value) for value in values]


def _choice(name: str, options, tip: str) -> w.Dropdown:
    return w.Dropdown(
        **{"options": options, "index": 0, "description": name},
        **{"tooltip": tip, "style": _LABEL, "layout": _wide()},
    )


def _slider(name: str, tip: str, low, high, value, kind=w.IntSlider, **more):
    return kind(
        **{"min": low, "max": high, "value": value, "description": name, "tooltip": tip},
        **{"style": _LABEL, "layout": _wide(), **more},
    )


def _tick(name: str, tip: str, value: bool = False) -> w.Checkbox:
    shown = {"value": value, "description": name, "tooltip": tip}
    return w.Checkbox(**shown, indent=False, layout=w.Layout(width="auto", margin="0 0 0 4px"))


def _button(name: str, tip: str, **more) -> w.Button:
    return w.Button(description=name, tooltip=tip, layout=w.Layout(width="auto"), **more)


class Controls:
    """Every widget of the explorer by name, and how they are laid out in `box`."""

    def __init__(self, models: list[str]):
        self._make_models(models)
        self._make_filters()
        self._make_explanation()
        self._make_changes()
        self._make_shown()
        # what "reset" goes back to
        self.start = {c: c.value for c in (self.model, *self.of_answer, *self.filters)}
        self.box = self._lay_out()
        self.box.add_class("ddlib-explorer")

    def _make_models(self, models) -> None:
        self.model = _choice("Model", same(models), "The detector that scores the picture")
        tip = "A second detector, shown below the first"
        self.second = _choice("Compare with", [NONE, *same(models)], tip)
        self.file = w.Text(
            **{"description": "Model file", "placeholder": "detector.keras, then Enter"},
            **{"continuous_update": False, "style": _LABEL, "layout": _wide()},
            tooltip="A detector of your own: a .keras file with its .json beside it",
        )

    def _make_filters(self) -> None:
        self.source = _choice("Source", [ANY], "Who made the picture")
        self.label = _choice("Label", [ANY, *same(["real", "fake"])], "What the picture is")
        tip = "Whether the first model decides rightly at 0.5"
        self.decision = _choice("Decision", [ANY, *same(["right", "wrong"])], tip)
        tip = "P(fake) that the first model gave when it was tested"
        more = {"kind": w.FloatRangeSlider, "step": 0.01, "readout_format": ".2f"}
        self.scores = _slider("Score", tip, 0.0, 1.0, (0.0, 1.0), **more)
        self.scores.add_class("ddlib-range")
        self.previous = _button("Previous", "The picture before this one", icon="arrow-left")
        self.next = _button("Next", "The picture after this one", icon="arrow-right")
        tip = "Which of the pictures that pass the filters"
        self.position = _slider("Picture", tip, 1, 1, 1)
        self.own = DropZone(
            **{"description": "Drop a picture of your own here, or choose one"},
            **{"accept": "image/*,.heic,.heif", "layout": w.Layout(flex="1 1 200px", margin="0")},
            tooltip="A picture from this computer; it is not stored",
        )
        self.count = w.HTML()
        side = {"width": f"{THUMB}px", "margin": "0"}
        self.thumbs = [
            w.Image(format="jpeg", width=THUMB, height=THUMB, layout=w.Layout(**side))
            for _ in range(PAGE)
        ]
        self.picks = [w.Button(layout=w.Layout(**side)) for _ in range(PAGE)]

    def _make_explanation(self) -> None:
        tip = "Which class's evidence the map shows"
        self.target = _choice("Evidence for", same(["fake", "real"]), tip)
        tip = "Late layers see large parts of the picture, early ones small parts"
        self.layer = _choice("Layer", [("last convolution", "")], tip)
        tip = "Share of the heat map's colour"
        more = {"kind": w.FloatSlider, "step": 0.05, "readout_format": ".2f"}
        self.opacity = _slider("Opacity", tip, 0.0, 1.0, 0.5, **more)
        tip = "Jet makes edges where the map has none; it is here to compare with the study"
        self.colormap = _choice("Colours", COLORMAPS, tip)
        tip = "A line where the heat is at least half of its peak"
        self.outline = _tick("Outline the hottest part", tip, True)
        tip = "Error Level Analysis: what one more JPEG saving changes"
        self.ela = _tick("Show ELA", tip)
        self.ela_quality = _slider("ELA quality", "JPEG quality of the analysis", 50, 100, 90)

    def _make_changes(self) -> None:
        tip = "Make the picture smaller or larger before the model sees it"
        self.resize_on = _tick("Resize first", tip)
        self.resize = _slider("Side (px)", "Pixels of the shorter side", 16, 512, 256)
        self.resave_on = _tick(
            "Save as JPEG again", "Then save it as JPEG before the model sees it"
        )
        self.resave = _slider("JPEG quality", "Low is small and coarse", 5, 100, 75)

    def _make_shown(self) -> None:
        self.reset = _button("Reset", "Put every control back", icon="undo")
        self.save = _button("Save picture", "Write what is shown as a PNG file", icon="download")
        self.verdict = w.HTML(
            '<div class="ddlib-verdict" role="status">The model is loading.</div>'
        )
        self.image = w.Image(format="png", layout=w.Layout(max_width="100%"))
        self.image.add_class("ddlib-picture")
        self.error = w.HTML()
        self.said = w.HTML()

    def _lay_out(self) -> w.VBox:
        row = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "4px 14px"}
        for control in (self.source, self.label, self.decision, self.scores, self.position):
            control.layout.flex, control.layout.width = "1 1 210px", "auto"
        self.position.layout.flex, self.scores.layout.flex = "3 1 270px", "2 1 280px"
        picks = [w.VBox(pair) for pair in zip(self.thumbs, self.picks, strict=True)]
        shown = [self.verdict, self.error, self.image, self.said]
        gallery = [
            w.HBox([self.source, self.label, self.decision, self.scores], layout=w.Layout(**row)),
            w.HBox([*picks, self.own], layout=w.Layout(flex_flow="row wrap", grid_gap="6px 8px")),
            w.HBox([self.previous, self.next, self.position, self.count], layout=w.Layout(**row)),
        ]
        columns = w.HBox([self._groups(), w.VBox(shown)])
        for place, name in zip((columns, *columns.children), PLACES, strict=True):
            place.add_class(name)
        return w.VBox([w.HTML(STYLE), *gallery, columns])

    def _groups(self) -> w.VBox:
        """Return the controls in three groups, which share two columns where it is narrow."""
        model = [head("Model"), self.model, self.second, self.file]
        explanation = [head("Explanation"), self.target, self.layer, self.opacity, self.colormap]
        explanation += [self.outline, self.ela, self.ela_quality]
        changes = [head("Change the picture"), self.resize_on, self.resize]
        changes += [self.resave_on, self.resave]
        changes.append(w.HBox([self.reset, self.save], layout=w.Layout(margin="8px 0")))
        return w.VBox([w.VBox(group) for group in (model, explanation, changes)])

    def settings(self) -> Settings:
        """Return what the controls say."""
        return Settings(
            **{name: getattr(self, name).value for name in ("target", "opacity")},
            layer=self.layer.value or None,
            **{name: getattr(self, name).value for name in ("colormap", "outline", "ela")},
            ela_quality=self.ela_quality.value,
            resize=self.resize.value if self.resize_on.value else None,
            resave=self.resave.value if self.resave_on.value else None,
        )

    @property
    def of_answer(self) -> list[w.Widget]:
        """The controls that change what is shown of a picture."""
        return [
            *(self.second, self.target, self.layer, self.opacity, self.colormap, self.outline),
            *(self.ela, self.ela_quality, self.resize_on, self.resize, self.resave_on),
            self.resave,
        ]

    @property
    def ticked(self) -> list[tuple[w.Widget, w.Checkbox]]:
        """The sliders that do nothing unless their box is ticked."""
        pairs = [(self.ela_quality, self.ela), (self.resize, self.resize_on)]
        return [*pairs, (self.resave, self.resave_on)]

    @property
    def filters(self) -> list[w.Widget]:
        """The controls that decide which pictures the gallery holds."""
        return [self.source, self.label, self.decision, self.scores]
