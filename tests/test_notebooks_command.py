"""`ddlib notebooks`: copies to teach with, from a checkout and from a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from ddlib.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.name: path.read_bytes() for path in (ROOT / "notebooks").glob("*.ipynb")}


def copied(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def call(*words):
    return CliRunner().invoke(main, ["notebooks", *map(str, words)])


def test_all_notebooks_are_copied_and_copied_again_and_other_files_stay(tmp_path):
    lab = tmp_path / "new" / "lab"
    told = call(lab)
    assert told.exit_code == 0 and f"{len(NOTEBOOKS)} notebooks in {lab}" in told.output
    assert copied(lab) == NOTEBOOKS
    (lab / "mine.ipynb").write_text("mine")
    assert call(lab).exit_code == 0
    assert copied(lab) == NOTEBOOKS | {"mine.ipynb": b"mine"}


def test_changed_ones_are_named_and_nothing_is_copied(tmp_path):
    names = sorted(NOTEBOOKS)
    (tmp_path / names[3]).write_text("my notes")
    told = call(tmp_path)
    assert told.exit_code == 1 and names[3] in told.output and "--force" in told.output
    assert names[2] not in told.output
    assert copied(tmp_path) == {names[3]: b"my notes"}
    assert call(tmp_path, "--force").exit_code == 0
    assert copied(tmp_path) == NOTEBOOKS


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The files of a wheel that was built here, without asking the network."""
    pytest.importorskip("hatchling", reason="needs hatchling: pip install '.[build]'")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_the_notebooks_and_the_results_on_real_images(installed):
    assert copied(installed / "ddlib" / "notebooks") == NOTEBOOKS
    committed = Path("figures", "tables", "results_large.csv")
    assert (installed / "ddlib" / committed).read_bytes() == (ROOT / committed).read_bytes()
    assert {path.name.split("-")[0] for path in installed.iterdir()} == {"ddlib", "deepfake_lab"}


def test_without_a_checkout_the_command_copies_and_run_finds_them(installed, tmp_path):
    code = """if True:
        from ddlib.__main__ import main
        from ddlib.cli.notebook_runner import notebook_folder
        for folder in ("lab", "notebooks"):  # the second is where `run` looks first
            main(["notebooks", folder], standalone_mode=False)
            print(notebook_folder())
    """
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert copied(tmp_path / "lab") == copied(tmp_path / "notebooks") == NOTEBOOKS
    assert list(map(Path, told[1::2])) == [installed / "ddlib/notebooks", tmp_path / "notebooks"]
