"""What may stand in which split: no copy twice, no picture and no person on both sides.

These functions work on plain tables (columns of `ddlib.manifest`) and always say who left and why.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

SPLITS = ("train", "valid", "test")
SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}
DUPLICATE, LEAK = "exact duplicate of", "same person as"  # how these reasons to set aside begin


class ManifestError(ValueError):
    """A table of images that cannot be used; the message names the rows and what to do."""


def split_by_identity(table: pd.DataFrame, shares=None, seed: int = 0) -> pd.DataFrame:
    """Give each row a split such that rows of one identity never straddle two.

    An identity's split follows from the hash of its name alone: adding files moves no other. A row
    without identity stands for itself (its sha256). The shares are met on average, not exactly.

    Parameters
    ----------
    table : pandas.DataFrame
        With identity and sha256.
    shares : dict, optional
        Split to share, adding up to 1; by default `SHARES`.
    seed : int

    Returns
    -------
    pandas.DataFrame
        A copy with the column split.
    """
    shares = SHARES if shares is None else shares
    if set(shares) - set(SPLITS) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ManifestError(f"shares={shares!r}: give {', '.join(SPLITS)} shares that add up to 1")
    group = table["identity"].astype(object).where(table["identity"].notna(), table["sha256"])
    place = np.array([hash_fraction(f"{seed}:{name}") for name in group])
    edges = np.cumsum(list(shares.values()))[:-1]
    words = np.array(list(shares), dtype=object)
    return table.assign(split=words[np.searchsorted(edges, place, side="right")])


def drop_duplicates(table: pd.DataFrame):
    """Keep the first of each content within a split.

    Pictures listed under both labels are not dropped: `ddlib.manifest.check` reports them.

    Returns
    -------
    pandas.DataFrame, pandas.DataFrame
        The rows that stay, and path and reason of those that do not.
    """
    key = ["sha256", "split", "label"]
    again = table.duplicated(key)
    first = table.groupby(key, dropna=False)["path"].transform("first")
    return table[~again], set_aside(table[again], [f"{DUPLICATE} {path}" for path in first[again]])


def drop_shared_identities(table: pd.DataFrame):
    """Set aside training images of people who are also in valid or test, and valid ones in test.

    The splits that a data set came with are kept otherwise, so its test images never change.

    Returns
    -------
    pandas.DataFrame, pandas.DataFrame
        The rows that stay, and path and reason of those that do not.
    """
    known = table[table["identity"].notna()]
    order = known["split"].map({split: place for place, split in enumerate(SPLITS)})
    last = order.groupby([known["source"], known["identity"]]).transform("max")
    leak = known[order < last]
    reasons = [
        f"{LEAK} images of the {SPLITS[int(place)]} split ({identity})"
        for place, identity in zip(last[leak.index], leak["identity"], strict=True)
    ]
    return table.drop(leak.index), set_aside(leak, reasons)


def set_aside(rows: pd.DataFrame, reason) -> pd.DataFrame:
    """Return the table of path and reason; one reason for all rows or one each."""
    reason = reason if isinstance(reason, str) else list(reason)
    return pd.DataFrame({"path": list(rows["path"]), "reason": reason}, dtype=object)


def hash_fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
