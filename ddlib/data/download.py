"""Bring a data set's files here: an archive by HTTP, a git repository, or a Kaggle data set."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from ddlib._io import digest, file_digest

RETRIES = 2  # after a first failed attempt
TIMEOUT = 60  # seconds without a byte
ZIP64 = 0xFFFF  # in place of a number of members that needs more than 16 bits
ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"}
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

    The archive is removed once it is unpacked or found to be bad.

    Raises
    ------
    FetchError
        If the server cannot be reached, the content differs from `sha256`, or the archive is
        damaged, empty, of another kind, or holds a link, a device or a path outside the folder.
    """
    import pooch

    folder = Path(folder)
    # Named after the address: a file of another address is never taken for this one.
    work = folder.with_name(f".{folder.name}-{digest(url)[:12]}.download")
    downloads = pooch.create(
        work, "", registry={"archive": None}, urls={"archive": url}, retry_if_failed=RETRIES
    )
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=1 << 20, timeout=TIMEOUT
    )
    try:
        archive = Path(downloads.fetch("archive", downloader=downloader))
    except (OSError, ValueError) as error:  # all errors of requests are among these
        shutil.rmtree(work, ignore_errors=True)  # of a download nothing can be continued
        raise FetchError(f"{url}: {error}; run it again") from error
    try:
        if sha256 and (found := file_digest(archive)) != sha256.lower():
            raise FetchError(f"sha256 is {found}, not {sha256}")
        _unpack(archive, work / "unpacked")
        _move(work / "unpacked", folder)
    except Exception as error:  # each way an archive can be bad has an error of its own
        shutil.rmtree(work)
        raise FetchError(f"{url}: {error}; the download was removed") from error
    shutil.rmtree(work)
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


def _unpack(archive: Path, folder: Path) -> None:
    """Write the files of a zip or tar archive below a new `folder`, and nothing anywhere else."""
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
    names = []
    for name, special, opener in _members(archive):
        path = PureWindowsPath(name)  # knows both separators and drives
        if path.drive or path.root or ".." in path.parts:
            raise FetchError(f"the archive holds a path outside its folder ({name!r})")
        if special:
            raise FetchError(f"the archive holds a link or device ({name!r})")
        if opener is not None:
            target = folder.joinpath(*path.parts)
            if target.is_file():
                raise FetchError(f"the archive holds two files {name!r}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with opener() as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            names.append(name)
    if not names:
        raise FetchError("the archive holds no file; check the address")
    if all(PurePosixPath(name).suffix.lower() in ARCHIVES for name in names):
        raise FetchError(f"the archive holds only archives ({names[0]!r}); unpack it by hand")


def _members(archive: Path):
    """Yield each member's name, whether it is a link or device, and, of a file, how to open it."""
    with archive.open("rb") as file:
        is_zip = file.read(4) in (b"PK\3\4", b"PK\5\6")
    if is_zip:
        with zipfile.ZipFile(archive) as opened:
            # zipfile loses members where a length in the directory is damaged: the end has a count
            opened.fp.seek(max(0, archive.stat().st_size - (1 << 16) - 22))
            count = opened.fp.read().rpartition(b"PK\5\6")[2][6:8]
            if int.from_bytes(count, "little") not in (len(opened.infolist()), ZIP64):
                raise FetchError("the archive is damaged: members are missing in its directory")
            for member in opened.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                opener = None if member.is_dir() else partial(opened.open, member)
                yield member.filename, kind not in (0, stat.S_IFREG, stat.S_IFDIR), opener
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as opened:
            for member in opened:
                opener = partial(opened.extractfile, member) if member.isfile() else None
                yield member.name, not (member.isfile() or member.isdir()), opener
            # tarfile takes a damaged header for the end; a whole archive ends with zeros
            opened.fileobj.seek(opened.offset)
            if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise FetchError("the archive is damaged or cut short")
            while opened.fileobj.read(1 << 20):
                pass  # to the end, where the checksum of the compression is
    else:
        size = archive.stat().st_size
        raise FetchError(f"what came ({size} bytes) is neither zip nor tar; check the address")


def _move(source: Path, folder: Path) -> None:
    """Move a folder's content to `folder`: at once, or file by file into one that exists."""
    if folder.exists():
        shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=shutil.move)
    else:
        source.rename(folder)


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
