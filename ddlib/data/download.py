"""Bring a data set's files here: an archive by HTTP, a git repository, or a Kaggle data set.

Each way continues where an interrupted one stopped. `_download` makes the only HTTP call of this
package; tests point it at a server of their own.
"""

from __future__ import annotations

from pathlib import Path
from pathlib import PurePosixPath
import http.client
import os
import shutil
import subprocess
import tarfile
import urllib.request
import zipfile
from ddlib._io import file_digest

BLOCK = 1 << 18  # bytes read at a time


ATTEMPTS = 5


TIMEOUT = 60  # seconds without a byte


class FetchError(OSError):
    """A data set could not be brought here; the message says what to do."""


def fetch_archive(url: str, folder, sha256: str | None = None) -> Path:
    """Download a zip or tar archive and unpack it into `folder`.

    An interrupted download is continued by the next call. The archive is removed once unpacked.

    Raises
    ------
    FetchError
        If the server cannot be reached, the content differs from `sha256`, or it is no archive.
    """
    folder = Path(folder)
    archive = folder.with_name(f"{folder.name}.download")
    _download(url, archive)
    if sha256 and (found := file_digest(archive)) != sha256:
        archive.unlink()
        raise FetchError(f"{url}: sha256 is {found}, not {sha256}; the download was removed")
    _unpack(archive, folder)
    archive.unlink()
    return folder


def fetch_git(url: str, folder) -> Path:
    """Clone the newest state of a repository into `folder`, without its history.

    The files come folder by folder, so an interrupted call loses one folder's download at most: the
    next call goes on with the folders that are missing.

    Raises
    ------
    FetchError
        If git is missing or fails; the message holds git's own last line.
    """
    from tqdm import tqdm

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for lock in (folder / ".git").glob("*.lock"):
        lock.unlink()  # left by a call that was killed; nobody else works in this folder
    if not (folder / ".git").is_dir():
        _git(folder, "init", "--quiet")
        _git(folder, "remote", "add", "origin", url)
    _git(folder, "remote", "set-url", "origin", url)
    # without the filter all of a large repository would come in one piece that cannot be continued
    _git(folder, "fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", "HEAD")
    commit = _git(folder, "rev-parse", "FETCH_HEAD").strip()
    names = _names(_git(folder, "ls-tree", "-r", "-z", "--name-only", commit))
    # git enters files in its index once all of a call are written: the index says what is done
    done = set(_names(_git(folder, "ls-files", "-z")))
    missing = [name for name in names if name not in done or not (folder / name).is_file()]
    parts = sorted({PurePosixPath(name).parent for name in missing})
    for part in tqdm(parts, desc=f"fetching {folder.name}", unit="folder"):
        own = "\0".join(name for name in missing if PurePosixPath(name).parent == part)
        listed = ("--pathspec-from-file=-", "--pathspec-file-nul")
        _git(folder, "checkout", "--quiet", commit, *listed, given=own)
    return folder


def fetch_kaggle(handle: str, folder) -> Path:
    """Download a Kaggle data set with kagglehub, which continues interrupted downloads itself.

    Raises
    ------
    FetchError
        If it fails for whatever reason (no network, credentials wanted, not found).
    """
    folder = Path(folder)
    cache = folder.with_name(f".{folder.name}.kagglehub")
    before = os.environ.get("KAGGLEHUB_CACHE")
    os.environ["KAGGLEHUB_CACHE"] = os.fspath(cache)  # beside the target, so that a move is enough
    try:
        import kagglehub

        found = kagglehub.dataset_download(handle)
    except Exception as error:  # requests, kagglehub and json errors of many kinds
        raise FetchError(f"kagglehub could not fetch {handle} ({error})") from error
    finally:
        os.environ.pop("KAGGLEHUB_CACHE")
        if before is not None:
            os.environ["KAGGLEHUB_CACHE"] = before
    shutil.copytree(found, folder, dirs_exist_ok=True, copy_function=shutil.move)
    shutil.rmtree(cache)
    return folder


def _download(url: str, target: Path) -> None:
    """Download `url` to `target` with a progress bar, continuing what is there already.

    The part that is there lies under ``<target>.part``; it is only continued where the server
    says that the file is still the same one (its ETag or date).
    """
    if target.is_file():
        return
    part, tag = Path(f"{target}.part"), Path(f"{target}.tag")
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.is_file() else 0
        try:
            total = _continue(url, part, tag)
        except (OSError, http.client.HTTPException) as error:
            status = getattr(error, "code", None)  # of an answer that the server refused
            if status == 416:  # the part is no beginning of what the server has now
                part.unlink(missing_ok=True)
                continue
            if attempt == ATTEMPTS or (status is not None and status < 500):
                raise FetchError(f"{url}: {error}; run it again to continue") from error
            continue
        size = part.stat().st_size
        if total is None or size == total:
            part.replace(target)
            tag.unlink(missing_ok=True)
            return
        if size == before:
            break
    size = part.stat().st_size if part.is_file() else 0
    raise FetchError(f"{url}: interrupted at {size} bytes; run it again to continue")


def _continue(url: str, part: Path, tag: Path) -> int | None:
    """Make one request for what is missing; return the size of the whole if the server tells."""
    from tqdm import tqdm

    have = part.stat().st_size if part.is_file() and tag.is_file() else 0
    headers = {"User-Agent": "ddlib"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        have = have if answer.status == 206 else 0  # 200: the server begins anew
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if mark:
            tag.write_text(mark, encoding="utf-8")
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem)
        with bar, part.open("ab" if have else "wb") as file:
            while block := answer.read(BLOCK):
                bar.update(file.write(block))
    return total


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)  # zipfile itself drops '..' and drives
    elif tarfile.is_tarfile(archive):
        if not hasattr(tarfile, "data_filter"):
            raise FetchError(f"{archive}: this Python cannot unpack tar safely; update it")
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    else:
        archive.unlink()
        raise FetchError(f"{archive.name}: what came is neither zip nor tar; check the address")


def _names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]


def _git(folder: Path, *words: str, given: str | None = None) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), *words],
            input=given,
            capture_output=True,
            encoding="utf-8",
            check=True,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"},
        )
    except FileNotFoundError as error:
        raise FetchError("git is not installed; install it and run this again") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise FetchError(f"git {words[0]}: {last}; run it again to continue") from error
    return done.stdout
