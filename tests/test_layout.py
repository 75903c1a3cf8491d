"""The shape of the repository: its rooms, the direction of imports, the hygiene of notebooks."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import nbformat
import pytest

from ddlib.notebooks import declared_parameters

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ddlib"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

TOP_LEVEL = {
    *("README.md", "environment.yml", "notebooks", "ddlib", "figures", "tests", "data"),
    *("pyproject.toml", "requirements.lock", "Makefile", "LICENSE"),
    *("CHANGELOG.md", "CONTRIBUTING.md"),
}
# From the ground up: none of these may reach a later one. Rooms not named here stand where their
# imports put them; that no circle arises is checked for all.
ORDER = (
    *("protocol", "images", "manifest", "sources", "toyfaces", "ela", "batches", "mobilenet"),
    *("training", "metrics", "audit", "gradcam", "plots", "explorer", "deploy", "lab", "__main__"),
)
HEAVY = ("tensorflow", "keras", "matplotlib", "sklearn", "kagglehub", "IPython", "ipywidgets")
LIGHT = (
    *("protocol", "images", "manifest", "sources", "toyfaces", "ela", "metrics", "audit", "store"),
    *(
        "lab",
        "__main__",
        *(f"commands.{path.stem}" for path in (PACKAGE / "commands").glob("*.py")),
    ),
)


def tracked():
    """Return the files that are, or are about to be, in the repository."""
    git = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here to say which files belong to the repository")
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def module_name(path):
    name = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


def imports(path):
    """Return the modules of ddlib that a file imports, at its top or inside a function."""
    known = {module_name(path) for path in MODULES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "ddlib":
            found |= {alias.name for alias in node.names} & known
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddlib."):
            deeper = {f"{node.module}.{alias.name}"[6:] for alias in node.names} & known
            found |= deeper or {node.module[6:]}
        elif isinstance(node, ast.Import):
            found |= {alias.name[6:] for alias in node.names if alias.name.startswith("ddlib.")}
    return found


GRAPH = {module_name(path): imports(path) for path in MODULES}


def reach(module, seen=()):
    found = set()
    for needed in GRAPH.get(module, set()) - set(seen):
        found |= {needed} | reach(needed, (*seen, module))
    return found


def test_the_top_level_holds_what_the_design_names_and_nothing_else():
    names = {name.split("/")[0] for name in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def test_imports_form_no_circle():
    assert set(TopologicalSorter(GRAPH).static_order()) >= set(GRAPH)


@pytest.mark.parametrize("module", [name for name in ORDER if name in GRAPH])
def test_imports_run_downward(module):
    above = set(ORDER[ORDER.index(module) + 1 :])
    assert not reach(module) & above, f"{module} reaches up to {sorted(reach(module) & above)}"


def test_nothing_imports_the_command_line():
    for module, needed in GRAPH.items():
        climbing = {name for name in needed if name.split(".")[0] in ("commands", "__main__")}
        assert not climbing, f"{module} imports {climbing}"


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module):
    name = f"ddlib.{module}".removesuffix(".__init__")
    code = f"import {name}, sys; print([n for n in {HEAVY!r} if n in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.stdout.strip() == "[]", told.stderr


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys; from ddlib.__main__ import main\n"
        "try: main(['--help'])\n"
        "finally: print([n for n in sys.modules if n.startswith('ddlib.commands')], "
        "'pandas' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    commands = [path.stem for path in (PACKAGE / "commands").glob("[a-z]*.py")]
    assert "run" in commands
    for name in commands:
        assert re.search(rf"^  {name} +[A-Z]", told, re.MULTILINE), f"{name} has no help line"
    assert told.endswith("[] False\n")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_and_functions_stay_readable(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300, "a module is one idea: give the second idea its own"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node):
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert lines <= 30, f"{node.name} is {lines} lines long without its docstring"


def test_no_file_holds_a_path_of_one_machine_or_a_registry_address():
    folders = "|".join(("ho" + "me", "ro" + "ot", "Us" + "ers", "wo" + "rk"))
    hosts = "|".join(("pypi" + r"\.org", "python" + r"hosted\.org", "npm" + r"js\.org"))
    windows = r"\b[A-Z]:\\+[A-Za-z]"
    wrong = re.compile(rf"(?<![\w.~$}}/-])/(?:{folders})/\w|{windows}|{hosts}")
    for name in tracked():
        if name.endswith((".png", ".jpg", ".keras", ".tflite", ".npz")):
            continue
        found = wrong.search((ROOT / name).read_text(encoding="utf-8"))
        assert not found, f"{name} holds {found.group()!r}"


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
        tags = [tag for cell in code_cells(path) for tag in cell.metadata.get("tags", [])]
        assert tags.count("parameters") == 1
        found = declared_parameters(path)
        assert found.get("data") == "toy" and found.get("runs") == "../runs"

    def test_code_cells_are_short_python(self, path):
        for cell in code_cells(path):
            assert len(cell.source.splitlines()) <= 25, cell.source
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
