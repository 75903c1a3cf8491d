"""Bring a data set's files here: an archive by HTTP, a git repository, or a Kaggle data set."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ddlib._utils import is_terminal, move

RETRIES = 2  # after a first failed attempt
TIMEOUT = 60  # seconds without a byte
GIT = {"GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"}
GIT |= {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": str(TIMEOUT)}
# A process of its own: kagglehub takes its folder from the environment alone. (`output_dir=` would
# refuse to continue an interrupted download.) The last line printed is the folder or the error.
KAGGLE = """
import sys, kagglehub
try:
    print(kagglehub.dataset_download(sys.argv[1]))
except Exception as error:
    print(str(error).replace(chr(10), " "))
    sys.exit(1)
"""


class FetchError(OSError):
    """A data set could not be brought here; the message says what to do."""


def fetch_archive(url: str, folder, sha256: str | None = None) -> Path:
    """Download a zip or tar archive with pooch and unpack its files into `folder`.

    Raises
    ------
    FetchError
        If the server cannot be reached, the content differs from `sha256`, or the archive is
        damaged or of another kind.
    """
    import pooch

    folder = Path(folder)
    work = folder.with_name(f".{folder.name}.download")
    shutil.rmtree(work, ignore_errors=True)  # of a call that was killed
    known = {"archive": sha256 and sha256.lower()}
    urls = {"archive": url}
    downloads = pooch.create(work, "", registry=known, urls=urls, retry_if_failed=RETRIES)
    watched = is_terminal(sys.stderr)
    downloader = pooch.HTTPDownloader(progressbar=watched, chunk_size=1 << 20, timeout=TIMEOUT)
    try:
        archive = downloads.fetch("archive", downloader=downloader)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:  # no name in it leaves the folder
                packed.extractall(work / "unpacked")
        else:  # the filter refuses links, devices and paths that leave the folder
            shutil.unpack_archive(archive, work / "unpacked", "tar", filter="data")
        _move(work / "unpacked", folder)
    except Exception as error:  # each way a download or an archive can be bad has its own error
        raise FetchError(f"{url}: {error}; run it again") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def fetch_git(url: str, folder) -> Path:
    """Clone the newest state of a repository into `folder`, without its history.

    The files come folder by folder, so an interrupted call loses one folder's download at most: the
    next call downloads the folders that are missing.

    Raises
    ------
    FetchError
        If git is missing or fails; the message holds git's own last line.
    """
    from tqdm import tqdm

    folder = Path(folder)
    commit, blobs = open_partial_clone(url, "HEAD", folder)
    names: dict[PurePosixPath, list[str]] = {}
    for name in blobs:
        names.setdefault(PurePosixPath(name).parent, []).append(name)
    listed = ("--pathspec-from-file=-", "--pathspec-file-nul")
    for own in tqdm(names.values(), desc=f"fetching {folder.name}", unit="folder"):
        if not all((folder / name).is_file() for name in own):
            fetch_blobs(folder, [blobs[name] for name in own])
        git(folder, "checkout", "--quiet", commit, *listed, stdin="\0".join(own).encode())
    return folder


def open_partial_clone(url: str, commit: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Fetch a commit without its files' contents; return its hash and the blob of each path."""
    folder.mkdir(parents=True, exist_ok=True)
    for lock in (folder / ".git").glob("*.lock"):
        lock.unlink()  # left by a call that was killed; nobody else works in this folder
    git(folder, "init", "--quiet")
    git(folder, "config", "remote.origin.url", url)
    if url.startswith("file:"):  # a copy on this machine, whatever it is set to allow
        allowing = "git -c uploadpack.allowFilter=true upload-pack"
        git(folder, "config", "remote.origin.uploadpack", allowing)
    git(folder, "fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", commit)
    commit, blobs = git(folder, "rev-parse", "FETCH_HEAD").decode().strip(), {}
    for line in git(folder, "ls-tree", "-r", "-z", commit).decode("utf-8").split("\0")[:-1]:
        facts, name = line.split("\t", 1)
        _, kind, blob = facts.split()
        if kind == "blob":  # not a submodule
            blobs[name] = blob
    return commit, blobs


def fetch_blobs(folder: Path, blobs: list[str]) -> None:
    """Fetch contents in one request; git by itself would send one for every file."""
    options = ("--no-tags", "--no-write-fetch-head", "--filter=blob:none", "--stdin")
    git(folder, "fetch", "--quiet", "origin", *options, stdin="\n".join(blobs).encode())


def read_blobs(folder: Path, blobs: list[str]) -> Iterator[bytes]:
    """Yield the contents of blobs that were fetched, in their order."""
    answer = git(folder, "cat-file", "--batch", stdin="".join(f"{x}\n" for x in blobs).encode())
    at = 0
    for blob in blobs:
        end = answer.index(b"\n", at)
        facts = answer[at:end].split()
        if facts[1:2] != [b"blob"]:
            raise FetchError(f"git has no content of the file {blob}; run it again")
        at = end + 1 + int(facts[2]) + 1
        yield answer[end + 1 : at - 1]


def fetch_kaggle(handle: str, folder) -> Path:
    """Download a Kaggle data set with kagglehub, which continues interrupted downloads itself.

    Raises
    ------
    FetchError
        If it fails for whatever reason (no network, credentials wanted, not found).
    """
    folder = Path(folder)
    work = folder.with_name(f".{folder.name}.kagglehub").absolute()  # a move away from the target
    # Kaggle's and Colab's own copies are read-only and cannot be moved: always download
    own = {"KAGGLEHUB_CACHE": str(work), "DISABLE_KAGGLE_CACHE": "1", "DISABLE_COLAB_CACHE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KAGGLE, handle],
        stdout=subprocess.PIPE,  # the progress bar goes to stderr
        encoding="utf-8",
        env=os.environ | own | {"PYTHONIOENCODING": "utf-8"},
    )
    last = (done.stdout.strip().splitlines() or ["no message"])[-1]
    if done.returncode:
        raise FetchError(f"kagglehub could not fetch {handle} ({last})")
    _move(Path(last), folder)
    shutil.rmtree(work)
    return folder


def _move(source: Path, folder: Path) -> None:
    """Move a folder's content to `folder`: at once, or file by file into one that exists."""
    if folder.exists():
        shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=shutil.move)
    else:
        move(source, folder)


def git(folder: Path, *words: str, stdin: bytes | None = None) -> bytes:
    """Run git in a folder and return what it prints.

    Raises
    ------
    FetchError
        If git is missing or fails; the message holds git's own last line.
    """
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), *words],
            input=stdin,
            capture_output=True,
            check=True,
            env=os.environ | GIT,
        )
    except FileNotFoundError as error:
        raise FetchError("git is not installed; install it and run this again") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise FetchError(f"git {words[0]}: {lines[-1]}; run it again to continue") from error
    return done.stdout
