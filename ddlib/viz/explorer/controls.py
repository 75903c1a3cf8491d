"""The explorer's controls: which widgets there are, what they are called, how they are laid out.

All have a label and a tooltip and are reached with the Tab key. All but the field for a file are
core controls of ipywidgets.
"""

from collections.abc import Callable
from pathlib import Path

import anywidget
import ipywidgets as w
from traitlets import Int, Unicode

from ddlib.viz.explorer.gallery import ANY, THUMB

PAGE = 8  # thumbnails side by side
MAX_PANELS = 5  # the input, two models' maps, and an ELA map for each
# An empty word or 0, not None: a choice whose value is None shows nothing at all.
NONE, AS_IT_IS, LAST = ("none", ""), ("as it is", 0), [("last convolution", "")]
COLORMAPS = [("inferno", "inferno"), ("viridis", "viridis"), ("jet (the study's)", "jet")]
SIDES = [AS_IT_IS, *((f"{side} px", side) for side in range(512, 15, -8))]
QUALITIES = [AS_IT_IS, *((str(quality), quality) for quality in range(100, 4, -1))]
ELA = [("no", 0), *((f"JPEG quality {quality}", quality) for quality in range(100, 45, -5))]
HEADING = '<b role="heading" aria-level="3">{}</b>'
STYLE = """<style>.ddlib-explorer {
  max-width: 1240px;
  .ddlib-row {flex-flow: row wrap; align-items: center; gap: 6px 10px}
  .ddlib-row > .widget-inline-hbox {flex: 1 1 230px}
  .ddlib-columns {flex-flow: row wrap-reverse; align-items: flex-end; gap: 12px 24px}
  .ddlib-controls {flex: 1 1 264px; max-width: 360px}
  .ddlib-shown {flex: 3 1 480px; min-width: 0}
  .ddlib-panels {display: grid; gap: 12px; align-items: end;
    grid-template-columns: repeat(auto-fit, minmax(min(230px, 100%), 1fr))}
  .ddlib-panels > * {max-width: 384px}
  .ddlib-panels b {font-size: 20px}
  .widget-html-content {line-height: 1.4; overflow-wrap: anywhere}
  .ddlib-bar {position: relative; display: grid; margin: 12px 0 6px; border: 1px solid #767676;
    grid-template-columns: var(--low) calc(var(--high) - var(--low)) 1fr; font-size: 12px;
    background: linear-gradient(90deg, #fff var(--low), #ddd var(--low) var(--high), #fff 0)}
  .ddlib-bar span {overflow: hidden; text-align: center; white-space: nowrap; color: #333}
  .ddlib-bar i {position: absolute; top: -13px; transform: translateX(-50%)}
  .ddlib-ramp {display: flex; gap: 8px; white-space: nowrap; font-size: 12px}
  .ddlib-ramp i {flex: 1; height: 12px; margin: auto}
  .ddlib-error {border-left: 4px solid #b00020; padding: 6px; background: #fdecee; color: #7a0016}
  .ddlib-drop {width: 100%; height: 100%; min-height: 48px; font: inherit; cursor: pointer;
    color: inherit; background: none; border: 2px dashed #767676; border-radius: 6px}
  .ddlib-over {border: 2px solid #0b57d0; background: rgba(11, 87, 208, 0.12)}
  :focus-visible {outline: 3px solid #0b57d0 !important; outline-offset: 1px}
}</style>"""


class DropZone(anywidget.AnyWidget):
    """A button that opens the file dialog and on which a file can be dropped (``drop.js``).

    `take` gets the name and the content of a file once all its pieces are here, `refuse` a sentence
    about what cannot be taken: several files, a folder, too large a file.
    """

    _esm = Path(__file__).with_name("drop.js")
    description = Unicode("Drop a picture of your own here, or choose one").tag(sync=True)
    largest = Int(100_000_000).tag(sync=True)  # bytes; a photograph has 3 to 30 million

    def __init__(self, take: Callable[[str, bytes], None], refuse: Callable[[str], None]):
        super().__init__(tooltip="A picture from this computer; it is not stored")
        self.layout = w.Layout(flex="1 1 200px", margin="0", align_self="stretch")
        self._take, self._refuse = take, refuse
        self._coming, self._content = None, bytearray()  # which file, and its pieces so far
        self.on_msg(self._collect)

    def _collect(self, _, message: dict, buffers: list) -> None:
        if "error" in message:
            self._refuse(message["error"])
            return
        file = message.get("name", ""), message.get("size", 0)
        start = message.get("start")
        if start == 0:
            self._coming, self._content = file, bytearray()
        if file != self._coming or start != len(self._content):
            self._coming = None
            self._refuse("The pieces of two files came mixed; bring one at a time.")
            return
        self._content += b"".join(buffers)
        name, size = file
        if max(size, len(self._content)) > self.largest:
            self._coming = None
            self._refuse(f"{name} has over {self.largest // 10**6} MB. Make the picture smaller.")
        elif len(self._content) >= size:
            self._take(name, bytes(self._content))
            self._coming, self._content = None, bytearray()


