"""``ddlib data`` and ``ddlib cache``: what they print and how they end."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ddlib.__main__ import main
from ddlib.cli import data
from ddlib.data.cache import Cache
from ddlib.data.sources import open_folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call ``ddlib data ...`` with a cache of its own."""
    monkeypatch.setenv("DDLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DDLIB_DATA", raising=False)

    def call(*words):
        return CliRunner().invoke(main, ["data", *map(str, words)])

    return call


@pytest.fixture
def folder(tmp_path, picture):
    """Four reals and four fakes alike in form."""
    for split in ("train", "test"):
        for name in ("real/phone/0", "real/phone/1", "fake/stylegan/0", "fake/stylegan/1"):
            picture(tmp_path / "images" / split / f"{name}.png", (32, 32))
    return tmp_path / "images"


def test_check_of_a_sound_folder(run, folder):
    told = run("check", folder)
    assert told.exit_code == 0, told.output
    assert "8 files = 8 images + 0 excluded" in told.output
    row = next(line for line in told.output.splitlines() if "stylegan" in line)
    assert row.split() == ["fake", "stylegan", "2", "0", "2", "PNG", "32", "32"]
    assert told.output.count("warning") == 1
    assert "warning: the split 'valid' has no real and no fake images" in told.output
    assert told.output.endswith("no problems found\n")


def test_check_lists_broken_images_and_fails(run, folder):
    (folder / "train/real/phone/empty.jpg").write_bytes(b"")
    (folder / "train/fake/stylegan/text.jpg").write_text("text")
    (folder / "stray.png").write_bytes(b"whatever")
    told = run("check", folder)
    assert told.exit_code == 1
    assert "11 files = 8 images + 3 excluded" in told.output
    assert "problem: 2 excluded" in told.output
    assert "train/real/phone/empty.jpg: the file is empty" in told.output
    assert "note: 1 excluded (unknown layout)\n  stray.png: in no known layout" in told.output


