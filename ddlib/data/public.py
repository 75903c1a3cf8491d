"""Fetch the tiers `sample` and `large`: pictures that lie in public repositories, listed by hash.

``large.csv.xz`` beside this file lists each picture: path, label, source, split, set (as
``sources.toml`` has it), repository, commit, file, box (left, top, width and height of a cut-out
of a figure), bytes, sha256 (of the file; of a cut-out its RGB pixels), phash (perceptual hash) and
sample (1: in `sample`).
"""

import hashlib
import io
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from ddlib._utils import file_digest, file_lock, move, ordered_parallel_map
from ddlib.data import download
from ddlib.data.download import FetchError, fetch_blobs, open_partial_clone, read_blobs
from ddlib.data.sources import MANIFEST, SourceError, load_sources

FILES = "https://raw.githubusercontent.com/{owner}/{name}/{commit}/{file}"
REPOSITORIES = "https://github.com/{owner}/{name}.git"
# The ways of each tier; what one could not bring, the next tries. GitHub serves only some tens of
# single files an hour to some networks, and repositories to all.
TIERS = {"sample": (FILES, REPOSITORIES), "large": (REPOSITORIES,)}
THREADS = 8  # single files that are fetched at once
MOST_FAILURES = 2 * THREADS  # in a row, until a server counts as silent
PART = 1 << 24  # bytes of one request to a repository
CHANGED = "changed: the content is not the listed one (SHA-256)"


def read_list(tier: str, without: Iterable[str] = ()) -> pd.DataFrame:
    """Return the listed pictures of `sample` or `large`, those of the sets `without` left out.

    Raises
    ------
    SourceError
        If a set to leave out is not in the list, or nothing is left.
    """
    text = pd.read_csv(Path(__file__).with_name("large.csv.xz"), dtype=str, keep_default_na=False)
    table = text.astype({"bytes": int})
    if unknown := sorted(set(without) - set(table["set"])):
        raise SourceError(
            f"no set of {tier} is called {unknown[0]!r}; its sets are "
            f"{', '.join(sorted(set(table['set'])))}"
        )
    keep = ~table["set"].isin(list(without)) & ((tier != "sample") | (table["sample"] == "1"))
    if not keep.any():
        raise SourceError(f"{tier}: nothing is left to fetch; leave out fewer sets")
    return table[keep].reset_index(drop=True)


