"""The threshold slider without a browser: what it counts, how it moves, what it rejects."""

import numpy as np
import pytest
from IPython.display import HTML

from ddlib import metrics
from ddlib.viz import threshold as module
from ddlib.viz.style import headless
from ddlib.viz.threshold import readings, show_thresholds

SETS = {
    "known": ([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.45, 0.7, 0.4, 0.9]),
    "fakes <only>": ([1, 1, 1], [0.05, 0.55, 1.0]),
}
MARKS = {"Youden": 0.42, "1 % false alarms": 1.0000001}


@pytest.fixture
def slider(monkeypatch):
    monkeypatch.setattr(module, "headless", lambda: False)
    return show_thresholds(SETS, 0.5, MARKS)


def test_counts_by_hand():
    known, fakes = readings(SETS, 0.5).to_dict("records")
    assert (known["reals"], known["reals called fake"]) == (4, 1)
    assert known["recall of reals"] == metrics.with_interval(0.75, *metrics.wilson(3, 4))
    assert (known["fakes"], known["fakes called fake"]) == (2, 1)
    assert known["recall of fakes"] == metrics.with_interval(0.5, *metrics.wilson(1, 2))
    assert (fakes["fakes"], fakes["fakes called fake"]) == (3, 2)
    assert (fakes["reals called fake"], fakes["recall of reals"]) == ("", "")


def test_a_score_at_the_threshold_is_called_fake():
    assert readings(SETS, 0.7).loc["known", "reals called fake"] == 1
    assert readings(SETS, 0.7001).loc["known", "reals called fake"] == 0
    assert readings(SETS, 1.0).loc["fakes <only>", "fakes called fake"] == 1
    assert readings(SETS, 1.0000001).loc["fakes <only>", "fakes called fake"] == 0


def test_moving_the_slider_shows_its_threshold(slider, monkeypatch):
    shown = []
    monkeypatch.setattr(module, "display", lambda page: shown.append(page.data))
    slider.slider.value = 0.8
    slider.children[0].children[1].click()
    assert slider.slider.value == 1.0000001  # above 1, so that nothing is called fake
    assert ["threshold: 0.800" in page for page in shown] == [True, False]
    assert "threshold: 1.000" in shown[-1]


def test_exported_pages_get_the_static_views(slider):
    bundle = slider._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"] == slider.page.data


def test_a_headless_run_gets_the_view_of_every_mark_as_words():
    page = show_thresholds(SETS, 0.5, MARKS)  # no kernel here
    assert isinstance(page, HTML)
    assert "Youden: 0.420" in page.data and "1 % false alarms: 1.000" in page.data
    assert page.data.count("<img") == page.data.count("<table") == 2
    assert "fakes &lt;only&gt;" in page.data and "<only>" not in page.data
    assert "threshold: 0.300" in show_thresholds(SETS, 0.3).data


@pytest.mark.parametrize("asks", [True, False])
def test_a_program_that_runs_a_cell_answers_no_questions(monkeypatch, asks):
    class Kernel:
        def get_parent(self, channel):
            return {"content": {"allow_stdin": asks}}

    class Shell:
        kernel = Kernel()

    monkeypatch.setattr("IPython.get_ipython", Shell)
    assert headless() is not asks


@pytest.mark.parametrize(
    ("sets", "threshold", "marks", "message"),
    [
        ({}, 0.5, None, "no set of scores"),
        ({"x": ([0, 1], [0.1, 7])}, 0.5, None, r"set 'x': score 7.0"),
        ({"x": ([0, 1], [0.1])}, 0.5, None, r"set 'x': 2 labels but 1 scores"),
        (SETS, -0.1, None, r"threshold=-0.1 is no threshold"),
        (SETS, np.nan, None, r"threshold=nan is no threshold"),
        (SETS, 0.5, {"Youden": -1}, r"Youden=-1 is no threshold"),
    ],
)
def test_what_cannot_be_shown_is_named(sets, threshold, marks, message):
    with pytest.raises(ValueError, match=message):
        show_thresholds(sets, threshold, marks)
