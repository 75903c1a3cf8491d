"""Every notebook runs headless in its small form; its by-hand cells and exercises are sound."""

import ast
import contextlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


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


@pytest.mark.notebooks
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_to_its_end(runs, name):
    copies = runs[0] / "simulated-small" / "notebooks"
    assert (copies / f"{name}.json").is_file(), f"{name} did not finish; see the run's lines above"
    cells = nbformat.read(copies / f"{name}.ipynb", as_version=4).cells
    done = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    assert done and all(cell.execution_count for cell in done)
    facts = json.loads((copies / f"{name}.json").read_text(encoding="utf-8"))
    assert facts["parameters"]["data"] == "simulated"


@pytest.mark.notebooks
def test_the_run_ends_well_and_a_second_one_reuses_it(runs):
    folder, status = runs
    assert status == 0
    again = run(folder, stdout=subprocess.PIPE)
    assert again.returncode == 0
    assert again.stdout.count("reused (it took") == len(NAMES)


@pytest.mark.notebooks
def test_the_results_have_their_provenance(runs):
    base = runs[0] / "simulated-small"
    known = json.loads((base / "results.json").read_text(encoding="utf-8"))
    lines = (base / "results.csv").read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("result_id")
    assert len(lines) > 1
    assert {line.split(",")[column] for line in lines[1:]} == set(known)


@pytest.mark.notebooks
@pytest.mark.skipif(sys.platform == "win32", reason="making links needs a right on Windows")
def test_a_notebook_runs_by_plain_papermill_from_any_folder(runs, tmp_path):
    """Its results go where it is told, here into the current folder, which has the images."""
    here = tmp_path / "here" / "simulated-small"
    here.mkdir(parents=True)
    (here / "images").symlink_to(runs[0] / "simulated-small" / "images")
    notebook = ROOT / "notebooks" / "00_start_here.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, "out.ipynb", "-k", "python3"]
    command += ["-p", "small", "True", "-p", "runs", "here"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (here / "figures" / "00_published.png").is_file()


def tagged(path, tag):
    """Return the cells of a notebook, and the positions of those with a tag."""
    cells = nbformat.read(path, as_version=4).cells
    return cells, [i for i, cell in enumerate(cells) if tag in cell.metadata.get("tags", [])]


def imports(cells):
    """Return the top-level import statements of all code cells."""
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    body = ast.parse(code).body
    return [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]


def names_of_ddlib(cells):
    """Return the names that a notebook imports from ddlib, and `study`, which is made by it."""
    found = {"study", "ddlib"}
    for node in imports(cells):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("ddlib"):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_by_hand_cells_are_short_and_use_nothing_of_ddlib(path):
    cells, places = tagged(path, "by-hand")
    for place in places:
        source = cells[place].source
        used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        assert len(source.splitlines()) <= 8, source
        assert not used & names_of_ddlib(cells) and "import" not in source, source
    after = "".join(cell.source for cell in cells if cell.cell_type == "code")
    assert not places or "assert" in after, "what is made by hand is compared with ddlib's"


def test_checks_are_folded_and_half_of_the_code_cells_have_at_most_six_lines():
    code = [cell for path in NOTEBOOKS for cell in tagged(path, "")[0] if cell.cell_type == "code"]
    assert 4 <= statistics.median(len(cell.source.splitlines()) for cell in code) <= 6
    checks = [cell for cell in code if "check" in cell.metadata.get("tags", [])]
    assert all(cell.metadata["jupyter"]["source_hidden"] for cell in checks)


def printed(code, names):
    """Run code among some names and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        exec(compile(code, "cell", "exec"), names)
    return text.getvalue()


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if tagged(p, "exercise")[1]], ids=lambda path: path.stem
)
def test_exercises_refuse_the_starter_and_accept_the_solution(path):
    cells, places = tagged(path, "exercise")
    checks = tagged(path, "check")[1]
    assert len(places) >= 4 and checks == [place + 1 for place in places]
    names = {}
    exec(compile(ast.Module(imports(cells), []), "imports", "exec"), names)
    for place in places:
        starter, check, answer = (cells[place + i].source for i in range(3))
        solution = re.search(r"<details>.*?```python\n(.*?)```", answer, re.DOTALL).group(1)
        told = printed(f"{starter}\n{check}", names)
        assert told.startswith("[NOT YET] "), f"{starter}\nsays {told!r}"
        assert printed(f"{solution}\n{check}", names).startswith("[OK]"), solution


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        ("04", "def my_change(a, b): return abs((a - b).astype(np.int8))"),
        ("04", "def my_change(a, b): return np.minimum(a - b, b - a)"),
        (
            "06",
            "share_in_box = lambda h, b: h[b[1]:b[3], b[0]:b[2]].sum() / max(h.sum(), 1) or None",
        ),
        ("08", "def false_alarms(labels, scores, threshold): return 0.5"),
        ("09", "rounded_weights = [128, 0, 0, 0]"),
        ("09", "rounded_weights = [127, 1, 1, 0]"),
        ("09", "rounded_weights = [128]"),
    ],
)
def test_exercises_refuse_wrong_answers_that_look_right(number, wrong):
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith(number)]
    cells, places = tagged(path, "exercise")
    name = re.search(r"^(?:def )?(\w+)", wrong).group(1)
    (place,) = [place for place in places if re.search(rf"\b{name}\b", cells[place].source)]
    told = printed(f"{wrong}\n{cells[place + 1].source}", {"np": np})
    assert told.startswith("[NOT YET] "), told


def test_there_are_at_least_forty_five_exercises():
    assert sum(len(tagged(path, "exercise")[1]) for path in NOTEBOOKS) >= 45
