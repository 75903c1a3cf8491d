"""Results in words: the sentences and short tables that notebooks show."""

from __future__ import annotations

import pandas as pd

from ddlib.report import with_interval
from ddlib.tiers import is_toy

MEASURES = ("accuracy", "recall_real", "recall_fake", "auc")


def banner(tier: str) -> str:
    """Return the line that heads every result of a tier, as Markdown."""
    if is_toy(tier):
        small = (
            " This is the small form: it checks that everything runs." if "small" in tier else ""
        )
        return (
            "> **Simulated images.** Camera and generators are simulated here. The numbers show "
            f"how the method behaves and say nothing about real generators.{small}"
        )
    return f"> **Real images**, tier `{tier}`."


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


def shown(rows: pd.DataFrame, measures=MEASURES) -> pd.DataFrame:
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
    if "null_auc" in rows:
        table["blind null AUC"] = [_null(row) for row in rows.to_dict("records")]
    table.index = pd.Index(rows["test_source"], name="test set")
    return table


def _null(row: dict) -> str:
    if pd.isna(row["null_auc"]):
        return ""
    reached = str(row["null_flag"]) == "True"
    return f"{row['null_auc']:.3f}" + (" reaches the model" if reached else "")
