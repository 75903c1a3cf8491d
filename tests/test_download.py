"""Fetching against servers and repositories on this machine: checked, whole or nothing, safe."""

import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import types
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ddlib.data import download as download_module
from ddlib.data.download import FetchError, _git, fetch_archive, fetch_git, fetch_kaggle


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
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.asked, serving.status, serving.cut = 0, [], []
    serving.body = zipped({"set/a.txt": b"a" * 1000, "set/b/c.txt": os.urandom(5000)})
    serving.url = f"http://127.0.0.1:{serving.server_address[1]}/set.zip"
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
    yield serving
    serving.shutdown()
    serving.server_close()


def zipped(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(name, kind=tarfile.REGTYPE, target=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        good = tarfile.TarInfo("set/good.txt")
        good.size = 3
        archive.addfile(good, io.BytesIO(b"abc"))
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, target, 3 * (kind == tarfile.REGTYPE)
        archive.addfile(entry, io.BytesIO(b"abc"))
    return buffer.getvalue()


def zip_with_link():
    link = zipfile.ZipInfo("set/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped({link: "../../out.txt"})


def bad_crc():
    data = bytearray(zipped({"a.txt": b"b" * 2000}))
    data[100] ^= 1
    return bytes(data)


class TestArchive:
    def test_download_unpack_and_clean_up(self, server, tmp_path):
        sha = hashlib.sha256(server.body).hexdigest()
        folder = fetch_archive(server.url, tmp_path / "here", sha)
        assert (folder / "set" / "a.txt").read_bytes() == b"a" * 1000
        assert [path.name for path in tmp_path.iterdir()] == ["here"]

    def test_tar(self, server, tmp_path):
        server.body = tarred("set/more.txt")
        folder = fetch_archive(server.url, tmp_path / "here")
        assert (folder / "set" / "more.txt").read_bytes() == b"abc"

    def test_a_server_that_stumbles_or_breaks_off_is_asked_again(self, server, tmp_path):
        server.status, server.cut = [503], [100]
        fetch_archive(server.url, tmp_path / "here")
        assert server.asked == 3

    def test_a_file_that_is_not_there(self, server, tmp_path):
        server.status = [404] * 9
        with pytest.raises(FetchError, match="404.*run it again"):
            fetch_archive(server.url, tmp_path / "there")
        assert list(tmp_path.iterdir()) == []

    def test_a_wrong_hash_is_an_error_and_the_file_is_fetched_anew(self, server, tmp_path):
        with pytest.raises(FetchError, match="sha256 is .* not 000"):
            fetch_archive(server.url, tmp_path / "here", "000")
        assert list(tmp_path.iterdir()) == []
        server.body = zipped({"new.txt": b"new"})
        assert [p.name for p in fetch_archive(server.url, tmp_path / "here").iterdir()] == [
            "new.txt"
        ]

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"<html>please log in</html>", "neither zip nor tar"),
            (b"", "neither zip nor tar"),
            (zipped({}), "holds no file"),
            (zipped({"a/": b""}), "holds no file"),
            (bad_crc(), "damaged"),
            (zipped({"a.txt": b"a" * 999})[:-30], "neither zip nor tar|damaged"),
            (tarred("set/a.txt")[:-20], "damaged"),
            (zipped({"../out.txt": b"x"}), "a path outside its folder"),
            (zipped({"C:/out.txt": b"x"}), "a path outside its folder"),
            (zip_with_link(), "a link or device"),
            (tarred("../out.txt"), "a path outside its folder"),
            (tarred("/out.txt"), "a path outside its folder"),
            (tarred("set/link", tarfile.SYMTYPE, "../../out.txt"), "a link or device"),
            (tarred("set/link", tarfile.LNKTYPE, "set/good.txt"), "a link or device"),
            (tarred("set/fifo", tarfile.FIFOTYPE), "a link or device"),
        ],
    )
    def test_a_bad_archive_is_one_error_and_leaves_nothing(self, server, tmp_path, body, said):
        server.body = body
        with pytest.raises(FetchError, match=said):
            fetch_archive(server.url, tmp_path / "deep" / "here")
        assert list((tmp_path / "deep").iterdir()) == []
        assert not list(tmp_path.rglob("out.txt"))


@pytest.fixture
def repository(tmp_path):
    """A repository of two folders, bare, that allows partial clones as large hosts do."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    source = tmp_path / "source"
    for name in ("512/man/a b.txt", "512/man/ü.txt", "768/c.txt", "README.md"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name, encoding="utf-8")

    def git(*words, at=source):
        identity = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "core.autocrlf=false")
        subprocess.run(["git", "-C", at, *identity, *words], check=True, capture_output=True)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "set")
    bare = tmp_path / "bare.git"
    git("clone", "--quiet", "--bare", os.fspath(source), os.fspath(bare), at=tmp_path)
    for option in ("allowFilter", "allowAnySHA1InWant"):
        git("config", f"uploadpack.{option}", "true", at=bare)
    return bare.as_uri()


def files_of(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


class TestGit:
    names = {"512/man/a b.txt", "512/man/ü.txt", "768/c.txt", "README.md"}

    def test_clone(self, repository, tmp_path):
        folder = fetch_git(repository, tmp_path / "clone")
        assert files_of(folder) == self.names
        assert (folder / "512/man/ü.txt").read_text(encoding="utf-8") == "512/man/ü.txt"

    def test_an_interrupted_clone_goes_on_where_it_stopped(self, repository, tmp_path, monkeypatch):
        true, calls = _git, []

        def dying(folder, *words, **more):
            calls.append(words[0])
            if calls.count("checkout") == 2:
                (folder / ".git" / "index.lock").touch()  # as a killed git leaves it
                raise KeyboardInterrupt
            return true(folder, *words, **more)

        monkeypatch.setattr(download_module, "_git", dying)
        with pytest.raises(KeyboardInterrupt):
            fetch_git(repository, tmp_path / "clone")
        assert 0 < len(files_of(tmp_path / "clone")) < 4
        again = []
        monkeypatch.setattr(
            download_module, "_git", lambda f, *w, **m: again.append(w[0]) or true(f, *w, **m)
        )
        assert files_of(fetch_git(repository, tmp_path / "clone")) == self.names
        assert again.count("checkout") == 2  # of three folders one was done

    def test_a_lost_file_comes_back(self, repository, tmp_path):
        folder = fetch_git(repository, tmp_path / "clone")
        (folder / "768" / "c.txt").unlink()
        assert files_of(fetch_git(repository, folder)) == self.names

    def test_errors_carry_git_s_own_words(self, tmp_path, monkeypatch):
        with pytest.raises(FetchError, match=r"git fetch: .*run it again"):
            fetch_git((tmp_path / "nowhere.git").as_uri(), tmp_path / "clone")
        monkeypatch.setenv("PATH", "")
        with pytest.raises(FetchError, match="git is not installed"):
            fetch_git("x", tmp_path / "other")


class TestKaggle:
    def test_kagglehub_is_asked_for_the_folder_and_a_failure_names_the_set(
        self, tmp_path, monkeypatch
    ):
        asked, fake = [], types.ModuleType("kagglehub")
        fake.dataset_download = lambda handle, output_dir: asked.append((handle, output_dir))
        monkeypatch.setitem(sys.modules, "kagglehub", fake)
        assert fetch_kaggle("who/what", tmp_path / "set") == tmp_path / "set"
        assert asked == [("who/what", os.fspath(tmp_path / "set"))]
        fake.dataset_download = None
        with pytest.raises(FetchError, match="kagglehub could not fetch who/what"):
            fetch_kaggle("who/what", tmp_path / "set")
