"""What may stand in which split: no copy twice, no picture and no person on both sides.

These functions work on plain tables (columns of `ddlib.data.manifest`) and always say who left and why.

The table of images: which file, real or fake, made by whom, for which split.

Everything after this module works on manifests, never on folder names. A manifest's rows are
checked when it is made, and nothing leaves it in silence: what is excluded is listed with its
reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pathlib import PurePosixPath
from pathlib import PureWindowsPath
import hashlib
import numpy as np
import os
import pandas as pd
from ddlib._io import atomic_write
from ddlib.data.inventory import FACTS, read_facts
from ddlib.protocol import LABELS

SPLITS = ("train", "valid", "test")


SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}


DUPLICATE, LEAK = "exact duplicate of", "same person as"  # how these reasons to excluded begin


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

    Pictures listed under both labels are not dropped: `ddlib.data.manifest.check` reports them.

    Returns
    -------
    pandas.DataFrame, pandas.DataFrame
        The rows that stay, and path and reason of those that do not.
    """
    key = ["sha256", "split", "label"]
    again = table.duplicated(key)
    first = table.groupby(key, dropna=False)["path"].transform("first")
    return table[~again], exclude(table[again], [f"{DUPLICATE} {path}" for path in first[again]])


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
    return table.drop(leak.index), exclude(leak, reasons)


def exclude(rows: pd.DataFrame, reason) -> pd.DataFrame:
    """Return the table of path and reason; one reason for all rows or one each."""
    reason = reason if isinstance(reason, str) else list(reason)
    return pd.DataFrame({"path": list(rows["path"]), "reason": reason}, dtype=object)


def hash_fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


COLUMNS = ("path", "label", "source", "split", "identity", "crop_share", *FACTS)


TWICE = "listed twice"  # how this reason to excluded begins


_GIVEN = ("path", "label", "source", "split")


_TEXT = ("path", "label", "source", "split", "identity", "format", "sha256")


@dataclass(frozen=True, eq=False)
class Manifest:
    """Images under one folder and what is known of each.

    Parameters
    ----------
    root : Path
        The folder that all paths are relative to.
    table : pandas.DataFrame
        One row an image, with `COLUMNS`: path (forward slashes), label ("real" or "fake"), source
        (who made it), split ("train", "valid" or "test"), identity (images that share one never
        straddle splits; missing where unknown), crop_share (share of the centred square that is kept, 1.0
        = all), width and height in pixels, format, bytes, jpeg_quality (missing unless JPEG) and
        sha256.

    Raises
    ------
    ManifestError
        If columns are missing.
    """

    root: Path
    table: pd.DataFrame

    def __post_init__(self):
        """Keep the columns in their order and number the rows from 0."""
        _require(self.table, COLUMNS, f"the manifest of {self.root}")
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "table", self.table[list(COLUMNS)].reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """The labels as (N,) int64: 0 real, 1 fake."""
        return self.table["label"].map(LABELS).to_numpy(dtype=np.int64)

    @property
    def paths(self) -> list[Path]:
        """The files, root included."""
        return [self.root / path for path in self.table["path"]]

    def select(self, source=None, split=None, label=None) -> Manifest:
        """Return the rows of the given source(s), split(s) and label(s); each a word or a list.

        A source that is not there selects nothing; a split or label that cannot exist is an error.
        """
        keep = pd.Series(True, index=self.table.index)
        known = {"source": None, "split": SPLITS, "label": tuple(LABELS)}
        for column, wanted in {"source": source, "split": split, "label": label}.items():
            if wanted is None:
                continue
            words = [wanted] if isinstance(wanted, str) else list(wanted)
            if known[column] and set(words) - set(known[column]):
                raise ManifestError(
                    f"{column}={wanted!r} is not known; choose from {', '.join(known[column])}"
                )
            keep &= self.table[column].isin(words)
        return Manifest(self.root, self.table[keep])

    def sample(self, n: int, seed: int = 0) -> Manifest:
        """Return `n` rows in their old order; with one seed, a smaller sample is part of a larger.

        Which rows are drawn depends on their content hash alone, not on order or on other rows.
        """
        if not 0 <= n <= len(self):
            raise ManifestError(f"cannot draw {n} images of {len(self)}")
        rank = np.argsort(
            [hash_fraction(f"{seed}:{sha}") for sha in self.table["sha256"]], kind="stable"
        )
        return Manifest(self.root, self.table.iloc[np.sort(rank[:n])])

    def concat(self, other: Manifest) -> Manifest:
        """Return the rows of both; they must share their root."""
        if self.root.resolve() != other.root.resolve():
            raise ManifestError(
                f"manifests of two roots cannot be joined: {self.root} and {other.root}"
            )
        return Manifest(self.root, pd.concat([self.table, other.table]))

    def digest(self) -> str:
        """Return the SHA-256 of what was learnt from, whatever the order: the hash of the data."""
        columns = ["path", "label", "source", "split", "sha256"]
        rows = sorted("\t".join(map(str, row)) for row in self.table[columns].to_numpy())
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def save(self, csv) -> None:
        """Write the table as CSV, whole or not at all."""
        with atomic_write(Path(csv)) as unfinished:
            self.table.to_csv(unfinished, index=False, encoding="utf-8")

    @classmethod
    def load(cls, csv, root) -> Manifest:
        """Read a table that `save` wrote and check it; the images themselves are not read."""
        manifest = cls(Path(root), read_table(csv, COLUMNS))
        check_manifest(manifest)
        return manifest


