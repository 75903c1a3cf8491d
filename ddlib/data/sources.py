"""The data sets: where they come from, where their images lie, and the manifest of a folder.

``sources.toml`` beside this file registers every set: origin, licence, expected counts, layout,
how to fetch it. A layout is a pattern that turns a path into label, source and split.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from ddlib.data.cache import Cache
from ddlib.data.download import FetchError, fetch_archive, fetch_git, fetch_kaggle
from ddlib.data.manifest import (
    SPLITS,
    Manifest,
    Reason,
    build_manifest,
    check_manifest,
    drop_shared_identities,
    exclude,
    read_table,
)
from ddlib.images.read import list_images
from ddlib.protocol import LABELS

DEFAULT = "default"
MANIFEST = "manifest.csv"
_REQUIRED = ("path", "label", "source", "split")
_OPTIONAL = ("identity", "crop_share", "sha256")
_WILDCARDS = re.compile(r"\*\*|\*|\{[^}]*\}")


class SourceError(ValueError):
    """A data set that is not known, not there or not complete; the message says what to do."""


@dataclass(frozen=True)
class Layout:
    """A pattern of paths and what the files that match it are; ``sources.toml`` explains it.

    Examples
    --------
    >>> layout = Layout("real-vs-fake/{split}/real/{identity}.*", "real", "ffhq")
    >>> layout.match("set/real-vs-fake/valid/real/00012.jpg")["identity"]
    '00012'
    """

    files: str
    label: str
    source: str | None = None  # None: the pattern has {source}
    split: str | None = None  # None: the pattern has {split}, or it is drawn later
    crop_share: float = 1.0
    anchored: bool = False  # whether it must match from the top of the data folder

    def match(self, path: str) -> dict | None:
        """Return label, source, split, identity and crop_share of a path; None if it differs."""
        found = self.expression.fullmatch(path)
        if found is None:
            return None
        parts = found.groupdict()
        return {
            "label": self.label,
            "source": self.source or parts["source"],
            "split": self.split or (parts.get("split") or "").lower() or None,
            "identity": parts.get("identity"),
            "crop_share": self.crop_share,
        }

    @cached_property
    def expression(self) -> re.Pattern:
        """The pattern as a regular expression for whole paths with forward slashes."""
        named = set()
        text, end = ("" if self.anchored else "(?:.*/)?"), 0
        for wildcard in _WILDCARDS.finditer(self.files):
            text += re.escape(self.files[end : wildcard.start()])
            text += _expression(wildcard.group(), named)
            end = wildcard.end()
        return re.compile(text + re.escape(self.files[end:]), re.IGNORECASE)


def _expression(wildcard: str, named: set) -> str:
    if wildcard in ("*", "**"):
        return ".+" if wildcard == "**" else "[^/]*"
    name = wildcard.strip("{}")
    if "," in name:
        return f"(?:{'|'.join(map(re.escape, name.split(',')))})"
    if name in named:
        return f"(?P={name})"
    named.add(name)
    inner = {"split": "|".join(SPLITS), "identity": "[^/]+?", "source": "[^/]+"}
    return f"(?P<{name}>{inner[name]})"


@dataclass(frozen=True)
class Source:
    """One registered data set, as ``sources.toml`` describes it."""

    name: str
    what: str
    page: str
    licence: str
    folder: str  # where `fetch` puts it, below the data folder
    layouts: tuple[Layout, ...]
    expected: dict[str, int]  # images of each source in the published set
    kaggle: str | None = None
    git: str | None = None

    @property
    def fetched_by(self) -> str:
        """How it is fetched: "kaggle", "git" or "hand"."""
        return "kaggle" if self.kaggle else "git" if self.git else "hand"


def load_sources() -> dict[str, Source]:
    """Return every registered data set by name, in the order of ``sources.toml``."""
    with Path(__file__).with_name("sources.toml").open("rb") as file:
        entries = tomllib.load(file)
    sources = {}
    for name, entry in entries.items():
        layouts = tuple(Layout(**layout) for layout in entry.pop("layout"))
        expected = entry.pop("expected", {})
        sources[name] = Source(name, layouts=layouts, expected=expected, **entry)
    return sources


def open_folder(root, cache=DEFAULT, workers=None, progress=False, strict=True) -> Manifest:
    """Return the manifest of a folder's images.

    A ``manifest.csv`` in the folder decides what each image is; otherwise the registered layouts
    do, among them ``real/`` and ``fake/`` with or without a folder for each source. Where images
    of one person are in several splits, only those of the last split stay.

    Parameters
    ----------
    root : path-like
    cache : path-like or None
        Folder that remembers facts about files; by default that of `ddlib.data.cache.Cache`.
    workers, progress
        As in `ddlib.data.inventory.read_facts`.
    strict : bool
        Whether the same image in two splits or under two labels is an error.

    Returns
    -------
    Manifest
        Together with its `excluded` it holds every file below `root` that is named like an image,
        and every row of its ``manifest.csv``, once.

    Raises
    ------
    SourceError
        If the folder is missing, holds no image, or a class folder is empty.
    ManifestError
        If its ``manifest.csv`` lacks a column or holds an unknown word or a path outside the
        folder, or, if `strict`, on contradictory images.

    Examples
    --------
    >>> faces = open_folder("my-faces")                                    # doctest: +SKIP
    >>> faces.table[["path", "label", "source", "split"]]                  # doctest: +SKIP
    """
    root = Path(root)
    if not root.is_dir():
        raise SourceError(f"{root}: there is no such folder; give the folder that holds the images")
    found = list_images(root)
    if (root / MANIFEST).is_file():
        rows, kind, reason = _listed(root), Reason.NOT_LISTED, f"not listed in {MANIFEST}"
    else:
        _reject_empty_classes(root, found)
        rows, kind = _recognised(root, found), Reason.UNKNOWN_LAYOUT
        reason = "in no known layout; data/README.md shows them"
    if not len(rows):
        raise SourceError(
            f"{root}: no images in a known layout ({len(found)} in others); use real/ and "
            "fake/<generator>/, or a set that `ddlib data list` names"
        )
    others = exclude(sorted(set(found) - set(rows["path"])), kind, reason)
    cache = Cache().folder("inventory") if cache == DEFAULT else cache
    manifest = build_manifest(rows, root, cache, workers, progress)
    table, same_person = drop_shared_identities(manifest.table)
    excluded = pd.concat([manifest.excluded, same_person, others], ignore_index=True)
    manifest = Manifest(root, table, excluded)
    if strict:
        check_manifest(manifest)
    return manifest


def find_sets(root, names=None) -> dict[str, tuple[Path, dict[str, int]]]:
    """Return the registered sets with images below `root`: name -> folder and counts by source."""
    root = Path(root)
    rows = _recognised(root, list_images(root)) if root.is_dir() else pd.DataFrame(columns=["set"])
    found = {}
    for name, own in rows.groupby("set", sort=False):
        if names is None or name in names:
            parents = [os.path.dirname(path) or "." for path in own["path"]]  # noqa: PTH120
            folder = root / os.path.commonpath(parents)
            found[name] = (folder, own["source"].value_counts().to_dict())
    return found


def fetch(name: str, root, url: str | None = None, sha256: str | None = None) -> Path:
    """Bring a data set below `root` and count what came; a complete set is left alone.

    Parameters
    ----------
    name : str
        As `load_sources` has it.
    root : path-like
        The data folder; the set gets a folder of its own there.
    url, sha256 : str, optional
        A zip or tar archive to fetch instead (a mirror), and its hash.

    Returns
    -------
    Path
        The set's folder.

    Raises
    ------
    SourceError
        If the name is unknown, nothing can fetch it, or images are missing afterwards.
    FetchError
        If the download fails; the message says how to go on by hand.
    """
    sources = load_sources()
    if name not in sources:
        raise SourceError(f"no data set is named {name!r}; known are {', '.join(sources)}")
    source = sources[name]
    if source.fetched_by == "hand" and not url:
        raise SourceError(
            f"{name} has no address to fetch it from; get it at {source.page} and put it into "
            f"{Path(root) / source.folder}, or give --url"
        )
    folder = Path(root) / source.folder
    if folder.is_dir() and not _missing(source, folder):
        return folder
    try:
        if url:
            fetch_archive(url, folder, sha256)
        elif source.kaggle:
            fetch_kaggle(source.kaggle, folder)
        else:
            fetch_git(source.git, folder)
    except FetchError as error:
        raise FetchError(
            f"{name}: {error}\nBy hand: download it at {source.page} and unpack it into {folder}"
        ) from error
    if missing := _missing(source, folder):
        raise SourceError(f"{name}: incomplete, {missing}; run it again or fetch it by hand")
    return folder


def _missing(source: Source, folder: Path) -> str:
    counts = find_sets(folder, [source.name]).get(source.name, (None, {}))[1]
    if not counts:
        return "no image came"
    short = {name: n for name, n in source.expected.items() if counts.get(name, 0) < n}
    return ", ".join(f"{counts.get(name, 0)} of {n} {name} images" for name, n in short.items())


def _recognised(root: Path, paths: list[str]) -> pd.DataFrame:
    """Return a row for each path that a layout matches: what it is, and of which set."""
    sources = load_sources().values()
    layouts = [(source.name, layout) for source in sources for layout in source.layouts]
    above, rows = _folder_names(root), []
    for path in paths:
        for name, layout in layouts:
            if match := layout.match(path if layout.anchored else above + path):
                rows.append({"path": path, **match, "set": name})
                break
    return pd.DataFrame(rows, columns=[*_REQUIRED, "identity", "crop_share", "set"])


def _listed(root: Path) -> pd.DataFrame:
    """Read the folder's manifest.csv; identity and crop_share come from the source's layout."""
    table = read_table(root / MANIFEST, _REQUIRED)
    rows = table[[name for name in (*_REQUIRED, *_OPTIONAL) if name in table]]
    if {"identity", "crop_share"} <= set(rows):
        return rows
    known = [layout for source in load_sources().values() for layout in source.layouts]
    above, matches = _folder_names(root), []
    for path, source in zip(rows["path"], rows["source"], strict=True):
        fitting = (layout.match(f"{above}{path}") for layout in known if layout.source == source)
        matches.append(next(filter(None, fitting), {"identity": None, "crop_share": 1.0}))
    found = pd.DataFrame(matches, columns=["identity", "crop_share"], index=rows.index)
    return rows.join(found[found.columns.difference(rows.columns)])


def _folder_names(root: Path) -> str:
    """Return the names of `root` and its parent: patterns may begin there, as in ``.../cats``."""
    return "/".join(root.resolve().parts[-2:]).strip("/") + "/"


def _reject_empty_classes(root: Path, found: list[str]) -> None:
    for above in ("", *(f"{split}/" for split in SPLITS)):
        for label in LABELS:
            folder = root / f"{above}{label}"
            for place in filter(Path.is_dir, [folder, *sorted(folder.glob("*"))]):
                front = place.relative_to(root).as_posix() + "/"
                if not any(path.startswith(front) for path in found):
                    raise SourceError(
                        f"{place}: holds no images; put some there or remove the folder"
                    )
