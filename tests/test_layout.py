"""The shape of the repository: its rooms, the direction of imports, the hygiene of notebooks."""

import ast
import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from ddlib.__main__ import COMMANDS
from ddlib.cli.notebook_runner import declared_parameters

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ddlib"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

TOP_LEVEL = {
    *("README.md", "environment.yml", "notebooks", "ddlib", "figures", "tests", "data"),
    *("pyproject.toml", "requirements.lock", "requirements-ray.lock", "Makefile", "LICENSE"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"),
}
# From the ground up: a file imports from its own folder and from those before it.
ORDER = ("_utils", "protocol", "images", "ela", "data", "metrics", "traces", "mobilenet", "models")
ORDER += ("gradcam", "explain", "deploy", "viz", "study", "cli", "__init__", "__main__")
HEAVY = ("tensorflow", "keras", "matplotlib", "sklearn", "kagglehub", "IPython", "ipywidgets")
LIGHT = ("_utils", "protocol", "ela", "data", "metrics", "traces", "cli", "__main__")


def tracked():
    """Return the files that are, or are about to be, in the repository."""
    git = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here to say which files belong to the repository")
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def room(path):
    """Return the folder or file at the top of ddlib that a module belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """Return what a file imports of ddlib, at its top or inside a function, as names of rooms."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "ddlib":
            found |= {alias.name for alias in node.names if alias.name in ORDER}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddlib."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ddlib.")}
    return found


def test_the_top_level_holds_what_the_design_names_and_nothing_else():
    names = {name.split("/")[0] for name in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def test_the_order_names_every_room():
    assert {room(path) for path in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_downward(path):
    allowed = ORDER[: ORDER.index(room(path)) + 1]
    climbing = imported_rooms(path) - set(allowed)
    assert not climbing, f"{path} imports upward: {sorted(climbing)}"


def test_light_modules_load_nothing_heavy():
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if room(path) in LIGHT
    ]
    code = f"import sys, importlib\nfor n in {names!r}:\n    importlib.import_module(n)\n"
    code += f"    assert not [h for h in {HEAVY!r} if h in sys.modules], n"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys; from ddlib.__main__ import main\n"
        "try: main(['--help'])\n"
        "finally: print([n for n in sys.modules if n.startswith('ddlib.cli.')], "
        "'pandas' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "run" in COMMANDS
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z]", told, re.MULTILINE), f"{name} has no help line"
    assert told.endswith("[] False\n")


def test_no_file_holds_a_path_of_one_machine_or_a_registry_address():
    folders = "|".join(("ho" + "me", "ro" + "ot", "Us" + "ers", "wo" + "rk"))
    hosts = "|".join(("pypi" + r"\.org", "python" + r"hosted\.org", "npm" + r"js\.org"))
    windows = r"\b[A-Z]:\\+[A-Za-z]"
    wrong = re.compile(rf"(?<![\w.~$}}/-])/(?:{folders})/\w|{windows}|{hosts}")
    for name in tracked():
        if name.endswith((".png", ".jpg", ".keras", ".tflite", ".npz", ".xz")):
            continue
        found = wrong.search((ROOT / name).read_text(encoding="utf-8"))
        assert not found, f"{name} holds {found.group()!r}"


def test_every_benchmark_finds_what_it_imports(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    names = [path.stem for path in sorted((ROOT / "tests" / "benchmarks").glob("[a-z]*.py"))]
    assert len(names) > 3
    for name in names:
        importlib.import_module(f"tests.benchmarks.{name}")


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebooks:
    """What every notebook of the repository keeps to."""

    def test_is_numbered_and_well_formed(self, path):
        assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
        nbformat.validate(json.loads(path.read_text(encoding="utf-8")))

    def test_is_committed_without_outputs(self, path):
        for cell in code_cells(path):
            assert cell.outputs == [] and cell.execution_count is None
        assert "widgets" not in nbformat.read(path, as_version=4).metadata

    def test_has_one_cell_of_literal_parameters(self, path):
        (cell,) = [c for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])]
        found = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(cell.source).body}
        assert found["data"] == "simulated" and found["runs"] is None and found["small"] is False
        assert set(found) == declared_parameters(nbformat.read(path, as_version=4))

    def test_code_cells_are_short_python(self, path):
        for cell in code_cells(path):
            lines = cell.source.splitlines()
            assert len(lines) <= 15 and max(map(len, lines)) <= 88, cell.source
            ast.parse(cell.source)  # a shell line or a magic is no Python

    def test_prose_stands_before_every_step(self, path):
        cells = nbformat.read(path, as_version=4).cells
        assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
        kinds = "".join(cell.cell_type[0] for cell in cells)
        assert "cccc" not in kinds, "four code cells in a row say nothing to the reader"


def test_no_function_is_defined_in_two_notebooks():
    counts = Counter()
    for path in NOTEBOOKS:
        trees = [ast.parse(cell.source) for cell in code_cells(path)]
        kinds = (ast.FunctionDef, ast.ClassDef)
        counts.update({n.name for t in trees for n in ast.walk(t) if isinstance(n, kinds)})
    assert [name for name, count in counts.items() if count > 1] == []