def read_table(csv, required) -> pd.DataFrame:
    """Read a CSV of images; text stays text ("00012" is no number), empty fields are missing."""
    try:
        names = list(pd.read_csv(csv, nrows=0).columns)
        _require(pd.DataFrame(columns=names), required, os.fspath(csv))
        text = {name: str for name in names if name in _TEXT}
        empty = {name: [""] for name in names}
        return pd.read_csv(csv, dtype=text, keep_default_na=False, na_values=empty)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ManifestError(f"{os.fspath(csv)}: not readable as CSV ({error})") from error


def build_manifest(files, root, cache=None, workers=None, progress=False, seed=0):
    """Read every file and make the manifest of those that are sound.

    Parameters
    ----------
    files : pandas.DataFrame or sequence of dict
        path (relative to `root`, forward slashes), label, source, split; optional identity, crop_share
        and sha256. Where split is missing it is drawn by identity (`split_by_identity`); where
        sha256 is given, a file of another content is excluded.
    root : path-like
    cache, workers, progress
        As in `ddlib.data.inventory.read_facts`.
    seed : int
        For the splits that are drawn.

    Returns
    -------
    Manifest
        The sound images; exact duplicates within a split are there once.
    pandas.DataFrame
        What was excluded: path and reason. Its rows and the manifest's add up to `files`.

    Raises
    ------
    ManifestError
        If a column is missing, a label or split is no known word, or a path leaves the root.
    """
    files = pd.DataFrame(files, columns=None if len(files) else list(_GIVEN))
    _require(files, _GIVEN, f"the files of {os.fspath(root)}")
    files = files.reset_index(drop=True)
    files = files.assign(
        identity=files.get("identity", np.nan),
        crop_share=pd.to_numeric(files.get("crop_share", pd.Series(1.0, index=files.index))).fillna(1.0),
    )
    _check_words(files.assign(split=files["split"].fillna("train")))
    _check_inside(files["path"])
    twice = files["path"].duplicated()
    aside = [exclude(files[twice], f"{TWICE}; the first row is kept")]
    files = files[~twice]
    facts = read_facts(root, list(files["path"]), cache, workers, progress)
    facts.index = files.index
    problem = facts["problem"].astype(object)
    if "sha256" in files:
        changed = files["sha256"].notna() & (files["sha256"] != facts["sha256"]) & problem.isna()
        problem[changed] = "content differs from the listed sha256; fetch it again or list it anew"
    aside.append(exclude(files[problem.notna()], problem.dropna()))
    table = files.drop(columns="sha256", errors="ignore").join(facts.drop(columns="path"))
    table, duplicates = _split(table[problem.isna()], seed)
    table, again = drop_duplicates(table)
    aside = pd.concat([*aside, duplicates, again], ignore_index=True)
    return Manifest(Path(root), table[list(COLUMNS)]), aside


def _split(table: pd.DataFrame, seed: int):
    """Draw the splits that are missing, first of each content once: a copy must not straddle."""
    drawn = table["split"].isna()
    if not drawn.any():
        return table, exclude(table[:0], "")
    single, duplicates = drop_duplicates(table[drawn])
    single = split_by_identity(single, seed=seed)
    return pd.concat([table[~drawn], single]).sort_index(), duplicates


def check_manifest(manifest: Manifest) -> None:
    """Raise if a manifest is not fit for use.

    Raises
    ------
    ManifestError
        On a label or split that is no known word, a path outside the root, or the same picture in
        two splits or under two labels; the message names the files.
    """
    _check_words(manifest.table)
    _check_inside(manifest.table["path"])
    grouped = manifest.table.groupby("sha256")
    for column in ("split", "label"):
        mixed = manifest.table[grouped[column].transform("nunique") > 1]
        if len(mixed):
            mixed = mixed.sort_values(["sha256", "path"])
            rows = [f"{row.path} ({getattr(row, column)})" for row in mixed.itertuples()]
            raise ManifestError(
                f"the same picture has more than one {column}: {_some(rows)}; "
                "remove all but one of each"
            )


def _check_words(table: pd.DataFrame) -> None:
    for column, known in {"label": tuple(LABELS), "split": SPLITS}.items():
        wrong = table[~table[column].isin(known)]
        if len(wrong):
            rows = [f"{row.path} ({getattr(row, column)!r})" for row in wrong.itertuples()]
            raise ManifestError(
                f"{column} must be one of {', '.join(known)}; not so: {_some(rows)}"
            )


def _check_inside(paths: pd.Series) -> None:
    outside = [path for path in paths if not _is_inside(path)]
    if outside:
        raise ManifestError(
            f"outside the data root: {_some(outside)}; paths are relative to it, without '..'"
        )


def _is_inside(path) -> bool:
    """Whether a path stays under its root on every system; drives and backslashes are Windows's."""
    if not isinstance(path, str) or not path:
        return False
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    return not (posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts)


def _require(table: pd.DataFrame, names, what: str) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ManifestError(
            f"{what} has no column {', '.join(missing)}; needed: {', '.join(names)}"
        )


def _some(rows: list, most: int = 6) -> str:
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(rows[:most]) + more