class Controls:
    """Every widget of the explorer, laid out in `box`.

    `fields` are the controls that set a field of the `State`, by its name.
    """

    def __init__(self, models: list[tuple[str, str]], sources: list, own: DropZone):
        filters = {
            "source": _choice("Source", [(ANY, ANY), *sources], "Who made the picture"),
            "label": _choice("Label", [ANY, "real", "fake"], "What the picture is"),
            "decision": _choice("Decision", [ANY, "right", "wrong"], "Of the first model, at 0.5"),
        }
        detectors = {
            "model": _choice("Model", models, "The detector that scores the picture"),
            "second": _choice("Compare with", [NONE, *models], "A second detector"),
        }
        outline = w.Checkbox(indent=False)
        explanation = {
            "target": _choice("Evidence for", ["fake", "real"], "The class of the heat map"),
            "layer": _choice("Layer", LAST, "Late layers see large parts of the picture at once"),
            "opacity": _named(w.FloatSlider(max=1, step=0.05), "Opacity", "Share of the colour"),
            "colormap": _choice("Colours", COLORMAPS, "Jet makes edges where the map has none"),
            "outline": _named(outline, "Outline the hottest part", "Where it is half of its peak"),
            "ela": _choice("Show ELA", ELA, "What one more JPEG saving changes"),
        }
        changes = {
            "side": _named(w.SelectionSlider(options=SIDES), "Resize to", "Its shorter side"),
            "jpeg": _named(w.SelectionSlider(options=QUALITIES), "Save as JPEG", "Resized first"),
        }
        self.fields = filters | detectors | explanation | changes
        self.position = _named(w.IntSlider(1, 1, 1), "Picture", "Of those that pass the filters")
        self.previous = _named(w.Button(icon="arrow-left"), "Previous", "The picture before")
        self.next = _named(w.Button(icon="arrow-right"), "Next", "The picture after")
        self.reset = _named(w.Button(icon="undo"), "Reset", "Put every control back")
        self.save = _named(w.Button(icon="download"), "Save picture", "As a PNG file")
        size = w.Layout(width=f"{THUMB}px", margin="0")
        self.thumbs = [w.Image(format="jpeg", height=THUMB, layout=size) for _ in range(PAGE)]
        self.picks = [w.Button(layout=size) for _ in range(PAGE)]
        self.places = [w.VBox(pair) for pair in zip(self.thumbs, self.picks, strict=True)]
        self.panels = [w.VBox([w.HTML(), w.Image()]) for _ in range(MAX_PANELS)]
        self.verdict, self.error, self.link, self.count = (w.HTML() for _ in range(4))

        rows = [
            w.HBox(list(filters.values())),
            w.HBox([*self.places, own]),
            w.HBox([self.previous, self.next, self.position, self.count]),
        ]
        groups = [
            w.VBox([w.HTML(HEADING.format("Model")), *detectors.values()]),
            w.VBox([w.HTML(HEADING.format("Explanation")), *explanation.values()]),
            w.VBox([w.HTML(HEADING.format("Change the picture")), *changes.values()]),
            w.HBox([self.reset, self.save]),
        ]
        panels = w.Box(self.panels).add_class("ddlib-panels")
        shown = w.VBox([self.verdict, self.error, panels, self.link]).add_class("ddlib-shown")
        columns = w.HBox([w.VBox(groups).add_class("ddlib-controls"), shown])
        rows = [row.add_class("ddlib-row") for row in rows] + [columns.add_class("ddlib-columns")]
        self.box = w.VBox([w.HTML(STYLE), *rows]).add_class("ddlib-explorer")


def _named(control: w.Widget, name: str, tip: str) -> w.Widget:
    control.description, control.tooltip = name, tip
    control.layout = w.Layout(width="auto", margin="2px")
    control.style.description_width = "92px"  # a button has none and ignores it
    return control


def _choice(name: str, options: list, tip: str) -> w.Dropdown:
    return _named(w.Dropdown(options=options, index=0), name, tip)