def terms(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each set of the listed pictures: terms of the original, origin of the copy.

    Columns: set, pictures, what, terms, page (where the original states them), copies from (the
    repositories), show or share (whether its pictures may be).
    """
    known, rows = load_sources(), []
    for name, own in table.groupby("set", sort=False):
        row = {"set": name, "pictures": len(own), "what": known[name].what}
        row |= {"terms": known[name].licence, "page": known[name].page}
        copies = ", ".join(f"github.com/{name}" for name in own["repository"].unique())
        rows.append(row | {"copies from": copies, "show or share": known[name].share})
    return pd.DataFrame(rows)


def missing(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the listed pictures that are not in the folder, or not with the listed content."""

    def is_missing(row) -> bool:
        path = folder / row.path
        return not (path.is_file() and _is_listed(path.read_bytes(), row))

    return table[list(ordered_parallel_map(is_missing, table.itertuples()))]


def fetch_tier(
    tier: str, root, without: Iterable[str] = (), mirror: str | None = None
) -> tuple[Path, dict[str, str]]:
    """Bring the pictures of `sample` or `large` to a folder of that name below `root`.

    Each picture is checked by its hash and written whole or not at all, so a call that was killed
    is continued by the next. The folder's ``manifest.csv`` lists every picture that was asked for,
    also those that could not be fetched: `open_folder` excludes them by name.

    Parameters
    ----------
    tier : "sample" or "large"
    root : path-like
        The data folder.
    without : names of sets, optional
    mirror : str, optional
        Where else the repositories are, with ``{owner}`` and ``{name}`` in it, and ``{commit}`` and
        ``{file}`` if it serves single files.

    Returns
    -------
    (Path, dict)
        The folder, and why each missing picture could not be fetched, by path.

    Raises
    ------
    SourceError
        As `read_list`, or if `mirror` is no such address.
    FetchError
        If the disk has no room.
    """
    from tqdm import tqdm

    table, folder = read_list(tier, without), Path(root) / tier
    ways = TIERS[tier] if mirror is None else (_checked(mirror),)
    work = folder.with_name(f".{tier}.download")
    with file_lock(folder):
        wanted = missing(table, folder)
        size = int(wanted["bytes"].sum())
        require_space(folder, 2 * size)  # once packed, once as pictures
        work.mkdir(exist_ok=True)
        _write_manifest(table, folder, work)
        problems: dict[str, str] = dict.fromkeys(wanted["path"], "")
        with tqdm(total=size, unit="B", unit_scale=True, desc=tier, disable=None) as bar:
            for way in ways:
                bring = _single_files if "{file}" in way else _repository_files
                for rows, data, problem in bring(way, _by_file(wanted), work):
                    for row, picture in _pictures(rows, data or b""):
                        if problem or not _is_listed(picture, row):
                            told = (problems[row.path], problem or CHANGED)
                            problems[row.path] = "; ".join(filter(None, told))
                            continue
                        _write(picture, folder / row.path, work)
                        del problems[row.path]
                        bar.update(row.bytes)
                wanted = wanted[wanted["path"].isin(problems)]
        _write_manifest(table, folder, work)
        _remove(work)
    return folder, problems


def require_space(folder: Path, needed: int) -> None:
    """Raise a FetchError if the disk of a folder, which may be yet to be made, has no room."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise FetchError(
            f"{there}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; make "
            "room, or name a folder on another disk with --data"
        )


def _checked(mirror: str) -> str:
    """Return an address with the fields that a mirror's must have."""
    try:
        mirror.format(owner="", name="", commit="", file="")
        named = all("{" + field + "}" in mirror for field in ("owner", "name"))
    except (LookupError, ValueError):
        named = False
    if not named:
        raise SourceError(
            f"the mirror {mirror!r} needs {{owner}} and {{name}} in its address, and for single "
            "files {commit} and {file}; no others"
        )
    return mirror


def _by_file(table: pd.DataFrame) -> list[list]:
    """Return the rows of each file of a repository; several cut-outs share their figure."""
    rows = list(table.itertuples())
    places = table.groupby(["repository", "commit", "file"]).indices
    return [[rows[place] for place in places[file]] for file in sorted(places)]


def _address(way: str, row) -> str:
    owner, name = row.repository.split("/")
    return way.format(owner=owner, name=name, commit=row.commit, file=quote(row.file))


def _single_files(way: str, files: list[list], work: Path) -> Iterator[tuple]:
    """Yield (rows, content or None, problem) for each file, fetched by HTTP."""
    failures: list[str] = []  # in a row, in all threads

    def fetch_one(rows):
        if len(failures) >= MOST_FAILURES:
            return rows, None, failures[-1]
        try:
            data = _retried(_download, _address(way, rows[0]))
        except FileNotFoundError as error:
            return rows, None, str(error)
        except FetchError as error:
            failures.append(str(error))
            return rows, None, str(error)
        failures.clear()
        return rows, data, ""

    return ordered_parallel_map(fetch_one, files, THREADS)


def _download(url: str) -> bytes:
    from pooch import HTTPDownloader

    content = io.BytesIO()
    try:
        HTTPDownloader(timeout=download.TIMEOUT)(url, content, None)
    except OSError as error:  # all errors of requests are among these
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (404, 410, 451):
            raise FileNotFoundError(f"gone: the server says {status}") from None
        told = (
            f"the server says {status}" if status else f"no whole answer ({type(error).__name__})"
        )
        raise FetchError(f"not reached: {told}") from None
    return content.getvalue()


def _repository_files(way: str, files: list[list], work: Path) -> Iterator[tuple]:
    """Yield (rows, content or None, problem) for each file, fetched by git."""
    for _, own in groupby(files, lambda rows: (rows[0].repository, rows[0].commit)):
        waiting = list(own)
        clone = work / waiting[0][0].repository.replace("/", "+")
        try:
            url, commit = _address(way, waiting[0][0]), waiting[0][0].commit
            _, blobs = _retried(open_partial_clone, url, commit, clone)
            absent = [rows for rows in waiting if rows[0].file not in blobs]
            waiting = [rows for rows in waiting if rows[0].file in blobs]
            for rows in absent:
                yield rows, None, "gone: not in its repository at the listed commit"
            while waiting:
                part, size = [], 0
                while len(part) < len(waiting) and size < PART:
                    size += sum(row.bytes for row in waiting[len(part)])
                    part.append(blobs[waiting[len(part)][0].file])
                _retried(fetch_blobs, clone, part)
                for data in read_blobs(clone, part):
                    yield waiting.pop(0), data, ""
        except FetchError as error:
            for rows in waiting:
                yield rows, None, f"not reached: {error}"
        _remove(clone)


def _remove(folder: Path) -> None:
    """Remove a folder with git's packs, which are read-only: on Windows such a file stays."""
    with suppress(OSError):  # git may be tidying up
        for path in folder.rglob("*"):
            path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _retried(work: Callable, *given):
    """Return what `work` returns; after a FetchError it is called again, twice at most."""
    for attempt in range(download.RETRIES):
        try:
            return work(*given)
        except FetchError:
            time.sleep(attempt + 1)
    return work(*given)


def _pictures(rows: list, data: bytes) -> Iterator[tuple]:
    """Yield each row of a file with its picture: the file, or what is cut out of the figure."""
    figure = _opened(data) if rows[0].box else None
    for row in rows:
        if not row.box:
            yield row, data
        elif figure is not None:
            left, top, width, height = map(int, row.box.split())
            content = io.BytesIO()
            figure.crop((left, top, left + width, top + height)).save(content, "PNG")
            yield row, content.getvalue()
        else:
            yield row, b""


def _write(data: bytes, path: Path, work: Path) -> None:
    """Write a file whole or not at all; what a killed process leaves lies in `work`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = work / "unfinished"
    unfinished.write_bytes(data)
    move(unfinished, path)


def _is_listed(data: bytes, row) -> bool:
    if row.box:
        opened = _opened(data)
        data = b"" if opened is None else opened.tobytes()
    return hashlib.sha256(data).hexdigest() == row.sha256


def _opened(data: bytes):
    """Return an image as PIL has it in RGB, None if it cannot be read."""
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _write_manifest(table: pd.DataFrame, folder: Path, work: Path) -> None:
    """List the folder's pictures as `open_folder` reads them; a cut-out has its file's hash."""
    hashes = table["sha256"].where(table["box"] == "", "")
    for i, path in table["path"][table["box"] != ""].items():
        hashes[i] = file_digest(folder / path) if (folder / path).is_file() else ""
    rows = table.assign(sha256=hashes).drop(columns=["bytes", "sample"])
    text = rows.to_csv(index=False, lineterminator="\n")
    _write(text.encode(), folder / MANIFEST, work)
