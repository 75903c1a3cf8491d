"""What a threshold does: a slider over the scores, and static views where nobody can slide."""

import base64
import html

import ipywidgets as w
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from ddlib import metrics
from ddlib.viz.scores import score_histogram
from ddlib.viz.style import alt_text, to_png


class ThresholdSlider(w.VBox):
    """Where scores lie and what a threshold does to each set, with a button for each mark.

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
        If there is no set, a set's labels or scores are invalid, or a threshold is below 0.
    """

    def __init__(self, sets: dict, threshold: float = 0.5, marks: dict | None = None):
        self.sets, self.marks = sets, dict(marks or {"threshold": threshold})
        if not sets:
            raise ValueError("there is no set of scores to show; give {name: (labels, scores)}")
        for name, pair in sets.items():
            try:
                metrics.check_scores(*pair)
            except ValueError as error:
                raise ValueError(f"set {name!r}: {error}") from error
        for name, value in (self.marks | {"threshold": threshold}).items():
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name}={value!r} is no threshold; give a number from 0 upward")
        self.slider = w.FloatSlider(
            threshold,
            max=max(1.0, threshold, *self.marks.values()),  # above 1 nothing is called fake
            step=0.001,
            readout_format=".3f",
            description="Threshold",
            continuous_update=False,
            layout=w.Layout(width="min(100%, 700px)"),
        )
        buttons = []
        for name, value in self.marks.items():
            buttons.append(w.Button(description=f"{name}: {value:.3f}"))
            buttons[-1].on_click(lambda _, value=value: setattr(self.slider, "value", value))
        view = w.interactive_output(
            lambda threshold: display(HTML(_view(sets, threshold))), {"threshold": self.slider}
        )
        super().__init__([w.HBox(buttons), self.slider, view])

    def _repr_mimebundle_(self, **options):
        """Add the view of each mark for exported notebooks, which have no kernel."""
        page = "".join(_view(self.sets, value, name) for name, value in self.marks.items())
        return super()._repr_mimebundle_(**options) | {"text/html": page}


def readings(sets: dict, threshold: float) -> pd.DataFrame:
    """Return a row a set: how many reals and fakes are called fake, and recalls with intervals.

    Recalls are text with their 95 % interval; cells are empty where a set lacks the class.
    """
    rows = [{"test_set": name} | metrics.score_table(*sets[name], threshold) for name in sets]
    rows = pd.DataFrame(rows)
    table = metrics.summary(rows, ("recall_real", "recall_fake"))
    for place, kind, count in ((1, "real", "fp"), (3, "fake", "tp")):
        called = rows[count].where(rows[f"n_{kind}"] > 0, "").to_numpy()
        table.insert(place, f"{kind}s called fake", called)
    return table


def _view(sets: dict, threshold: float, name: str = "threshold") -> str:
    """Return the histograms and the readings at a threshold as HTML."""
    figure = score_histogram(sets, threshold, title=f"{name}: {threshold:.3f}")
    image = base64.b64encode(to_png(figure)).decode()
    alt, table = html.escape(alt_text(figure)), readings(sets, threshold).to_html(border=0)
    return f'<img width="760" alt="{alt}" src="data:image/png;base64,{image}">{table}'
