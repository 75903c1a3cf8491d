"""The data sets: where they come from, where they lie, and the manifest of what is there.

``data/sources.toml`` registers every set: origin, licence, expected counts, layout, how to fetch.

Where the images of a data set lie: patterns that turn a path into label, source and split.

A pattern reads like a glob; ``data/sources.toml`` explains its signs. What it finds is recorded in
the manifest, row by row, so that nothing later depends on a folder's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
import os
import pandas as pd
import re
import sys
from ddlib.data.download import FetchError, fetch_archive, fetch_git, fetch_kaggle
from ddlib.data.manifest import Manifest, SPLITS, build_manifest, check_manifest, drop_shared_identities, exclude, read_table
from ddlib.protocol import LABELS

DEFAULT = "default"


MANIFEST = "manifest.csv"


UNLISTED, UNCLAIMED = f"not listed in {MANIFEST}", "in no known layout"  # reasons to excluded


_NEEDED = ("path", "label", "source", "split")


_OPTIONAL = ("identity", "crop_share", "sha256")


_ABOVE = tuple(f"{split}/" for split in SPLITS)


class SourceError(ValueError):
    """A data set that is not known, not there or not complete; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """One registered data set, as ``data/sources.toml`` describes it."""

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
    def fetched(self) -> str:
        """How it is fetched: "kaggle", "git" or "" where one brings it by hand."""
        return "kaggle" if self.kaggle else "git" if self.git else ""


def load_sources() -> dict[str, Source]:
    """Return every registered data set by name, in the order of ``data/sources.toml``."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    here = Path(__file__).parent
    places = (here / "sources.toml", here.parent / "data" / "sources.toml")
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        raise SourceError("sources.toml is missing from this installation; install ddlib again")
    with place.open("rb") as file:
        described = tomllib.load(file)
    return {name: _source(name, entry) for name, entry in described.items()}


def _source(name: str, entry: dict) -> Source:
    layouts = tuple(Layout(**layout) for layout in entry.pop("layout"))
    return Source(name, layouts=layouts, expected=entry.pop("expected", {}), **entry)


def scan_folder(root, cache=DEFAULT, workers=None, progress=False):
    """Return the manifest of a folder's images and who was excluded, without the last check.

    A ``manifest.csv`` at the root decides what each image is; otherwise the registered layouts do.
    Where images of one person stand in several splits, only those of the last split stay.

    Parameters
    ----------
    root : path-like
    cache : path-like or None
        Folder that remembers what files are; by default that of `ddlib.data.cache.Cache`.
    workers, progress
        As in `ddlib.data.inventory.read_facts`.

    Returns
    -------
    Manifest, pandas.DataFrame
        Together they hold every file below `root` that is named like an image (and every row of its
        ``manifest.csv``) once.

    Raises
    ------
    SourceError
        If the folder is missing, holds no image, or a class folder is empty.
    ManifestError
        If its ``manifest.csv`` lacks a column or holds a wrong word or a path outside the folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise SourceError(f"{root}: there is no such folder; give the folder that holds the images")
    found = list_images(root)
    if (root / MANIFEST).is_file():
        rows, reason = _listed(root), UNLISTED
    else:
        _reject_empty_classes(root, found)
        rows, reason = _claimed(root, found), f"{UNCLAIMED}; data/README.md shows them"
    if not len(rows):
        known = "real/ and fake/<generator>/, or a set that `ddlib data list` names"
        raise SourceError(f"{root}: no images in a known layout ({len(found)} in others); {known}")
    others = pd.DataFrame({"path": sorted(set(found) - set(rows["path"]))}, dtype=object)
    cache = _default_cache() if cache == DEFAULT else cache
    manifest, aside = build_manifest(rows, root, cache, workers, progress)
    table, leaks = drop_shared_identities(manifest.table)
    aside = pd.concat([aside, leaks, exclude(others, reason)], ignore_index=True)
    return Manifest(root, table), aside


def open_folder(root, cache=DEFAULT, workers=None, progress=False):
    """Return the manifest of a folder's images, checked, and the table of who was excluded.

    As `scan_folder`, but a picture in two splits or under two labels is an error.
    """
    manifest, aside = scan_folder(root, cache, workers, progress)
    check_manifest(manifest)
    return manifest, aside


def locate(name: str, root) -> Path | None:
    """Return the folder below `root` that holds a data set's images, or None."""
    return locate_all(root, [_known(name)]).get(name, (None, {}))[0]


def locate_all(root, sources=None) -> dict[str, tuple[Path, dict[str, int]]]:
    """Return, for each data set with images below `root`, their folder and counts by source."""
    root = Path(root)
    wanted = {source.name for source in sources or load_sources().values()}
    rows = _claimed(root, list_images(root)) if root.is_dir() else []
    found = {}
    if len(rows):
        for name, own in rows[rows["set"].isin(wanted)].groupby("set", sort=False):
            folder = os.path.commonpath([os.path.dirname(path) or "." for path in own["path"]])  # noqa: PTH120
            found[name] = (root / folder, own["source"].value_counts().to_dict())
    return found


