"""Results as text: intervals in words, short tables."""

import re

import pandas as pd
import pytest

from ddlib.metrics.format import MEASURES, percent, styled, summary


@pytest.mark.parametrize(("flag", "ending"), [(True, " reaches the model"), (False, "")])
def test_a_summary_leaves_empty_what_a_single_class_lacks(flag, ending):
    row = {"test_set": "sd21", "n_real": 0, "n_fake": 4}
    row |= {"metadata_auc": 0.9, "metadata_auc_reaches_model": flag}
    for measure in MEASURES:
        value = 0.5 if measure == "recall_fake" else float("nan")
        row |= {measure: value, f"{measure}_low": 0.15, f"{measure}_high": 0.85}
    table = summary(pd.DataFrame([row]))
    assert table.loc["Stable Diffusion 2.1", "recall of fakes"] == "0.500 [0.150, 0.850]"
    assert table.loc["Stable Diffusion 2.1", "accuracy"] == ""
    assert percent(0.5, 0.404, 0.596) == "50 % (95 % interval 40 to 60 %)"
    assert percent(float("nan"), 0, 1) == "not measured"
    assert table.loc["Stable Diffusion 2.1", "blind null AUC"] == "0.900" + ending


def test_a_notebook_shows_words_flush_left_and_no_index():
    table = pd.DataFrame({"set": ["GAN faces"], "n": [1728], "share": [0.12345]}, index=["row 7"])
    html = styled(table).to_html()
    assert "row 7" not in html and "0.123<" in html and "1,728<" in html
    assert re.findall(r"td\.col(\d)[^}]*text-align: left", html) == ["0"]
