import pandas as pd
import pytest

from ddlib.metrics.format import MEASURES, format_table, percent
from ddlib.study.study import banner


def test_a_banner_says_what_kind_of_images_made_the_numbers():
    assert "simulated" in banner("simulated")
    assert "small form" in banner("simulated-small")
    assert "small form" not in banner("simulated")
    assert banner("real-data").startswith("> **Real images**")


def test_shares_are_told_with_their_interval():
    assert percent(0.5, 0.404, 0.596) == "50 % (95 % interval 40 to 60 %)"
    assert percent(float("nan"), 0, 1) == "not measured"


@pytest.mark.parametrize(("flag", "ending"), [(True, " reaches the model"), (False, "")])
def test_a_shown_table_leaves_empty_what_a_single_class_does_not_have(flag, ending):
    row = {
        "test_set": "sd21",
        "n_real": 0,
        "n_fake": 4,
        "metadata_auc": 0.9,
        "metadata_auc_reaches_model": flag,
    }
    for measure in MEASURES:
        value = 0.5 if measure == "recall_fake" else float("nan")
        row |= {measure: value, f"{measure}_low": 0.15, f"{measure}_high": 0.85}
    table = format_table(pd.DataFrame([row]))
    assert table.loc["sd21", "recall of fakes"] == "0.500 [0.150, 0.850]"
    assert table.loc["sd21", "accuracy"] == ""
    assert table.loc["sd21", "blind null AUC"] == "0.900" + ending
