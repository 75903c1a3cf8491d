"""The threshold slider without a browser: what it counts, how it moves, what it rejects."""

import numpy as np
import pytest

from ddlib import metrics
from ddlib.viz import threshold as module
from ddlib.viz.threshold import ThresholdSlider, readings

SETS = {
    "known": ([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.45, 0.7, 0.4, 0.9]),
    "fakes <only>": ([1, 1, 1], [0.05, 0.55, 1.0]),
}
MARKS = {"Youden": 0.42, "1 % false alarms": 1.0000001}


def test_counts_by_hand():
    known, fakes = readings(SETS, 0.5).to_dict("records")
    assert (known["reals"], known["reals called fake"]) == (4, 1)
    assert known["recall of reals"] == metrics.with_interval(0.75, *metrics.wilson(3, 4))
    assert (known["fakes"], known["fakes called fake"]) == (2, 1)
    assert (fakes["fakes"], fakes["fakes called fake"]) == (3, 2)
    assert (fakes["reals called fake"], fakes["recall of reals"]) == ("", "")
    assert readings(SETS, 0.7).loc["known", "reals called fake"] == 1  # at the threshold: fake
    assert readings(SETS, 0.7001).loc["known", "reals called fake"] == 0


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
    assert "Youden: 0.420" in page and "1 % false alarms: 1.000" in page
    assert page.count("<img") == page.count("<table") == 2
    assert "fakes &lt;only&gt;" in page and "<only>" not in page


@pytest.mark.parametrize(
    ("sets", "threshold", "marks", "message"),
    [
        ({}, 0.5, None, "no set of scores"),
        ({"x": ([0, 1], [0.1, 7])}, 0.5, None, r"set 'x': score 7.0"),
        (SETS, np.nan, None, r"threshold=nan is no threshold"),
        (SETS, 0.5, {"Youden": -1}, r"Youden=-1 is no threshold"),
    ],
)
def test_what_cannot_be_shown_is_named(sets, threshold, marks, message):
    with pytest.raises(ValueError, match=message):
        ThresholdSlider(sets, threshold, marks)
