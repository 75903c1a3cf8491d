"""The threshold slider without a browser: what it counts, how it moves, what it says of errors."""

import re

import numpy as np
import pytest
from IPython.display import HTML

from ddlib.metrics.format import with_interval
from ddlib.metrics.intervals import wilson
from ddlib.viz import threshold as threshold_module
from ddlib.viz.style import headless
from ddlib.viz.threshold import ThresholdSlider, readings, static

SETS = {
    "known": ([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.45, 0.7, 0.4, 0.9]),
    "fakes <only>": ([1, 1, 1], [0.05, 0.55, 1.0]),
}
MARKS = {"Youden": 0.42, "1 % false alarms": 1.0000001}


def shown(html):
    """Return the words of a page, without its tags."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL).split())


class TestReadings:
    def test_counts_by_hand(self):
        known, fakes = readings(SETS, 0.5).to_dict("records")
        assert (known["reals"], known["reals called fake"]) == ("4", "1")
        assert known["recall of reals"] == with_interval(0.75, *wilson(3, 4))
        assert (known["fakes"], known["fakes called fake"]) == ("2", "1")
        assert known["recall of fakes"] == with_interval(0.5, *wilson(1, 2))
        assert (fakes["fakes called fake"], fakes["fakes"]) == ("2", "3")

    def test_what_a_set_does_not_have_is_left_empty(self):
        fakes = readings(SETS, 0.5).loc["fakes <only>"]
        assert [fakes[k] for k in ("reals", "reals called fake", "recall of reals")] == [""] * 3

    def test_a_score_at_the_threshold_is_called_fake(self):
        assert readings(SETS, 0.7).loc["known", "reals called fake"] == "1"
        assert readings(SETS, 0.7001).loc["known", "reals called fake"] == "0"
        assert readings(SETS, 1.0).loc["fakes <only>", "fakes called fake"] == "1"
        assert readings(SETS, 1.0000001).loc["fakes <only>", "fakes called fake"] == "0"


class TestPage:
    def test_bars_are_filled_from_the_threshold_upward(self):
        def filled(threshold):
            page = threshold_module.page(SETS, threshold)
            return len(re.findall(r'<rect [^>]*fill="#', page)), page.count("<rect")

        # nine scores in nine bins of their own; a bar that is called fake is drawn once more
        assert filled(0) == (9, 18)
        assert filled(0.5) == (4, 13)
        assert filled(1.1) == (0, 9)

    def test_names_are_words_and_no_markup(self):
        page = threshold_module.page(SETS, 0.5, "<b>")
        assert "fakes &lt;only&gt;" in page and "<only>" not in page
        assert "&lt;b&gt;: 0.500" in page

    def test_the_line_stands_at_the_threshold(self):
        def line(threshold):
            page = threshold_module.page(SETS, threshold)
            return float(re.search(r'<path d="M([\d.]+) 0V', page)[1])

        left, middle, right = (line(t) for t in (0, 0.5, 1))
        assert middle == pytest.approx((left + right) / 2)
        assert line(1.0000001) == right  # nothing is drawn outside the axis


class TestSlider:
    def test_moving_changes_the_page_in_place(self):
        slider = ThresholdSlider(SETS, 0.5, MARKS)
        page = slider.page
        assert page.value == threshold_module.page(SETS, 0.5)
        slider.slider.value = 0.8
        assert slider.page is page and slider.page.value == threshold_module.page(SETS, 0.8)
        assert len(slider.box.children) == 4  # and nothing piles up

    def test_a_rule_jumps_and_the_hand_leaves_it(self):
        slider = ThresholdSlider(SETS, 0.5, MARKS)
        slider.rule.value = "1 % false alarms"
        assert slider.slider.value == 1.0000001  # above 1, so that nothing is called fake
        assert "1 % false alarms: 1.000" in slider.page.value
        slider.rule.value = "Youden"
        assert slider.slider.value == 0.42
        assert "Youden: 0.420" in slider.page.value
        slider.slider.value = 0.3
        assert slider.rule.value == ""
        assert "threshold: 0.300" in slider.page.value

    def test_a_rule_at_the_same_place_is_named_too(self):
        slider = ThresholdSlider(SETS, 0.5, {"half": 0.5})
        slider.rule.value = "half"
        assert "half: 0.500" in slider.page.value

    def test_an_error_is_a_sentence_and_the_next_move_clears_it(self, monkeypatch):
        slider = ThresholdSlider(SETS)
        before = slider.page.value

        def fail(*given):
            raise ValueError("the scores <went> away")

        monkeypatch.setattr(threshold_module, "page", fail)
        slider.slider.value = 0.6
        assert "The scores &lt;went&gt; away." in slider.error.value
        assert 'role="alert"' in slider.error.value and "Traceback" not in slider.error.value
        assert slider.page.value == before
        monkeypatch.undo()
        slider.slider.value = 0.7
        assert slider.error.value == ""
        assert "threshold: 0.700" in slider.page.value

    def test_exported_pages_get_the_twin(self):
        slider = ThresholdSlider(SETS, 0.5, MARKS)
        bundle = slider._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert bundle["text/html"] == static(SETS, 0.5, MARKS).data


class TestTwin:
    def test_a_headless_run_gets_the_twin_and_a_person_the_slider(self, monkeypatch):
        assert isinstance(threshold_module.show(SETS, 0.5, MARKS), HTML)  # no kernel here
        monkeypatch.setattr(threshold_module, "headless", lambda: False)
        assert isinstance(threshold_module.show(SETS, 0.5, MARKS), ThresholdSlider)

    @pytest.mark.parametrize("asks", [True, False])
    def test_who_lets_a_cell_ask_questions_is_a_person(self, monkeypatch, asks):
        class Kernel:
            def get_parent(self, channel):
                return {"content": {"allow_stdin": asks}}

        class Shell:
            kernel = Kernel()

        monkeypatch.setattr("IPython.get_ipython", Shell)
        assert headless() is not asks

    def test_it_holds_every_mark(self):
        words = shown(static(SETS, 0.5, MARKS).data)
        assert "Youden: 0.420" in words and "1 % false alarms: 1.000" in words
        assert words.count("known 4") == 2
        assert "threshold: 0.300" in shown(static(SETS, 0.3).data)


@pytest.mark.parametrize("show", [static, ThresholdSlider])
@pytest.mark.parametrize(
    ("sets", "threshold", "message"),
    [
        ({}, 0.5, "no set of scores"),
        ({"x": ([0, 1], [0.1, 7])}, 0.5, r"set 'x': score 7.0"),
        ({"x": ([0, 1], [0.1])}, 0.5, r"set 'x': 2 labels but 1 scores"),
        (SETS, -0.1, r"threshold=-0.1 cannot be"),
        (SETS, np.nan, r"threshold=nan cannot be"),
    ],
)
def test_what_cannot_be_shown_is_named(show, sets, threshold, message):
    with pytest.raises(ValueError, match=message):
        show(sets, threshold)


def test_a_mark_that_cannot_be_is_named():
    with pytest.raises(ValueError, match="Youden=-1 cannot be"):
        ThresholdSlider(SETS, 0.5, {"Youden": -1})
