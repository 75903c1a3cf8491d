"""Shares of photographs called fake, by the labels in UTKFace's file names."""

import pandas as pd
import pytest

from ddlib.metrics.false_accusations import false_accusations, utkface_labels
from ddlib.metrics.intervals import wilson


def test_labels_are_read_from_utkface_s_names_only():
    paths = ["utkface/test/25_1_2_2017.jpg.chip.jpg", "lfw/25_1_2_x.jpg", "utkface/test/a.jpg"]
    table = pd.DataFrame({"path": paths, "source": ["utkface", "lfw", "utkface"]})
    assert utkface_labels(table).tolist()[0] == "25_1_2"
    assert utkface_labels(table).isna().tolist() == [False, True, True]


def test_shares_are_counted_by_hand():
    labels = pd.Series(["2_0_0", "25_1_2", "39_0_2", "40_1_0", "116_1_4", None])
    table = false_accusations(labels, [0.9, 0.5, 0.2, 0.1, 0.7, 0.9])
    found = table.set_index(["by", "value"])
    assert found.loc[("all", "all"), ["n", "called_fake"]].tolist() == [5, 3]
    assert found.loc[("age", "20 to 39"), ["n", "called_fake"]].tolist() == [2, 1]
    assert found.loc[("age", "60 and over"), "share"] == 1
    assert found.loc[("sex", "female"), "share"] == pytest.approx(2 / 3)
    assert found.loc[("group", "Asian"), ["low", "high"]].tolist() == list(wilson(1, 2))
    assert ("group", "Black") not in found.index
    for _by, part in table.groupby("by"):
        assert part["n"].sum() == 5 and part["called_fake"].sum() == 3
