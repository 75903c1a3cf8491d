"""Results in words: the sentences and short tables that notebooks show."""

from __future__ import annotations

import pandas as pd

MEASURES = ("accuracy", "recall_real", "recall_fake", "auc")


def percent(value: float, low: float, high: float) -> str:
    """Return a share with its 95 % interval in words.

    Examples
    --------
    >>> percent(0.03, 0.011, 0.084)
    '3 % (95 % interval 1 to 8 %)'
    """
    if pd.isna(value):
        return "not measured"
    low, high = 100 * low, 100 * high
    return f"{100 * value:.0f} % (95 % interval {low:.0f} to {high:.0f} %)"


def format_table(rows: pd.DataFrame, measures=MEASURES) -> pd.DataFrame:
    """Return rows of a result table for reading: counts, then measures with 95 % intervals.

    A measure that a set does not have (accuracy and AUC of a single class) is left empty.

    Parameters
    ----------
    rows : DataFrame
        Columns as in ``runs/<tier>/results.csv``.
    measures : sequence of str

    Returns
    -------
    DataFrame of str and int, a line for each row, headed by its test set
    """
    table = pd.DataFrame({"reals": rows["n_real"].astype(int), "fakes": rows["n_fake"].astype(int)})
    for name in measures:
        parts = rows[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
        table[name.replace("_", " of ") + "s" * name.startswith("recall")] = [
            "" if pd.isna(part[0]) else with_interval(*part) for part in parts
        ]
    if "metadata_auc" in rows:
        table["blind null AUC"] = [_null(row) for row in rows.to_dict("records")]
    table.index = pd.Index(rows["test_set"], name="test set")
    return table


def _null(row: dict) -> str:
    if pd.isna(row["metadata_auc"]):
        return ""
    reached = str(row["metadata_auc_reaches_model"]) == "True"
    return f"{row['metadata_auc']:.3f}" + (" reaches the model" if reached else "")


def with_interval(value: float, low: float, high: float) -> str:
    """Return a proportion and its interval as text: ``0.941 [0.938, 0.944]``."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