def test_check_names_what_a_terminal_must_not_be_told(folder):
    """Escape sequences and line ends in names: of files, sources and contradictory copies."""
    original = (folder / "train/real/phone/0.png").read_bytes()
    for name in ("train/fake/\x1b[31mred/a\n\x1b[2J.png", "train/real/phone/\x1b[31m.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"text" + original if "phone" in name else original)
    told = CliRunner().invoke(main, ["data", "check", str(folder)], color=True)
    assert told.exit_code == 1
    assert "\x1b" not in told.output
    assert r"train/fake/\x1b[31mred/a\n\x1b[2J.png (fake)" in told.output
    told = CliRunner().invoke(main, ["predict", f"{folder}/\x1b[31m.png"], color=True)
    assert told.exit_code != 0 and "\x1b" not in told.output


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes")
def test_a_name_that_is_no_text_is_set_aside_and_the_others_can_be_trained_on(run, folder):
    Image.new("RGB", (40, 40)).save(os.fsencode(folder) + b"/train/real/phone/\xff\xfe.png", "PNG")
    told = run("check", folder)
    assert told.exit_code == 1 and r"\udcff\udcfe.png: its name is not UTF-8" in told.output
    manifest = open_folder(folder)
    assert manifest.digest() and manifest.save(folder / "table.csv") is None


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs a right on Windows")
def test_check_follows_links_and_names_folders_that_cannot_be_read(run, folder, monkeypatch):
    (folder / "train/real/linked").symlink_to(folder / "test/real/phone")
    (folder / "train/real/loop").symlink_to(folder)
    (folder / "train/fake/stylegan/loop").symlink_to(folder / "train/fake")
    told = run("check", folder)
    assert told.exit_code == 1
    assert "test/real/phone/0.png (test), train/real/linked/0.png (train)" in told.output
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("test/fake"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (folder / "train/real/linked").unlink()
    told = run("check", folder)
    assert told.exit_code == 1
    assert "  test/fake/: the folder cannot be read" in told.output


def test_check_warns_of_labels_that_a_folder_contradicts(run, folder):
    (folder / "train/real/phone/fake").mkdir()
    (folder / "train/real/phone/0.png").rename(folder / "train/real/phone/fake/0.png")
    told = run("check", folder)
    assert told.exit_code == 0
    assert "1 images lie in a folder of the other label, such as train/real" in told.output


def test_check_notes_copies_and_fails_on_copies_across_splits(run, folder):
    original = (folder / "train/real/phone/0.png").read_bytes()
    (folder / "train/real/phone/copy.png").write_bytes(original)
    told = run("check", folder)
    assert told.exit_code == 0
    assert "copy.png: exact duplicate of train/real/phone/0.png" in told.output
    (folder / "test/real/phone/copy.png").write_bytes(original)
    told = run("check", folder)
    assert told.exit_code == 1
    assert "problem: the same image has more than one split" in told.output
    assert "test/real/phone/copy.png (test)" in told.output


def test_check_names_some_unless_asked_for_all(run, folder):
    for i in range(9):
        (folder / f"stray{i}.png").write_bytes(b"x")
    assert "and 4 more (--all names them)" in run("check", folder).output
    everything = run("check", folder, "--all").output
    assert all(f"stray{i}.png" in everything for i in range(9))


@pytest.mark.skipif(os.name == "nt", reason="a pipe of a POSIX shell")
def test_check_without_a_reader_ends_quietly(folder, tmp_path):
    for i in range(400):  # more than a pipe holds
        (folder / f"in no known layout, {'x' * 160} {i}.png").touch()
    command = f"{sys.executable} -m ddlib data check {folder} --all"
    told = subprocess.run(
        ["bash", "-c", f"set -o pipefail\n{command} | head -1"],
        capture_output=True,
        text=True,
        env=os.environ | {"DDLIB_CACHE": str(tmp_path / "cache")},
    )
    assert (told.returncode, told.stderr) == (1, "")
    assert f"{folder}: 408 files = 8 images + 400 excluded" in told.stdout


def test_errors_are_one_message_without_a_traceback(run, tmp_path):
    told = run("check", tmp_path / "gone")
    assert told.exit_code == 2
    assert "gone' does not exist" in told.output
    (tmp_path / "empty").mkdir()
    told = run("check", tmp_path / "empty")
    assert told.exit_code == 1
    assert told.output.startswith("Error: ")


def test_list_shows_what_is_registered_what_is_here_and_the_terms(run, folder):
    told = run("list", "--data", folder)
    assert told.exit_code == 0
    tiers, sets, terms = (
        {line.split()[0]: line for line in part.splitlines()} for part in told.output.split("\n\n")
    )
    assert tiers["large"].split() == ["large", "15503", "675", "MB"]
    assert "70000 ffhq, 70000 stylegan" in sets["140k"]
    assert "4 phone" in sets["generic"]
    assert folder.as_posix() in sets["generic"]
    assert folder.as_posix() not in sets["lfw"]
    assert "CC BY 4.0" in terms["sd9k"] and "yes, with credit" in terms["sd9k"]
    assert "github.com/i-Shreyansh/DeepFake-Detection" in terms["dfdc"]
    assert run("list", "--data", folder / "gone").exit_code == 0


def test_fetch_prints_licence_and_place(run, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "fetch", lambda name, root, url, sha256: root / name)
    told = run("fetch", "sd9k", "--data", tmp_path)
    assert "licence: CC BY 4.0" in told.output
    assert told.output.endswith(f"sd9k: complete in {(tmp_path / 'sd9k').as_posix()}\n")
    monkeypatch.undo()
    told = run("fetch", "nothing", "--data", tmp_path)
    assert told.exit_code == 2
    assert "'nothing' is not one of 'sample', 'large', '140k'" in told.output


def test_fetch_says_size_time_and_disk_first(run, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "fetch", lambda name, root, url, sha256: root / name)
    told = run("fetch", "140k", "--data", tmp_path).output
    assert "size: 4.0 GB, about 27 min at 20 Mbit/s; twice that on disk meanwhile" in told
    assert "training on all 140,000 at width 1.0 would keep up to 45.9 GB in the cache" in told
    assert "size: not known here" in run("fetch", "sd9k", "--data", tmp_path).output
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5 * 10**9))
    told = run("fetch", "140k", "--data", tmp_path / "new")
    assert told.exit_code == 1
    assert "8.0 GB are needed and 5.0 GB are free; make room" in told.output
    assert run("fetch", "sample", "--url", "http://x").exit_code == 2


def test_the_cache_command_shows_and_clears(tmp_path, monkeypatch):
    monkeypatch.setenv("DDLIB_CACHE", str(tmp_path))
    Cache().array("images", {}, (2, 2), "uint8", lambda: [np.zeros((2, 2))])
    shown = CliRunner().invoke(main, ["cache", "info"]).output
    assert "images" in shown and "1 arrays" in shown
    told = CliRunner().invoke(main, ["cache", "clear"])  # no terminal to ask on
    assert (told.exit_code, "say --yes" in told.output) == (2, True)
    assert "freed" in CliRunner().invoke(main, ["cache", "clear", "--yes"]).output
    assert "0 arrays" in CliRunner().invoke(main, ["cache", "info"]).output
