"""Downloads from servers and repositories on this machine: whole or nothing, nothing outside."""

import hashlib
import io
import os
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


BAD = {
    "page": (b"<html>please log in</html>", "not a readable|could not be opened|tar"),
    "zip: checksum": (altered(zipped({"a.txt": b"b" * 99}), 50, b"x"), "Bad CRC-32.*a.txt"),
    "tar.gz: cut short": (tarred("set/a.txt")[:-20], "end-of-stream|ended|CRC"),
    "tar: parent": (tarred("../out.txt"), "outside"),
    "tar: link": (tarred("set/link", tarfile.SYMTYPE, "../../out.txt"), "outside"),
    "tar: device": (tarred("set/device", tarfile.CHRTYPE), "special file"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_archive_is_one_error_and_leaves_nothing(server, tmp_path, what):
    server.body, said = BAD[what]
    with pytest.raises(FetchError, match=f"{server.url}: .*({said}).*; run it again"):
        fetch_archive(server.url, tmp_path / "deep" / "here")
    assert not [path for path in tmp_path.rglob("*") if path.name != "deep"]


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "C:/out.txt"])
def test_a_zip_writes_below_its_folder_only(server, tmp_path, name):
    server.body = zipped({name: b"x", "set/a.txt": b"abc"})
    folder = fetch_archive(server.url, tmp_path / "deep" / "here")
    written = files_of(tmp_path)
    assert "deep/here/set/a.txt" in written
    assert all(path.startswith("deep/here/") for path in written)
    assert folder == tmp_path / "deep" / "here"


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


def test_a_server_that_stumbles_or_breaks_off_is_asked_again(server, tmp_path):
    server.status, server.cut = [503], [100]
    assert (fetch_archive(server.url, tmp_path / "here") / "set" / "a.txt").is_file()
    assert server.asked == 3
    server.status = [404] * 9
    with pytest.raises(FetchError, match="404.*run it again"):
        fetch_archive(server.url, tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_wrong_hash_is_an_error_and_leaves_nothing(server, tmp_path):
    with pytest.raises(FetchError, match="does not match the known hash"):
        fetch_archive(server.url, tmp_path / "here", "0" * 64)
    assert list(tmp_path.iterdir()) == []


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
