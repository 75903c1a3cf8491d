"""Bars of what models cost."""

import numpy as np
import pandas as pd
import pytest

from ddlib.viz.results import bars

TABLE = pd.DataFrame(
    {
        "condition": ["large", "small"],
        "megabytes": [8.0, 2.5],
        "percent": [np.nan, 1.5],
        "percent_low": [np.nan, 0.5],
        "percent_high": [np.nan, 3.0],
    }
)


def test_a_panel_a_measure_and_a_bar_a_model_from_the_top():
    figure = bars(TABLE, "condition", {"megabytes": "MB", "percent": "%"}, {"percent": 1}, "Title")
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [8.0, 2.5]
    assert [label.get_text() for label in left.get_yticklabels()] == ["large", "small"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row is on top
    assert [text.get_text() for text in left.texts] == ["8", "2.5"]
    assert [text.get_text() for text in right.texts] == ["1.5"]  # nothing is said where nothing is
    assert right.texts[0].xy == (3.0, 1)  # beyond the interval
    assert right.get_xlabel() == "%\n(dashed: goal 1)" and left.get_xlabel() == "MB"
    assert right.lines[0].get_xdata()[0] == 1 and not left.lines


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="panels is empty"):
        bars(TABLE, "condition", {})
