"""What a threshold does: a slider over the scores, and a static page where nobody can slide.

`show` is what a notebook calls. The slider moves a line through the spread of the scores and says
how many reals are accused and how many fakes found. A headless run and an exported page hold the
same for chosen thresholds. Both are HTML from one function, `page`, which answers in milliseconds.
"""

from __future__ import annotations

import html

import ipywidgets as w
import numpy as np
import pandas as pd
from IPython.display import HTML

from ddlib.metrics.format import format_table
from ddlib.metrics.roc_auc import check_scores
from ddlib.metrics.score_table import score_table
from ddlib.protocol import FAKE, REAL
from ddlib.viz.style import BLUE, FAINT, VERMILLION, headless

BY_HAND = ("by hand", "")


_BINS, _WIDE, _HIGH = 50, 560, 22  # bars of a class; pixels of the axis, and of the tallest bar


_LEFT, _ROW = 130, 2 * _HIGH + 10  # pixels of a set's name, and of its strip


_STYLE = """<style>
.ddlib-threshold svg {max-width: 100%; height: auto; font: 12px sans-serif}
.ddlib-threshold text {fill: currentColor}
.ddlib-threshold table {border-collapse: collapse; margin: 4px 0 12px}
.ddlib-threshold th, .ddlib-threshold td {padding: 3px 10px; text-align: right; border: 0;
  border-bottom: 1px solid #ddd}
.ddlib-error {line-height: 1.4; border-left: 4px solid #b00020; background: #fdecee; color: #7a0016;
  padding: 6px 10px; margin: 4px 0}
</style>"""


def show(sets: dict, threshold: float = 0.5, marks: dict | None = None):
    """Return the slider, or its static twin where nobody can answer (headless).

    Parameters
    ----------
    sets : {name: (labels, scores)}
        Scores are P(fake); a set may hold one class only.
    threshold : float
        Where the slider begins.
    marks : {name: threshold}, optional
        Thresholds to jump to, such as those that `ddlib.metrics.calibration` chose on valid.

    Raises
    ------
    ValueError
        If there is no set, a set's labels or scores cannot be, or a threshold is below 0.
    """
    return static(sets, threshold, marks) if headless() else ThresholdSlider(sets, threshold, marks)


def static(sets: dict, threshold: float = 0.5, marks: dict | None = None) -> HTML:
    """Return the static twin: the page of each mark, or of the threshold if there is none."""
    _check(sets, {"threshold": threshold, **(marks or {})})
    shown = marks or {"threshold": threshold}
    return HTML("".join(page(sets, value, name) for name, value in shown.items()))


def page(sets: dict, threshold: float, name: str = "threshold") -> str:
    """Return, as HTML, where the scores lie, the threshold among them, and what it does."""
    head = f"<b>{html.escape(name)}: {threshold:.3f}</b>"
    table = readings(sets, threshold).to_html(border=0)
    return f'{_STYLE}<div class="ddlib-threshold">{head}<br>{_spread(sets, threshold)}{table}</div>'


def readings(sets: dict, threshold: float) -> pd.DataFrame:
    """Return what a threshold does to each set, for reading; shares carry their 95 % interval.

    Returns
    -------
    DataFrame of str
        A row a set: reals, reals called fake (the false alarms), recall of reals; fakes, fakes
        called fake, recall of fakes. Empty where a set lacks the class.
    """
    rows = pd.DataFrame(
        [{"test_set": name, **score_table(*pair, threshold)} for name, pair in sets.items()]
    )
    shown = format_table(rows, ("recall_real", "recall_fake"))
    table = pd.DataFrame(index=shown.index.rename(None))
    for kind, count in (("reals", "fp"), ("fakes", "tp")):
        n = shown[kind].to_numpy()
        table[kind] = [str(k) if k else "" for k in n]
        called = zip(rows[count], n, strict=True)
        table[f"{kind} called fake"] = [str(k) if of else "" for k, of in called]
        table[f"recall of {kind}"] = shown[f"recall of {kind}"].to_numpy()
    return table


