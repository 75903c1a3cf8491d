"""False accusations by age, sex and group: how often a photograph of UTKFace is called fake.

UTKFace's file names begin with age, sex and group, such as ``25_1_2_``. These labels were estimated
by a program and checked by people; they are no facts about the persons shown, and the five words
for a group are the data set's own.
"""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from ddlib.metrics.intervals import wilson
from ddlib.metrics.roc_auc import refuse_nan

SOURCE = "utkface"
AGES = ("0 to 2", "3 to 12", "13 to 19", "20 to 39", "40 to 59", "60 and over")
FIRST_YEARS = (0, 3, 13, 20, 40, 60)  # of each age band
SEXES = ("male", "female")
GROUPS = ("White", "Black", "Asian", "Indian", "Others")


def utkface_labels(table: pd.DataFrame) -> pd.Series:
    """Return "age_sex_group" of each row of a manifest's table that UTKFace names so, else NaN."""
    names = table["path"].map(lambda path: PurePosixPath(path).name)
    found = names.str.extract(r"^(\d{1,3}_[01]_[0-4])_", expand=False)
    return found.where(table["source"] == SOURCE)


def false_accusations(labels: pd.Series, scores, threshold: float = 0.5) -> pd.DataFrame:
    """Return the share of photographs called fake, by age band, sex and group.

    Parameters
    ----------
    labels : (N,) Series
        As of `utkface_labels`; rows without one are left out.
    scores : (N,) array
        P(fake) of the same photographs; from `threshold` upward one is called fake.

    Returns
    -------
    DataFrame
        by ("all", "age", "sex", "group"), value, n, called_fake, and share with its 95 % Wilson
        interval (low, high). Values without a photograph are left out.

    Raises
    ------
    ValueError
        If no photograph has a label, or a score is NaN.
    """
    known = labels.notna().to_numpy()
    if not known.any():
        raise ValueError("no photograph has a label of age, sex and group, as UTKFace names it")
    scores = np.asarray(scores, float)[known]
    refuse_nan(scores)
    called = pd.Series(scores >= threshold)
    age, sex, group = labels[known].str.split("_", expand=True).astype(int).to_numpy().T
    values = {
        "all": pd.Categorical(["all"] * len(called)),
        "age": pd.cut(age, [*FIRST_YEARS, np.inf], right=False, labels=AGES),
        "sex": pd.Categorical.from_codes(sex, SEXES),
        "group": pd.Categorical.from_codes(group, GROUPS),
    }
    rows = []
    for by, column in values.items():
        for value, part in called.groupby(column, observed=True):
            k, n = int(part.sum()), len(part)
            low, high = wilson(k, n)
            row = {"by": by, "value": value, "n": n, "called_fake": k}
            rows.append(row | {"share": k / n, "low": low, "high": high})
    return pd.DataFrame(rows)