def fetch(name: str, root, url: str | None = None, sha256: str | None = None) -> Path:
    """Bring a data set below `root` and count what came; a second call continues or does nothing.

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
    source = _known(name)
    if not (source.fetched or url):
        raise SourceError(f"{name} cannot be fetched: put it under {source.folder}/ by hand")
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


def _known(name: str) -> Source:
    sources = load_sources()
    if name not in sources:
        raise SourceError(f"no data set is named {name!r}; known are {', '.join(sources)}")
    return sources[name]


def _missing(source: Source, folder: Path) -> str:
    counts = locate_all(folder, [source]).get(source.name, (None, {}))[1]
    short = {name: n for name, n in source.expected.items() if counts.get(name, 0) < n}
    return ", ".join(f"{counts.get(name, 0)} of {n} {name} images" for name, n in short.items())


def _claimed(root: Path, paths: list[str]) -> pd.DataFrame:
    """Return a row for each path that a layout claims: path, what it is, and whose set it is."""
    sources = load_sources().values()
    layouts = [(source.name, layout) for source in sources for layout in source.layouts]
    above, rows = context(root), []
    for path in paths:
        for name, layout in layouts:
            if match := layout.match(path if layout.anchored else above + path):
                rows.append({"path": path, **match, "set": name})
                break
    return pd.DataFrame(rows, columns=[*_NEEDED, "identity", "crop_share", "set"])


def _listed(root: Path) -> pd.DataFrame:
    """Read the root's manifest; identity and crop it lacks come from the source's layout."""
    table = read_table(root / MANIFEST, _NEEDED)
    rows = table[[name for name in (*_NEEDED, *_OPTIONAL) if name in table]]
    if {"identity", "crop_share"} <= set(rows):
        return rows
    known = [layout for source in load_sources().values() for layout in source.layouts]
    above, matches = context(root), []
    for path, source in zip(rows["path"], rows["source"], strict=True):
        fitting = (layout.match(f"{above}{path}") for layout in known if layout.source == source)
        matches.append(next(filter(None, fitting), {"identity": None, "crop_share": 1.0}))
    found = pd.DataFrame(matches, columns=["identity", "crop_share"], index=rows.index)
    return rows.assign(**{name: found[name] for name in found if name not in rows})


def _reject_empty_classes(root: Path, found: list[str]) -> None:
    for kind in [f"{above}{kind}" for above in ("", *_ABOVE) for kind in LABELS]:
        folders = [root / kind, *sorted((root / kind).glob("*"))]
        for folder in filter(Path.is_dir, folders):
            front = folder.relative_to(root).as_posix() + "/"
            if not any(path.startswith(front) for path in found):
                raise SourceError(f"{folder}: holds no images; put some there or remove the folder")


def _default_cache() -> Path:
    from ddlib.data.cache import Cache

    return Cache().root / "inventory"


SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
    + (".heic", ".heif", ".avif")
)


_SIGNS = re.compile(r"\*\*|\*|\{[^}]*\}")


@dataclass(frozen=True)
class Layout:
    """One pattern and what the files that match it are.

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
    anchored: bool = False

    def match(self, path: str) -> dict | None:
        """Return label, source, split, identity and crop of a path, or None if it does not fit."""
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
        seen = set()
        text, end = ("" if self.anchored else "(?:.*/)?"), 0
        for sign in _SIGNS.finditer(self.files):
            text += re.escape(self.files[end : sign.start()]) + _expression(sign.group(), seen)
            end = sign.end()
        return re.compile(text + re.escape(self.files[end:]), re.IGNORECASE)


def _expression(sign: str, seen: set) -> str:
    if sign in ("*", "**"):
        return ".+" if sign == "**" else "[^/]*"
    name = sign.strip("{}")
    if "," in name:
        return f"(?:{'|'.join(map(re.escape, name.split(',')))})"
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    inner = {"split": "|".join(SPLITS), "identity": "[^/]+?", "source": "[^/]+"}
    return f"(?P<{name}>{inner[name]})"


def list_images(root) -> list[str]:
    """Return the paths of all files below `root` that are named like images, in a fixed order.

    Paths are relative to `root` with forward slashes. Hidden files and folders are passed over.
    """
    root, found = os.fspath(root), []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name[0] != "."]
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        front = "" if below == "." else f"{below}/"
        found += [
            front + name
            for name in names
            if name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122
        ]
    return sorted(found)


def context(root) -> str:
    """Return the names of `root` and its parent: patterns may begin there, as in ``.../cats``."""
    return "/".join(Path(root).resolve().parts[-2:]).strip("/") + "/"