class ThresholdSlider:
    """A slider and a page that follows it; display it as the last line of a cell.

    Parameters and errors are those of `show`.
    """

    def __init__(self, sets: dict, threshold: float = 0.5, marks: dict | None = None):
        self.sets, self.marks = sets, dict(marks or {})
        _check(sets, {"threshold": threshold, **self.marks})
        tip = "Pictures with a score from here upward are called fake"
        most = max(1.0, threshold, *self.marks.values())  # a threshold above 1 calls nothing fake
        self.slider = w.FloatSlider(
            **{"min": 0, "max": most, "step": 0.001, "value": threshold, "readout_format": ".3f"},
            **{"description": "Threshold", "tooltip": tip},
            layout=w.Layout(width="min(100%, 700px)"),
        )
        self.rule = w.Dropdown(
            **{"options": [BY_HAND, *((name, name) for name in self.marks)], "description": "Rule"},
            tooltip="Jump to a threshold that was chosen on the validation pictures",
        )
        self.page, self.error = w.HTML(), w.HTML()
        rules = [self.rule] * bool(self.marks)
        self.box = w.VBox([*rules, self.slider, self.error, self.page])
        self.slider.observe(lambda change: self._moved(), "value")
        self.rule.observe(lambda change: self._jump(), "value")
        self._moved()

    def _jump(self) -> None:
        if self.rule.value:
            self.slider.value = self.marks[self.rule.value]
            self._moved()

    def _moved(self) -> None:
        """Show what the threshold does; a kernel would swallow an error, so it is said here."""
        name, threshold = self.rule.value, self.slider.value
        if name and self.marks[name] != threshold:
            name = self.rule.value = ""
        try:
            self.page.value = page(self.sets, threshold, name or "threshold")
            self.error.value = ""
        except Exception as error:
            from ddlib.viz.explorer.rows import error_message

            said = html.escape(error_message(error))
            self.error.value = f'<div class="ddlib-error" role="alert">{said}</div>'

    def _repr_mimebundle_(self, **options):
        """Give notebooks the controls, and exported pages, which have no kernel, the twin."""
        bundle = self.box._repr_mimebundle_(**options)
        return {**bundle, "text/html": static(self.sets, self.slider.value, self.marks).data}


def _spread(sets: dict, threshold: float) -> str:
    """Return a strip a set as SVG: reals rise, fakes hang, and what is called fake is filled."""
    strips = [_strip(i, *item, threshold) for i, item in enumerate(sets.items())]
    foot, x = _ROW * len(sets), _LEFT + _WIDE * min(threshold, 1)
    line = f'<path d="M{x:.1f} 0V{foot}" stroke="currentColor" stroke-dasharray="4 3"/>'
    ticks = "".join(
        f'<text x="{_LEFT + _WIDE * at}" y="{foot + 14}" text-anchor="middle">{at:g}</text>'
        for at in (0, 0.25, 0.5, 0.75, 1)
    )
    words = "score, P(fake). Reals rise, fakes hang; what is called fake is filled."
    told = f'<text x="{_LEFT}" y="{foot + 32}">{words}</text>'
    size = f'viewBox="0 0 {_LEFT + _WIDE + 20} {foot + 38}" width="{_LEFT + _WIDE + 20}"'
    return f'<svg {size} role="img" aria-label="{words}">{"".join(strips)}{line}{ticks}{told}</svg>'


def _strip(i: int, name: str, pair, threshold: float) -> str:
    labels, scores = check_scores(*pair)
    middle, step = _ROW * i + _ROW // 2, _WIDE / _BINS
    end = _LEFT + _WIDE
    parts = [f'<text x="0" y="{middle + 4}">{html.escape(name)}</text>']
    parts.append(f'<path d="M{_LEFT} {middle}H{end}" stroke="{FAINT}"/>')
    for label, color in ((REAL, BLUE), (FAKE, VERMILLION)):
        own = scores[labels == label]
        every, called = (np.histogram(x, _BINS, (0, 1))[0] for x in (own, own[own >= threshold]))
        for counts, fill in ((every, "none"), (called, color)):
            for k in np.flatnonzero(counts):
                tall = max(2.0, _HIGH * counts[k] / every.max())  # one picture must be seen
                y = middle - tall if label == REAL else middle
                place = f'x="{_LEFT + k * step:.1f}" y="{y:.1f}" height="{tall:.1f}"'
                look = f'width="{step:.1f}" fill="{fill}" stroke="{color}"'
                parts.append(f"<rect {place} {look}/>")
    return "".join(parts)


def _check(sets: dict, thresholds: dict) -> None:
    if not sets:
        raise ValueError("there is no set of scores to show; give {name: (labels, scores)}")
    for name, pair in sets.items():
        try:
            check_scores(*pair)
        except ValueError as error:
            raise ValueError(f"set {name!r}: {error}") from error
    for name, value in thresholds.items():
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value!r} cannot be a threshold; give a number from 0 upward")
