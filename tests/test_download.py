"""Downloads from servers and repositories on this machine: whole or nothing, nothing outside."""

import contextlib
import hashlib
import io
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ddlib.data.download import FetchError, fetch_archive, fetch_git, fetch_kaggle


class Handler(BaseHTTPRequestHandler):
    """Serve one body; `status` holds answers to give before, `cut` lengths to break off after."""

    def do_GET(self):  # noqa: N802
        server = self.server
        server.asked += 1
        if server.status:
            self.send_error(server.status.pop(0))
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body[: server.cut.pop(0) if server.cut else None])
        self.close_connection = True

    def log_message(self, *words):
        """Print nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # pooch waits between attempts
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.asked, serving.status, serving.cut = 0, [], []
        serving.body = zipped({"set/a.txt": b"a" * 1000, "set/b/c.txt": os.urandom(5000)})
        serving.url = f"http://127.0.0.1:{serving.server_address[1]}/set.zip"
        threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
        yield serving
        serving.shutdown()


def zipped(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(name, kind=tarfile.REGTYPE, target="", mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for entry in (tarfile.TarInfo("set/good.txt"), tarfile.TarInfo(name)):
            entry.size = 3
            if entry.name == name:
                entry.type, entry.linkname = kind, target
            archive.addfile(entry, io.BytesIO(b"abc"))
    return buffer.getvalue()


def altered(data, at, by):
    return data[:at] + by + data[at + len(by) :]


def zip_with(field, value):
    """A zip of one stored file whose headers say `value` at an offset of the local header."""
    data = zipped({"a.txt": b"a" * 99})
    in_directory = data.index(b"PK\1\2") + field + 2
    return altered(
        altered(data, field, struct.pack("<H", value)), in_directory, struct.pack("<H", value)
    )


LINK = zipfile.ZipInfo("set/link")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16
TAR = tarred("set/a.txt", mode="w:")
BAD = {
    "page": (b"<html>please log in</html>", "neither zip nor tar"),
    "nothing": (b"", "neither zip nor tar"),
    "no file": (zipped({}), "holds no file"),
    "only a folder": (zipped({"a/": b""}), "holds no file"),
    "zip: checksum": (altered(zipped({"a.txt": b"b" * 99}), 50, b"x"), "Bad CRC-32.*a.txt"),
    "zip: encrypted": (zip_with(6, 1), "encrypted"),
    "zip: compression": (zip_with(8, 97), "compression"),
    "zip: cut short": (zipped({"a.txt": b"a" * 999})[:-30], "not a zip file"),
    "tar: cut in a file": (TAR[:514], "unexpected end"),
    "tar: cut in a header": (TAR[:1100], "damaged or cut short"),
    "tar: cut between files": (TAR[:1024], "damaged or cut short"),
    "tar: damaged header": (altered(TAR, 1030, b"xx"), "damaged or cut short"),
    "tar.gz: cut short": (tarred("set/a.txt")[:-20], "end-of-stream|damaged"),
    "tar.gz: checksum": (altered(tarred("set/a.txt"), -8, b"xxxx"), "CRC|incorrect|damaged"),
    "nested": (zipped({"images.tar.gz": tarred("set/a.txt")}), "only archives.*images.tar.gz"),
    "zip: one name twice": (zipped({"a/b.txt": b"1", "a\\b.txt": b"2"}), "two files 'a..?.?b.txt'"),
    "zip: parent": (zipped({"a/../../out.txt": b"x"}), "a path outside"),
    "zip: drive": (zipped({"C:/out.txt": b"x"}), "a path outside"),
    "zip: backslash": (zipped({"..\\out.txt": b"x"}), "a path outside"),
    "zip: link": (zipped({LINK: "../../out.txt"}), "a link or device"),
    "tar: parent": (tarred("../out.txt"), "a path outside"),
    "tar: absolute": (tarred("/out.txt"), "a path outside"),
    "tar: symbolic link": (tarred("set/link", tarfile.SYMTYPE, "set/good.txt"), "a link or device"),
    "tar: hard link": (tarred("set/link", tarfile.LNKTYPE, "set/good.txt"), "a link or device"),
    "tar: pipe": (tarred("set/pipe", tarfile.FIFOTYPE), "a link or device"),
    "tar: device": (tarred("set/device", tarfile.CHRTYPE), "a link or device"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_archive_is_one_error_and_leaves_nothing(server, tmp_path, what):
    server.body, said = BAD[what]
    with pytest.raises(FetchError, match=f"{server.url}: .*{said}.*; the download was removed"):
        fetch_archive(server.url, tmp_path / "deep" / "here")
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"]


FILES = {"set/a.txt": b"a" * 3000, "set/b/c.txt": bytes(range(256)) * 8, "d.txt": b"d"}


def packed(kind, files=FILES):
    if kind == "zip":
        return zipped(files, compression=zipfile.ZIP_DEFLATED)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "w:", "w:gz", "w:bz2", "w:xz"])
def test_a_damaged_archive_is_an_error_or_gives_the_right_files(server, tmp_path, kind):
    """Cut anywhere, and but for plain tar, which has no checksum, one byte changed anywhere."""
    rng, whole, refused = random.Random(kind), packed(kind), 0
    for _ in range(80):
        at = rng.randrange(len(whole))
        if kind == "w:" or rng.random() < 0.5:
            server.body = whole[:at]
        else:
            server.body = altered(whole, at, bytes([whole[at] ^ rng.randrange(1, 256)]))
        try:
            folder = fetch_archive(server.url, tmp_path / "here")
        except FetchError:
            refused += 1
        else:
            assert {name: (folder / name).read_bytes() for name in files_of(folder)} == FILES
            shutil.rmtree(folder)
        assert not list(tmp_path.iterdir())
    assert refused > 40


@pytest.mark.parametrize("seed", range(40))
def test_an_archive_writes_below_its_folder_or_nowhere(server, tmp_path, seed):
    """Chains of links, and names that leave the folder, in any order and mixture."""
    rng, buffer = random.Random(seed), io.BytesIO()
    parts = ["a", "b", "..", ".", "", "c\\..", "..\\..", "C:", "x" * 90]
    kinds = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for _ in range(rng.randint(1, 6)):
            name, target = ("/".join(rng.choices(parts, k=rng.randint(1, 4))) for _ in range(2))
            entry = tarfile.TarInfo(name or "e")
            entry.type, entry.linkname = rng.choice(kinds), target or ".."
            entry.size = 4 if entry.isfile() else 0
            archive.addfile(entry, io.BytesIO(b"evil"))
    server.body = buffer.getvalue()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with contextlib.suppress(FetchError):
        fetch_archive(server.url, tmp_path / "deep" / "er" / "here")
    for path in tmp_path.rglob("*"):
        assert not path.is_symlink()
        assert path.is_dir() or (path.is_relative_to(tmp_path / "deep" / "er" / "here"))
        assert path.name in ("deep", "er", "here") or "here" in path.parts


@pytest.mark.parametrize("kind", ["zip", "w:", "w:gz", "w:bz2", "w:xz"])
def test_the_files_of_an_archive_land_in_the_folder_beside_what_is_there(server, tmp_path, kind):
    server.body = zipped({"set/a.txt": b"abc"}) if kind == "zip" else tarred("set/a.txt", mode=kind)
    sha = hashlib.sha256(server.body).hexdigest().upper()
    (tmp_path / "here" / "set").mkdir(parents=True)
    (tmp_path / "here" / "set" / "mine.txt").write_text("mine")
    for folder in (tmp_path / "here", tmp_path / "new"):
        assert fetch_archive(server.url, folder, sha) == folder
        assert (folder / "set" / "a.txt").read_bytes() == b"abc"
    assert (tmp_path / "here" / "set" / "mine.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "new"]


def test_folders_in_names_that_windows_wrote_are_folders_everywhere(server, tmp_path):
    server.body = zipped({"set\\real\\a.txt": b"abc", "set\\fake\\": b""})
    fetch_archive(server.url, tmp_path / "here")
    assert (tmp_path / "here" / "set" / "real" / "a.txt").read_bytes() == b"abc"


def test_a_server_that_stumbles_or_breaks_off_is_asked_again(server, tmp_path):
    server.status, server.cut = [503], [100]
    assert (fetch_archive(server.url, tmp_path / "here") / "set" / "a.txt").is_file()
    assert server.asked == 3
    server.status = [404] * 9
    with pytest.raises(FetchError, match="404.*run it again"):
        fetch_archive(server.url, tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_wrong_hash_is_an_error_and_the_file_is_fetched_anew(server, tmp_path):
    with pytest.raises(FetchError, match="sha256 is .* not 000; the download was removed"):
        fetch_archive(server.url, tmp_path / "here", "000")
    assert list(tmp_path.iterdir()) == []


def test_after_a_killed_unpacking_the_download_is_used_but_not_for_another_address(
    server, tmp_path, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch_archive(server.url, tmp_path / "here")
    assert not (tmp_path / "here").exists()
    server.body = zipped({"other.txt": b"other"})
    other = fetch_archive(f"{server.url}?other", tmp_path / "here")
    assert [path.name for path in other.iterdir()] == ["other.txt"]
    assert (fetch_archive(server.url, tmp_path / "here") / "set" / "a.txt").is_file()
    assert server.asked == 2
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


NAMES = {"512/man/a b.txt", "512/man/ü.txt", "768/c.txt", "README.md"}


@pytest.fixture
def repository(tmp_path):
    """The address of a repository that allows partial clones as large hosts do."""
    source = tmp_path / "source"
    for name in NAMES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name, encoding="utf-8")
    identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
    for words in (
        ["init", "--quiet"],
        ["config", "uploadpack.allowFilter", "true"],
        ["config", "uploadpack.allowAnySHA1InWant", "true"],
        ["add", "."],
        [*identity, "commit", "--quiet", "-m", "set"],
    ):
        subprocess.run(["git", "-C", source, *words], check=True, capture_output=True)
    return source.as_uri()


def files_of(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if ".git" not in path.parts}


def test_a_clone_that_was_killed_goes_on_where_it_stopped(repository, tmp_path, monkeypatch):
    true, checkouts = subprocess.run, []

    def dying(command, **options):
        if "checkout" in command:
            checkouts.append(command)
            if len(checkouts) == 2:
                raise KeyboardInterrupt
        return true(command, **options)

    with monkeypatch.context() as patch:
        patch.setattr("subprocess.run", dying)
        with pytest.raises(KeyboardInterrupt):
            fetch_git(repository, tmp_path / "clone")
    (tmp_path / "clone" / ".git" / "index.lock").touch()  # as a killed git leaves it
    done = {name: (tmp_path / "clone" / name).stat() for name in files_of(tmp_path / "clone")}
    assert 0 < len(done) < len(NAMES)
    clone = fetch_git(repository, tmp_path / "clone")
    assert files_of(clone) == NAMES
    assert (clone / "512/man/ü.txt").read_text(encoding="utf-8") == "512/man/ü.txt"
    assert all((clone / name).stat().st_ino == was.st_ino for name, was in done.items())
    (clone / "768" / "c.txt").unlink()
    assert files_of(fetch_git(repository, clone)) == NAMES


def test_the_files_of_a_folder_come_in_one_request(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    fetch_git(repository, tmp_path / "clone")
    # the commit, then its folders: ".", "512/man" and "768"
    assert (tmp_path / "trace").read_text().count("built-in: git fetch") == 1 + 3


def test_errors_carry_git_s_own_words(tmp_path, monkeypatch):
    with pytest.raises(FetchError, match=r"git fetch: .*run it again"):
        fetch_git((tmp_path / "nowhere.git").as_uri(), tmp_path / "clone")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FetchError, match="git is not installed"):
        fetch_git("x", tmp_path / "other")


KAGGLEHUB = """
import os, pathlib
def dataset_download(handle):
    place = pathlib.Path(os.environ["KAGGLEHUB_CACHE"], handle)
    half = place / "half"
    if not half.exists():
        place.mkdir(parents=True)
        half.touch()
        raise RuntimeError("broken off" + chr(10) + "sign in first")
    half.rename(place / "a.txt")
    return str(place)
"""


def test_kagglehub_continues_and_its_error_names_the_set(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "kagglehub.py").write_text(KAGGLEHUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FetchError, match="who/what .broken off sign in first"):
        fetch_kaggle("who/what", "data/set")
    assert files_of(fetch_kaggle("who/what", "data/set")) == {"a.txt"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["set"]
