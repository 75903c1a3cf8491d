"""The study's own numbers, and the rule by which ours are set beside them.

The numbers are those of "Deepfake Facial Imagery Detection" (course project, 2024; A. Zhang,
A. Jin, A. Xiang), read from its reports (rep) or its notebooks' output (nb).
"""

from __future__ import annotations

import pandas as pd

# Ours agrees with the study's if the study's figure lies in our 95 % interval widened by this much
# on both sides: the images are other ones, and fewer.
TOLERANCE = 0.05


_TABLE_1 = {  # accuracy on half real, half fake (rep)
    "gan": {"gan": 0.941, "gan+ela": 0.834, "gan+sd": 0.860, "gan+sd+ela": 0.793},
    "sd": {"gan": 0.516, "gan+ela": 0.50, "gan+sd": 0.98, "gan+sd+ela": 1.000},
}


_TABLE_2 = {  # fakes only: recall of fakes (rep)
    "sd15": {"gan": 0.015, "gan+ela": 0.0, "gan+sd": 1.0, "gan+sd+ela": 1.0},
    "sd21": {"gan": 0.015, "gan+ela": 0.0, "gan+sd": 1.0, "gan+sd+ela": 1.0},
    "sdxl": {"gan": 0.030, "gan+ela": 0.0, "gan+sd": 1.0, "gan+sd+ela": 1.0},
}


# The study reports accuracy on 54 fakes and 1 real as 0.0182 = 1 of 55. Whether the one right
# answer was the real photo or a fake is not said, so the recall of its fakes is 0 or 1 of 54.
_ELSEWHERE = [
    ("cats", "gan", "recall_fake", 0.0182, 55, "rep: 54 fakes and 1 real counted together"),
    ("ciplab", "gan", "accuracy", 0.5326, 2041, "rep"),
]


# Our toy generators that stand for the study's sets.
STANDS_FOR = {
    "sim-sd512": "sd15",
    "sim-sd768": "sd21",
    "sim-sd1024": "sdxl",
}


def reference_table() -> pd.DataFrame:
    """Return the study's numbers: table, test_set, condition, measure, value, n, read_in."""
    rows = [
        ("Table 1", source, model, "accuracy", value, None, "rep")
        for source, values in _TABLE_1.items()
        for model, value in values.items()
    ]
    rows += [
        ("Table 2", source, model, "recall_fake", value, 200, "rep")
        for source, values in _TABLE_2.items()
        for model, value in values.items()
    ]
    rows += [("Elsewhere", *row) for row in _ELSEWHERE]
    columns = ["table", "test_set", "condition", "measure", "study", "study_n", "read_in"]
    return pd.DataFrame(rows, columns=columns)


def compare_with_study(results: pd.DataFrame) -> pd.DataFrame:
    """Set our results beside the study's numbers, with a verdict each.

    Parameters
    ----------
    results : DataFrame
        Rows of one tier and one protocol, columns as in ``runs/<tier>/results.csv``.

    Returns
    -------
    DataFrame
        The study's rows with ``ours``, ``low``, ``high``, ``n``, ``our_source`` and ``verdict``:
        "reproduced", "not reproduced" or "not run". The rule is `TOLERANCE`.
    """
    ours = {}
    for row in results.to_dict("records"):
        ours[STANDS_FOR.get(row["test_set"], row["test_set"]), row["condition"]] = row
    return pd.DataFrame([_compare(row, ours) for row in reference_table().to_dict("records")])


def _compare(row: dict, ours: dict) -> dict:
    measure = row["measure"]
    mine = ours.get((row["test_set"], row["condition"]))
    if mine is None or pd.isna(mine[measure]):
        return {**row, "verdict": "not run"}
    low, high = mine[f"{measure}_low"], mine[f"{measure}_high"]
    agrees = low - TOLERANCE <= row["study"] <= high + TOLERANCE
    n = mine["n_fake"] + (mine["n_real"] if measure == "accuracy" else 0)
    return {
        **row,
        "our_source": mine["test_set"],
        "ours": mine[measure],
        "low": low,
        "high": high,
        "n": int(n),
        "verdict": "reproduced" if agrees else "not reproduced",
    }
