"""Fetching against servers on this machine: interrupted, continued, checked."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import types
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ddlib.data import download as download_module
from ddlib.data.download import FetchError, _git, fetch_archive, fetch_git, fetch_kaggle


class Handler(BaseHTTPRequestHandler):
    """Serve one body with ranges; `plan` says after how many bytes each answer breaks off."""

    def do_GET(self):  # noqa: N802
        server = self.server
        begin = 0
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.status:
            self.send_error(server.status.pop(0))
            return
        if asked and self.headers.get("If-Range") == server.tag:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-/{len(server.body)}")
        else:
            self.send_response(200)
        self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(server.body) - begin))
        self.end_headers()
        most = server.plan.pop(0) if server.plan else None
        self.wfile.write(server.body[begin:][:most])
        self.close_connection = True

    def log_message(self, *words):
        """Say nothing."""


@pytest.fixture
def server():
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.plan, serving.asked, serving.status, serving.tag = [], [], [], '"first"'
    serving.body = zipped({"set/a.txt": b"a" * 1000, "set/b/c.txt": os.urandom(5000)})
    serving.url = f"http://127.0.0.1:{serving.server_address[1]}/set.zip"
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class TestArchive:
    def test_download_unpack_and_clean_up(self, server, tmp_path):
        sha = hashlib.sha256(server.body).hexdigest()
        folder = fetch_archive(server.url, tmp_path / "here", sha)
        assert (folder / "set" / "a.txt").read_bytes() == b"a" * 1000
        assert [path.name for path in tmp_path.iterdir()] == ["here"]
        assert server.asked == [None]

    def test_an_answer_that_breaks_off_is_continued_in_the_same_call(self, server, tmp_path):
        server.plan = [1000, 2000]
        fetch_archive(server.url, tmp_path / "here", hashlib.sha256(server.body).hexdigest())
        assert server.asked == [None, "bytes=1000-", "bytes=3000-"]

    def test_an_interrupted_call_is_continued_by_the_next(self, server, tmp_path):
        server.plan = [1000, 0]
        with pytest.raises(FetchError, match="interrupted at 1000 bytes; run it again"):
            fetch_archive(server.url, tmp_path / "here")
        assert not (tmp_path / "here").exists()
        fetch_archive(server.url, tmp_path / "here", hashlib.sha256(server.body).hexdigest())
        assert server.asked[-1] == "bytes=1000-"

    def test_a_file_that_changed_meanwhile_is_begun_anew(self, server, tmp_path):
        server.plan = [1000, 0]
        with pytest.raises(FetchError):
            fetch_archive(server.url, tmp_path / "here")
        server.tag, server.body = '"second"', zipped({"new.txt": b"new"})
        folder = fetch_archive(server.url, tmp_path / "here")
        assert [path.name for path in folder.iterdir()] == ["new.txt"]

    def test_a_part_that_is_too_long_is_begun_anew(self, server, tmp_path):
        (tmp_path / "here.download.part").write_bytes(b"x" * 99_999)
        (tmp_path / "here.download.tag").write_text(server.tag)
        server.status = [416]
        fetch_archive(server.url, tmp_path / "here", hashlib.sha256(server.body).hexdigest())
        assert server.asked == ["bytes=99999-", None]

    def test_a_wrong_hash_is_an_error_and_leaves_nothing_to_continue(self, server, tmp_path):
        with pytest.raises(FetchError, match="sha256 is .* not 000"):
            fetch_archive(server.url, tmp_path / "here", "000")
        assert list(tmp_path.iterdir()) == []

    def test_a_server_that_stumbles_is_asked_again_one_that_refuses_is_not(self, server, tmp_path):
        server.status = [503, 503]
        fetch_archive(server.url, tmp_path / "here")
        assert len(server.asked) == 3
        server.status = [404]
        with pytest.raises(FetchError, match="404"):
            fetch_archive(server.url, tmp_path / "there")
        assert len(server.asked) == 4

    def test_a_page_instead_of_an_archive(self, server, tmp_path):
        server.body = b"<html>please log in</html>"
        with pytest.raises(FetchError, match="neither zip nor tar"):
            fetch_archive(server.url, tmp_path / "here")

    def test_tar_archives_cannot_leave_their_folder(self, server, tmp_path):
        if not hasattr(tarfile, "data_filter"):
            pytest.skip("this Python's tarfile has no filters")
        for name, works in {"in/a.txt": True, "../out.txt": False}.items():
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
                entry = tarfile.TarInfo(name)
                entry.size = 3
                archive.addfile(entry, io.BytesIO(b"abc"))
            server.body, server.tag = buffer.getvalue(), f'"{name}"'
            if works:
                folder = fetch_archive(server.url, tmp_path / "here")
                assert (folder / name).read_bytes() == b"abc"
            else:
                with pytest.raises(tarfile.FilterError):
                    fetch_archive(server.url, tmp_path / "there")
                assert not (tmp_path / "out.txt").exists()


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


@contextmanager
def kagglehub(monkeypatch, download):
    fake = types.ModuleType("kagglehub")
    fake.dataset_download = download
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    yield


class TestKaggle:
    def test_files_land_in_the_folder_and_the_cache_is_gone(self, tmp_path, monkeypatch):
        def download(handle):
            place = tmp_path / os.environ["KAGGLEHUB_CACHE"] / handle / "versions" / "2"
            (place / "deep").mkdir(parents=True)
            (place / "deep" / "a.txt").write_text("a")
            return os.fspath(place)

        monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)
        with kagglehub(monkeypatch, download):
            folder = fetch_kaggle("who/what", tmp_path / "set")
        assert files_of(folder) == {"deep/a.txt"}
        assert [path.name for path in tmp_path.iterdir()] == ["set"]
        assert "KAGGLEHUB_CACHE" not in os.environ

    def test_a_failure_keeps_what_came_and_names_the_set(self, tmp_path, monkeypatch):
        def download(handle):
            (tmp_path / ".set.kagglehub").mkdir()
            (tmp_path / ".set.kagglehub" / "half.archive").write_text("half")
            raise RuntimeError("403 Client Error: sign in first")

        monkeypatch.setenv("KAGGLEHUB_CACHE", "mine")
        with (
            kagglehub(monkeypatch, download),
            pytest.raises(FetchError, match="who/what .*sign in first"),
        ):
            fetch_kaggle("who/what", tmp_path / "set")
        assert (tmp_path / ".set.kagglehub" / "half.archive").is_file()
        assert os.environ["KAGGLEHUB_CACHE"] == "mine"
