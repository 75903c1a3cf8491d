"""The threshold slider without a browser: what it counts, how it moves, what it rejects."""

import pytest

from ddlib import metrics
from ddlib.viz import threshold as module
from ddlib.viz.threshold import ThresholdSlider

SETS = {
    "known": ([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.45, 0.7, 0.4, 0.9]),
    "fakes <only>": ([1, 1, 1], [0.05, 0.55, 1.0]),
}
MARKS = {"Youden": 0.7, "1 % false alarms": 1.0000001}


def test_moving_the_slider_shows_its_threshold(monkeypatch):
    slider, shown = ThresholdSlider(SETS, 0.5, MARKS), []
    monkeypatch.setattr(module, "display", lambda page: shown.append(page.data))
    slider.slider.value = 0.8
    slider.children[0].children[1].click()
    assert slider.slider.value == 1.0000001  # above 1, so that nothing is called fake
    assert ["threshold: 0.800" in page for page in shown] == [True, False]
    assert "threshold: 1.000" in shown[-1]


def test_an_exported_page_shows_the_view_of_every_mark():
    bundle = ThresholdSlider(SETS, 0.5, MARKS)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    page = bundle["text/html"]
    assert "Youden: 0.700" in page and "1 % false alarms: 1.000" in page
    assert page.count("<img") == page.count("<table") == 2
    assert "fakes &lt;only&gt;" in page and "<only>" not in page
    reals, fakes = metrics.wilson(3, 4), metrics.wilson(1, 3)  # at the threshold: called fake
    assert metrics.with_interval(0.75, *reals) in page
    assert metrics.with_interval(1 / 3, *fakes) in page


def test_invalid_scores_are_named():
    with pytest.raises(ValueError, match=r"score 7\.0"):
        ThresholdSlider({"x": ([0, 1], [0.1, 7])})
