"""The table of images: which file, real or fake, made by whom, in which split.

Everything after this module works on manifests, never on folder names. A manifest's rows are
checked when it is made, and what is left out is listed in `Manifest.excluded` with its reason.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd

from ddlib._utils import atomic_write, printable
from ddlib.data.inventory import FACTS, read_facts
from ddlib.protocol import LABELS

SPLITS = ("train", "valid", "test")
SPLIT_WORDS = {split: split for split in SPLITS}  # what folders and tables call them, in any case
SPLIT_WORDS |= {"training": "train", "val": "valid", "validation": "valid", "testing": "test"}
SPLIT_SHARES = {"valid": 0.1, "test": 0.2}  # where the split is drawn; the others train
SMALL_SOURCE = 10  # identities of a source from which its splits are drawn by themselves
GIVEN = ("path", "label", "source", "split")
OPTIONAL = ("identity", "crop_share", "sha256")  # what a table may state besides
COLUMNS = (*GIVEN, "identity", "crop_share", *FACTS)
NEEDED = COLUMNS[:-1]  # all but the perceptual hash, which simulated images lack
_TEXT = (*GIVEN, "identity", "format", "sha256", "phash")


class ManifestError(ValueError):
    """A table of images that cannot be used; the message names the rows and what to do."""


class MissingImagesError(ManifestError):
    """Images that a question needs and the folder lacks; a run of notebooks goes on without."""


class Reason(StrEnum):
    """Why a file is not part of a manifest."""

    BROKEN = "broken"  # missing, damaged, too small, or not the listed content: look at it
    LISTED_TWICE = "listed twice"
    DUPLICATE = "duplicate"  # the same content in the same split
    NEAR_COPY = "near-copy"  # a test image that shows the same as one of train or valid
    SAME_PERSON = "same person"  # a training image of somebody in valid or test
    NOT_LISTED = "not listed"  # in the folder, but not in its manifest.csv
    UNKNOWN_LAYOUT = "unknown layout"


@dataclass(frozen=True, eq=False)
class Manifest:
    """Images under one folder and what is known of each.

    Parameters
    ----------
    root : Path
        The folder that all paths are relative to.
    table : pandas.DataFrame
        One row an image, with `COLUMNS`: path (forward slashes), label ("real" or "fake"), source
        (who made it), split ("train", "valid" or "test"), identity (images that share one are in
        one split; missing where unknown), crop_share (share of the centred square that is kept, in
        (0, 1]), width and height in pixels, format, bytes, jpeg_quality (missing unless JPEG),
        sha256 and phash (`ddlib.images.phash`; missing where unknown, or of a flat picture).
    excluded : pandas.DataFrame
        Files that are left out: path, kind (a value of `Reason`) and reason (a sentence).

    Raises
    ------
    ManifestError
        If columns are missing.
    """

    root: Path
    table: pd.DataFrame
    excluded: pd.DataFrame = field(default_factory=lambda: exclude([], Reason.BROKEN, ""))

    def __post_init__(self):
        """Put the columns in order and number the rows from 0."""
        _require(self.table, NEEDED, f"the manifest of {self.root}")
        table = self.table.reindex(columns=list(COLUMNS)).reset_index(drop=True)
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "table", table)

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

        A source that is not there selects nothing; an unknown split or label raises ManifestError.
        """
        keep = pd.Series(True, index=self.table.index)
        known = {"split": SPLITS, "label": tuple(LABELS)}
        for column, wanted in {"source": source, "split": split, "label": label}.items():
            if wanted is None:
                continue
            words = [wanted] if isinstance(wanted, str) else list(wanted)
            if column in known and set(words) - set(known[column]):
                raise ManifestError(
                    f"{column}={wanted!r} is not known; choose from {', '.join(known[column])}"
                )
            keep &= self.table[column].isin(words)
        return Manifest(self.root, self.table[keep])

    def sample(self, n: int, seed: int = 0) -> Manifest:
        """Return up to `n` rows in their old order; a smaller sample is part of a larger one.

        Which rows are drawn depends on `seed` and their content hash, not on order or other rows.
        """
        if n < 0:
            raise ManifestError(f"cannot draw {n} images")
        drawn = [hash_fraction(f"{seed}:{sha}") for sha in self.table["sha256"]]
        chosen = np.argsort(drawn, kind="stable")[:n]
        return Manifest(self.root, self.table.iloc[np.sort(chosen)])

    def concat(self, other: Manifest) -> Manifest:
        """Return the rows of both; they must share their root."""
        if self.root.resolve() != other.root.resolve():
            raise ManifestError(
                f"manifests of two roots cannot be joined: {self.root} and {other.root}"
            )
        return Manifest(self.root, pd.concat([self.table, other.table]))

    def positions(self, part: Manifest) -> np.ndarray:
        """Return where the images of `part` stand among these, (N,) int; all must be there."""
        places = pd.Index(self.table["path"]).get_indexer(part.table["path"])
        if (places < 0).any():
            missing = part.table["path"].iloc[int(np.argmin(places))]
            raise ManifestError(f"{missing} is not among the {len(self)} images of {self.root}")
        return places

    def dataset(self, split: str, protocol, batch_size: int = 32, shuffle: bool | None = None):
        """Return a `tf.data.Dataset` of (image, label) batches, prepared by a protocol.

        Images are (N, S, S, 3) float32, 0 to 255; labels (N,) float32, 0 real and 1 fake. By
        default only "train" is shuffled, anew in every epoch.
        """
        from ddlib.data.loader import keras_dataset

        part = self.select(split=split)
        if not len(part):
            raise ManifestError(f"{self.root}: the split {split!r} has no images")
        shuffle = split == "train" if shuffle is None else shuffle
        return keras_dataset(part, protocol, batch_size, shuffle)

    def digest(self) -> str:
        """Return the SHA-256 of the rows' path, label, source, split and hash, in any order."""
        rows = sorted("\t".join(map(str, row)) for row in self.table[[*GIVEN, "sha256"]].to_numpy())
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def save(self, csv) -> None:
        """Write the table as CSV, atomically."""
        with atomic_write(Path(csv)) as unfinished:
            self.table.to_csv(unfinished, index=False, encoding="utf-8")

    @classmethod
    def load(cls, csv, root) -> Manifest:
        """Read a table that `save` wrote and check it; the images themselves are not read."""
        manifest = cls(Path(root), read_table(csv, NEEDED))
        check_manifest(manifest)
        return manifest


