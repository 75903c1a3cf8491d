"""Bring a data set's files here: an archive by HTTP, a git repository, or a Kaggle data set."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from ddlib._io import file_digest

ATTEMPTS = 5
TIMEOUT = 60  # seconds without a byte


class FetchError(OSError):
    """A data set could not be brought here; the message says what to do."""


def fetch_archive(url: str, folder, sha256: str | None = None) -> Path:
    """Download a zip or tar archive with pooch and unpack it into `folder`.

    The archive is removed once it is unpacked, and when it is damaged.

    Raises
    ------
    FetchError
        If the server cannot be reached, the content differs from `sha256`, it is no archive, it is
        damaged, or it holds a link or a path outside the folder.
    """
    import pooch

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # the name depends on the address: a file of another address is never reused
    name = f".{folder.name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.download"
    archive = folder.with_name(name)
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=1 << 18, timeout=TIMEOUT
    )
    cache = pooch.create(folder.parent, "", registry={name: None}, urls={name: url})
    cache.retry_if_failed = ATTEMPTS - 1
    try:
        cache.fetch(name, downloader=downloader)
        found = file_digest(archive)
        if sha256 and found != sha256:
            raise FetchError(f"{url}: sha256 is {found}, not {sha256}; the download was removed")
        _unpack(archive, folder)
    except FetchError:
        raise
    except Exception as error:  # requests and urllib3 raise errors of many kinds
        raise FetchError(f"{url}: {error}; run it again") from error
    finally:
        archive.unlink(missing_ok=True)
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
        paths = "\0".join(name for name in missing if PurePosixPath(name).parent == part)
        from_stdin = ("--pathspec-from-file=-", "--pathspec-file-nul")
        _git(folder, "checkout", "--quiet", commit, *from_stdin, stdin=paths)
    return folder


def fetch_kaggle(handle: str, folder) -> Path:
    """Download a Kaggle data set with kagglehub, which continues interrupted downloads itself.

    Raises
    ------
    FetchError
        If it fails for whatever reason (no network, credentials wanted, not found).
    """
    import kagglehub

    try:
        kagglehub.dataset_download(handle, output_dir=os.fspath(folder))
    except Exception as error:  # requests, kagglehub and json errors of many kinds
        raise FetchError(f"kagglehub could not fetch {handle} ({error})") from error
    return Path(folder)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a folder beside `folder` and move the files when all are there."""
    staging = folder.with_name(f".{folder.name}.unpacked")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for member in opened.infolist():
                    mode = member.external_attr >> 16
                    _check_member(member.filename, stat.S_ISLNK(mode))
                opened.extractall(staging)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                for member in opened:
                    _check_member(member.name, not (member.isfile() or member.isdir()))
                    opened.extract(member, staging, filter="data")
        else:
            raise FetchError("what came is neither zip nor tar; check the address")
        if not any(path.is_file() for path in staging.rglob("*")):
            raise FetchError("the archive holds no file; check the address")
        shutil.copytree(staging, folder, dirs_exist_ok=True, copy_function=shutil.move)
    except FetchError:
        raise
    except Exception as error:  # each way an archive can be damaged has an error of its own
        raise FetchError(f"the archive is damaged or of an unknown kind ({error})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_member(name: str, is_special: bool) -> None:
    windows = PureWindowsPath(name)
    outside = name.startswith("/") or windows.drive or windows.root or ".." in windows.parts
    if outside or is_special:
        what = "a link or device" if is_special else "a path outside its folder"
        raise FetchError(f"the archive holds {what} ({name!r}) and is not unpacked")


def _names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]


def _git(folder: Path, *words: str, stdin: str | None = None) -> str:
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"}
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), *words],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            check=True,
            env=environment,
        )
    except FileNotFoundError as error:
        raise FetchError("git is not installed; install it and run this again") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise FetchError(f"git {words[0]}: {last}; run it again to continue") from error
    return done.stdout
