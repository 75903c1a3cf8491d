"""Every notebook of the repository runs headless in its small form on the simulated images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]

pytestmark = pytest.mark.notebooks


def run(runs, **how):
    """Run them all as `make reproduce SMALL=1 JOBS=2` does: other tests want a processor, too."""
    command = [sys.executable, "-m", "ddlib", "run", "--data", "simulated", "--small"]
    command += ["--jobs", "2", "--keep-going", "--runs", runs]
    environment = {name: value for name, value in os.environ.items() if name != "DDLIB_DATA"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, text=True, **how)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pytestconfig):
    """The folder of one run of all notebooks, shown as it goes, and its exit status."""
    folder = tmp_path_factory.mktemp("runs")
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(flush=True)
        told = run(folder)
    return folder, told.returncode


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_to_its_end(runs, name):
    copies = runs[0] / "simulated-small" / "notebooks"
    assert (copies / f"{name}.json").is_file(), f"{name} did not finish; see the run's lines above"
    cells = nbformat.read(copies / f"{name}.ipynb", as_version=4).cells
    done = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    assert done and all(cell.execution_count for cell in done)
    facts = json.loads((copies / f"{name}.json").read_text(encoding="utf-8"))
    assert facts["parameters"]["data"] == "simulated"


def test_the_run_ends_well_and_a_second_one_reuses_it(runs):
    folder, status = runs
    assert status == 0
    again = run(folder, stdout=subprocess.PIPE)
    assert again.returncode == 0
    assert again.stdout.count("reused (it took") == len(NAMES)


def test_the_results_have_their_provenance(runs):
    base = runs[0] / "simulated-small"
    known = json.loads((base / "results.json").read_text(encoding="utf-8"))
    lines = (base / "results.csv").read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("result_id")
    assert len(lines) > 1
    assert {line.split(",")[column] for line in lines[1:]} == set(known)


def test_a_notebook_runs_by_plain_papermill_from_any_folder(tmp_path):
    """Its results go where it is told, here into the current folder."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        ROOT / "notebooks" / "01_data_and_shortcuts.ipynb",
    ]
    command += ["out.ipynb", "-p", "small", "True", "-p", "runs", "here", "-k", "python3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "simulated-small" / "tables" / "01_blind_null.csv").is_file()