def read_table(csv, required) -> pd.DataFrame:
    """Read a CSV of images; text stays text ("00012" is no number), empty fields are missing."""
    name, text = os.fspath(csv), dict.fromkeys(_TEXT, str)
    try:
        table = pd.read_csv(csv, dtype=text, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        advice = "save it as comma-separated UTF-8"
        raise ManifestError(f"{name}: not readable as CSV ({error}); {advice}") from error
    _require(table, required, name)
    if twice := [column for column in required if f"{column}.1" in table]:
        raise ManifestError(f"{name} has two columns {twice[0]}; keep one")
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cells for row names
        raise ManifestError(f"{name}: its rows have more cells than its first line")
    return table.dropna(how="all")  # a row of commas alone


def build_manifest(files, root, cache=None, progress=False) -> Manifest:
    """Read every file and return the manifest of those that are sound.

    Parameters
    ----------
    files : pandas.DataFrame or sequence of dict
        path (relative to `root`), label, source, split; optional identity, crop_share and sha256.
        A blank source becomes that of another row of the file or the label, a blank split that of
        the same content elsewhere or one that `draw_splits` draws; where sha256 is given, a file of
        other content is excluded.
    root : path-like
    cache, progress
        As in `ddlib.data.inventory.read_facts`.

    Returns
    -------
    Manifest
        Exact duplicates within a split are there once. Its rows and those of its `excluded` add up
        to `files`.

    Raises
    ------
    ManifestError
        If a column is missing, a label, split or crop_share is none, a path leaves the root, or
        two rows of one file contradict each other.
    """
    files = _checked_rows(pd.DataFrame(files, columns=None if len(files) else GIVEN), Path(root))
    twice = files["path"].duplicated()
    again = exclude(files[twice]["path"], Reason.LISTED_TWICE, "listed twice")
    files = files[~twice]
    facts = read_facts(root, list(files["path"]), cache, progress).set_index(files.index)
    problem = facts["problem"].astype(object)
    no_text = [path != path.encode("utf-8", "replace").decode() for path in files["path"]]
    problem[no_text] = "its name is not UTF-8, so that no table could hold it; rename it"
    changed = files["sha256"].notna() & (files["sha256"] != facts["sha256"]) & problem.isna()
    problem[changed] = "content differs from the listed sha256; fetch it again or list it anew"
    broken = exclude(files["path"][problem.notna()], Reason.BROKEN, list(problem.dropna()))
    table = files[[*GIVEN, "identity", "crop_share"]].join(facts.drop(columns="path"))
    table = table[problem.isna()].astype(dict.fromkeys(("width", "height", "bytes"), int))
    table, drawn_twice = _fill_splits(table)
    table, duplicates = drop_duplicates(table)
    excluded = pd.concat([again, broken, drawn_twice, duplicates], ignore_index=True)
    return Manifest(Path(root), table, excluded)


def draw_splits(table: pd.DataFrame) -> pd.Series:
    """Return a split for each row: stratified by label and source, one identity in one split.

    Of each source of a label a fifth of the identities becomes test and a tenth valid; sources of
    fewer than `SMALL_SOURCE` identities are drawn together, at least one of each where there are
    three or more. A row without identity stands for itself. The draw depends on hashes, not on the
    order of rows; adding files can move others.

    Parameters
    ----------
    table : pandas.DataFrame
        With label, source, identity and sha256.

    Returns
    -------
    pandas.Series of str, indexed as `table`
    """
    identity = table["identity"].astype(object).where(table["identity"].notna(), table["sha256"])
    groups = table[["label", "source"]].assign(name=identity).drop_duplicates("name")
    counts = groups.groupby(["label", "source"])["name"].transform("size")
    groups["source"] = groups["source"].where(counts >= SMALL_SOURCE, "")
    chosen = {}
    for _, names in groups.groupby(["label", "source"])["name"]:
        # the 0 keeps earlier draws
        names = sorted(names, key=lambda name: hash_fraction(f"0:{name}"))
        n = len(names)
        for split, share in SPLIT_SHARES.items():
            count = max(int(n >= 3), round(n * share))
            chosen |= dict.fromkeys(names[:count], split)
            names = names[count:]
        chosen |= dict.fromkeys(names, "train")
    return identity.map(chosen)


def drop_duplicates(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the first image of each content within a split; return the rest as excluded.

    Images listed under both labels are not dropped: `check_manifest` reports them.
    """
    key = ["sha256", "split", "label"]
    again = table.duplicated(key)
    first = table.groupby(key, dropna=False)["path"].transform("first")
    reasons = [f"exact duplicate of {path}" for path in first[again]]
    return table[~again], exclude(table["path"][again], Reason.DUPLICATE, reasons)


def exclude(paths, kind: Reason, reason) -> pd.DataFrame:
    """Return a table of excluded files: path, kind, reason; one reason for all or one each."""
    return pd.DataFrame({"path": list(paths), "kind": kind.value, "reason": reason}, dtype=object)


def check_manifest(manifest: Manifest) -> None:
    """Raise if a manifest is not fit for use.

    Raises
    ------
    ManifestError
        On an unknown label or split, a crop_share of 0 or above 1, a path outside the root, or the
        same image in two splits or under two labels; the message names the files.
    """
    table = manifest.table
    _check_values(table)
    _check_contradictions(table, "sha256", ["split", "label"], "remove all but one of each")


def hash_fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _checked_rows(files: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Return the listed rows with every column filled and every path in one spelling."""
    _require(files, GIVEN, f"the files of {root}")
    columns = list(dict.fromkeys([*files.columns, *OPTIONAL]))
    files = files.reset_index(drop=True).reindex(columns=columns)
    for column in files.columns.drop("path"):
        files[column] = files[column].astype(object).map(_stripped)
    for column, words in {"label": {x: x for x in LABELS}, "split": SPLIT_WORDS}.items():
        files[column] = [words.get(str(word).lower(), word) for word in files[column]]
    # Windows writes a hash in capitals
    files["sha256"] = [x.lower() if isinstance(x, str) else x for x in files["sha256"]]
    default = {"split": "train", "crop_share": 1.0}
    _check_values(files.fillna(default))
    files["crop_share"] = pd.to_numeric(files["crop_share"])
    spelled = _one_spelling(files["path"], root)
    stated = [*GIVEN[1:], *OPTIONAL]
    _check_contradictions(files.assign(file=spelled), "file", stated, "list each file once")
    # what another row of the same file states
    files[stated] = files[stated].fillna(files.groupby(spelled)[stated].transform("first"))
    files["source"] = files["source"].fillna(files["label"])
    return files.assign(path=spelled, crop_share=files["crop_share"].fillna(default["crop_share"]))


def _stripped(word):
    """Return text without blanks around it; text of nothing else is missing."""
    return word.strip() or np.nan if isinstance(word, str) else word


def _one_spelling(paths: pd.Series, root: Path) -> pd.Series:
    """Return forward slashes without "./"; of paths that differ in case, one that is there."""
    slashes = paths.str.replace("\\", "/")  # elsewhere than on Windows a name may hold a backslash
    is_name = paths.map(lambda path: os.sep == "/" and (root / path).exists())
    spelled = paths.where(is_name, slashes)
    spelled = spelled.map(posixpath.normpath)
    folded = spelled.str.casefold()
    for _, same in spelled[folded.duplicated(keep=False)].groupby(folded):
        there = [path for path in same if (root / path).exists()]
        spelled[same.index] = [path if path in there else (*there, path)[0] for path in same]
    return spelled


def _fill_splits(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fill the splits that are missing; all copies of one content get the same."""
    elsewhere = table.groupby("sha256")["split"].transform("first")
    table = table.assign(split=table["split"].astype(object).fillna(elsewhere))
    missing = table["split"].isna()
    single, duplicates = drop_duplicates(table[missing])
    single = single.assign(split=draw_splits(single))
    return pd.concat([table[~missing], single]).sort_index(), duplicates


def _check_values(table: pd.DataFrame) -> None:
    """Raise if a path, label, split or crop_share cannot be; the message names the rows."""
    share = pd.to_numeric(table["crop_share"], errors="coerce")
    rules = {
        "path": ("relative to the data root and inside it", table["path"].map(_is_inside)),
        "label": (" or ".join(LABELS), table["label"].isin(LABELS)),
        "split": (f"one of {', '.join(SPLITS)}", table["split"].isin(SPLITS)),
        "crop_share": ("above 0 and at most 1", (share > 0) & (share <= 1)),
    }
    for column, (allowed, good) in rules.items():
        wrong = table[~good.astype(bool)]
        if len(wrong):
            raise ManifestError(f"{column} must be {allowed}; not so: {_named(wrong, column)}")


def _is_inside(path) -> bool:
    """Return whether a path stays under its root on every system."""
    if not isinstance(path, str) or not path.strip() or path[0] == "/" or "\0" in path:
        return False
    windows = PureWindowsPath(path)
    return not (windows.drive or windows.root or ".." in windows.parts)


def _check_contradictions(table: pd.DataFrame, key: str, columns: list[str], advice: str) -> None:
    """Raise if rows with the same `key` differ in one of the columns; blanks do not count."""
    for column in columns:
        values = table.groupby(key)[column].transform("nunique")
        mixed = table[values > 1].sort_values([key, "path"])
        if len(mixed):
            raise ManifestError(
                f"the same image has more than one {column}: {_named(mixed, column)}; {advice}"
            )


def _require(table: pd.DataFrame, names, what: str) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ManifestError(
            f"{what} has no column {', '.join(missing)}; needed, with commas between: "
            f"{', '.join(names)}"
        )


def _named(rows: pd.DataFrame, column: str, most: int = 6) -> str:
    """Return "path (value)" of the first rows, and how many there are besides."""
    pairs = zip(rows["path"][:most], rows[column][:most], strict=True)
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(printable(f"{path} ({value})") for path, value in pairs) + more
