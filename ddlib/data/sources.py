"""The data sets: where they come from, where their images lie, and the manifest of a folder.

``sources.toml`` beside this file registers every set: origin, licence, expected counts, layouts,
how to fetch it. What a path says of an image, real or fake, is decided in `ddlib.data.labels`.
"""

import os
import posixpath
import tomllib
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from ddlib._utils import printable
from ddlib.data.cache import Cache
from ddlib.data.download import FetchError, fetch_archive, fetch_git, fetch_kaggle
from ddlib.data.labels import Layout, folder_facts, folder_meaning
from ddlib.data.manifest import (
    GIVEN,
    OPTIONAL,
    SPLITS,
    Manifest,
    ManifestError,
    Reason,
    build_manifest,
    check_manifest,
    exclude,
    read_table,
)
from ddlib.data.near_copies import drop_near_copies, mixed_labels
from ddlib.images.read import list_images
from ddlib.protocol import LABELS

MANIFEST = "manifest.csv"


class SourceError(ValueError):
    """A data set that is not known, not there or not complete; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """One registered data set, as ``sources.toml`` describes it."""

    name: str
    what: str
    page: str
    licence: str
    share: str  # whether its pictures may be shown or passed on
    folder: str  # where `fetch` puts it, below the data folder
    layouts: tuple[Layout, ...]
    expected: dict[str, int] = field(default_factory=dict)  # images of each source as published
    gigabytes: float | None = None  # to download, about; None where it is not known
    kaggle: str | None = None
    git: str | None = None

    @property
    def fetched_by(self) -> str:
        """How it is fetched: "kaggle", "git" or "hand"."""
        return "kaggle" if self.kaggle else "git" if self.git else "hand"


def load_sources() -> dict[str, Source]:
    """Return every registered data set by name, in the order of ``sources.toml``."""
    entries = tomllib.loads(Path(__file__).with_name("sources.toml").read_text(encoding="utf-8"))
    for entry in entries.values():
        entry["layouts"] = tuple(Layout(**layout) for layout in entry["layouts"])
    return {name: Source(name, **entry) for name, entry in entries.items()}


def open_folder(root, progress: bool = False, strict: bool = True) -> Manifest:
    """Return the manifest of a folder's images.

    A ``manifest.csv`` in the folder decides what each image is; otherwise the registered layouts
    do, and the names of folders (`folder_facts`): ``real/`` and ``fake/``, with or without a
    folder for each source. Where images of one person are in several splits, only those of the
    last split stay.

    Parameters
    ----------
    root : path-like
    progress : bool
        Show a progress bar while files are read.
    strict : bool
        Whether it is an error if the same image is in two splits or under two labels, or if no
        image is sound.

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
    listed = list_images(root)
    closed = [path for path in listed if path.endswith("/")]
    found = [path for path in listed if not path.endswith("/")]
    if (root / MANIFEST).is_file():
        rows, kind, reason = _listed(root), Reason.NOT_LISTED, f"not listed in {MANIFEST}"
        rows = rows.assign(path=_as_on_disk(rows["path"], root, found))
    else:
        _reject_empty_classes(root, [*found, *(f"{path}unknown" for path in closed)])
        rows, kind = _recognised(root, found), Reason.UNKNOWN_LAYOUT
        reason = "in no known layout; data/README.md shows them"
    if not len(rows):
        raise SourceError(
            f"{root}: no images in a known layout ({len(found)} in others); use real/ and "
            "fake/<generator>/, or a set that `ddlib data list` names"
        )
    manifest = build_manifest(rows, root, Cache().folder("inventory"), progress)
    table, same_person = drop_shared_identities(manifest.table)
    table, near = drop_near_copies(table)
    others = set(found).difference(manifest.table["path"], manifest.excluded["path"])
    unreadable = "the folder cannot be read; change its permissions"
    parts = [manifest.excluded, same_person, near, exclude(sorted(others), kind, reason)]
    parts.append(exclude(closed, Reason.BROKEN, unreadable))
    excluded = pd.concat(parts, ignore_index=True)
    manifest = Manifest(root, table, excluded)
    if strict:
        check_manifest(manifest)
        if not len(manifest):
            first = [printable(f"{x.path}: {x.reason}") for x in excluded.head(5).itertuples()]
            raise ManifestError(
                f"{root}: none of {len(excluded)} images can be used: " + "; ".join(first)
            )
    return manifest


def folder_warnings(table: pd.DataFrame) -> list[str]:
    """Return warnings of classes that a split lacks and of labels that something contradicts."""
    lines, there = [], set(zip(table["split"], table["label"], strict=True))
    for split in SPLITS:
        if lacking := [label for label in LABELS if (split, label) not in there]:
            lines.append(f"warning: the split {split!r} has no {' and no '.join(lacking)} images")
    against = [
        path
        for path, label in zip(table["path"], table["label"], strict=True)
        if {folder_meaning(folder)[0] for folder in path.split("/")[:-1]} - {label, None}
    ]
    if against:
        lines.append(
            f"warning: {len(against)} images lie in a folder of the other label, such as "
            f"{printable(against[0])}: manifest.csv, or else the outermost folder, decides"
        )
    if mixed := mixed_labels(table):
        lines.append(
            f"warning: {len(mixed)} fakes are near-copies of photographs, such as "
            f"{printable(mixed[0])}; an edited photograph may be meant, a wrong label may not"
        )
    return lines


