import pandas as pd
import pytest

from ddlib import wording


def test_a_banner_says_what_kind_of_images_made_the_numbers():
    assert "simulated" in wording.banner("toy")
    assert "small form" in wording.banner("toy-small")
    assert "small form" not in wording.banner("toy")
    assert wording.banner("real-data").startswith("> **Real images**")


def test_shares_are_told_with_their_interval():
    assert wording.percent(0.5, 0.404, 0.596) == "50 % (95 % interval 40 to 60 %)"
    assert wording.percent(float("nan"), 0, 1) == "not measured"


@pytest.mark.parametrize(("flag", "ending"), [(True, " reaches the model"), (False, "")])
def test_a_shown_table_leaves_empty_what_a_single_class_does_not_have(flag, ending):
    row = {"test_source": "sd21", "n_real": 0, "n_fake": 4, "null_auc": 0.9, "null_flag": flag}
    for measure in wording.MEASURES:
        value = 0.5 if measure == "recall_fake" else float("nan")
        row |= {measure: value, f"{measure}_low": 0.15, f"{measure}_high": 0.85}
    table = wording.shown(pd.DataFrame([row]))
    assert table.loc["sd21", "recall of fakes"] == "0.500 [0.150, 0.850]"
    assert table.loc["sd21", "accuracy"] == ""
    assert table.loc["sd21", "blind null AUC"] == "0.900" + ending
