"""What a threshold does: a slider over the scores, and static views where nobody can slide."""

import base64
import html

import ipywidgets as w
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
        Scores are P(fake); a set may hold one class only. ValueError if one is invalid.
    threshold : float
        Where the slider begins.
    marks : {name: threshold}, optional
        Thresholds to jump to, such as those that `ddlib.metrics.calibration` chose on valid.
    """

    def __init__(self, sets: dict, threshold: float = 0.5, marks: dict | None = None):
        for labels, scores in sets.values():
            metrics.check_scores(labels, scores)
        self.sets, self.marks = sets, marks or {"threshold": threshold}
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


def _view(sets: dict, threshold: float, name: str = "threshold") -> str:
    """Return the histograms and the recalls at a threshold as HTML."""
    figure = score_histogram(sets, threshold, title=f"{name}: {threshold:.3f}")
    image = base64.b64encode(to_png(figure)).decode()
    rows = [{"test_set": key} | metrics.score_table(*own, threshold) for key, own in sets.items()]
    table = metrics.summary(pd.DataFrame(rows), ("recall_real", "recall_fake")).to_html(border=0)
    alt = html.escape(alt_text(figure))
    return f'<img width="760" alt="{alt}" src="data:image/png;base64,{image}">{table}'
