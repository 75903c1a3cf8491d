"""False accusations by age, sex and group: how often a photograph of UTKFace is called fake.

UTKFace's file names begin with age, sex and group, such as ``25_1_2_``. These labels were estimated
by a program and checked by people; they are no facts about the persons shown, and the five words
for a group are the data set's own.
"""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from ddlib.metrics.intervals import wilson

SOURCE = "utkface"
BANDS = (0, 3, 13, 20, 40, 60, 200)  # years; each band ends before the next one's first year
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
        P(fake) of the same photographs.
    threshold : float
        A photograph is called fake from this score upward.

    Returns
    -------
    DataFrame
        by ("all", "age", "sex", "group"), value, n, called_fake, and share with its 95 % Wilson
        interval (low, high). Values without a photograph are left out.
    """
    called = pd.Series(np.asarray(scores, float) >= threshold, index=labels.index)[labels.notna()]
    age, sex, group = zip(*(map(int, text.split("_")) for text in labels.dropna()), strict=True)
    names = [f"{low} to {high - 1}" for low, high in zip(BANDS, BANDS[1:], strict=False)]
    names[-1] = f"{BANDS[-2]} and over"
    values = {
        "all": pd.Categorical(["all"] * len(called)),
        "age": pd.cut(age, BANDS, right=False, labels=names),
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