def drop_shared_identities(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exclude training images of people who are also in valid or test, and valid ones in test.

    The splits that a data set came with are kept otherwise, so its test images never change.
    """
    known = table[table["identity"].notna()]
    order = known["split"].map(SPLITS.index)
    last = order.groupby([known["source"], known["identity"]]).transform("max")
    leak = known[order < last]
    reasons = [
        f"same person as images of the {SPLITS[place]} split ({identity})"
        for place, identity in zip(last[leak.index], leak["identity"], strict=True)
    ]
    return table.drop(leak.index), exclude(leak["path"], Reason.SAME_PERSON, reasons)


def find_sets(root) -> dict[str, tuple[Path, dict[str, int]]]:
    """Return the registered sets with images below `root`: name -> folder and counts by source."""
    root = Path(root)
    paths = list_images(root) if root.is_dir() else []
    rows = _recognised(root, [path for path in paths if not path.endswith("/")])
    found = {}
    for name, own in rows.groupby("set", sort=False):
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
        The data folder; the set gets a folder of its own there, which is returned.
    url, sha256 : str, optional
        A zip or tar archive to fetch instead (a mirror), and its hash.

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
    folder = Path(root) / source.folder
    if source.fetched_by == "hand" and not url:
        raise SourceError(
            f"{name} has no address to fetch it from; get it at {source.page} and put it into "
            f"{folder}, or give --url"
        )
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
    counts = find_sets(folder).get(source.name, (None, {}))[1]
    if not counts:
        return "no image came"
    short = {name: n for name, n in source.expected.items() if counts.get(name, 0) < n}
    return ", ".join(f"{counts.get(name, 0)} of {n} {name} images" for name, n in short.items())


def _recognised(root: Path, paths: list[str]) -> pd.DataFrame:
    """Return a row for each path whose label is known: what it is, and of which set."""
    sources = load_sources().values()
    layouts = [(layout, source.name) for source in sources for layout in source.layouts]
    above, rows = _folder_names(root), []
    for path in paths:
        facts = folder_facts(path)
        facts |= {"source": facts["source"] or facts["label"], "set": "generic"}
        for layout, name in layouts:
            if match := layout.match(path, above):
                facts = match | {"set": name}
                break
        if facts["label"]:
            rows.append({"path": path, **facts})
    return pd.DataFrame(rows, columns=[*GIVEN, "identity", "crop_share", "set"])


def _listed(root: Path) -> pd.DataFrame:
    """Read the folder's manifest.csv; identity and crop_share come from the source's layout."""
    table = read_table(root / MANIFEST, GIVEN)
    rows = table[[name for name in (*GIVEN, *OPTIONAL) if name in table]]
    if {"identity", "crop_share"} <= set(rows):
        return rows
    known = [layout for source in load_sources().values() for layout in source.layouts]
    above, matches = _folder_names(root), []
    for path, source in zip(rows["path"], rows["source"], strict=True):
        path = str(path).replace("\\", "/")  # a blank one is refused later, by name
        fitting = (layout.match(path, above) for layout in known if layout.source == source)
        matches.append(next(filter(None, fitting), {"identity": None, "crop_share": 1.0}))
    found = pd.DataFrame(matches, columns=["identity", "crop_share"], index=rows.index)
    return rows.join(found[found.columns.difference(rows.columns)])


def _as_on_disk(paths, root: Path, found: list[str]) -> list:
    """Return listed paths as the disk spells them, where a system takes another spelling too.

    Windows and macOS take capitals for small letters, macOS also an accent written apart.
    """
    names, alike = set(found), defaultdict(list)
    for name in found:
        alike[_folded(name)].append(name)

    def spelled(path):
        if not isinstance(path, str) or posixpath.normpath(path) in names:
            return path
        others = alike[_folded(posixpath.normpath(path.replace("\\", "/")))]
        return others[0] if len(others) == 1 and (root / path).exists() else path

    return [spelled(path) for path in paths]


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _folder_names(root: Path) -> str:
    """Return the names of `root` and its parent: patterns may begin there, as in ``.../cats``."""
    return "/".join(root.resolve().parts[-2:]).strip("/") + "/"


def _reject_empty_classes(root: Path, found: list[str]) -> None:
    """Raise if a folder that states a label, or a folder in it, holds no image that can be seen."""
    holding = {parent for path in found for parent in PurePosixPath(path).parents}
    for folder in sorted(root.glob("**/")):
        place = PurePosixPath(folder.relative_to(root).as_posix())
        is_class = any(folder_meaning(name)[0] for name in place.parts[-2:])
        # archives from a Mac bring a folder of hidden files
        hidden = any(name[0] == "." or name == "__MACOSX" for name in place.parts)
        if is_class and place not in holding and not hidden:
            raise SourceError(f"{folder}: holds no images; put some there or remove the folder")
