"""pyproject.toml, environment.yml and requirements.lock ask for the same packages."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import ddlib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
CONDA = (ROOT / "environment.yml").read_text(encoding="utf-8")
PYTHONS = ("3.11", "3.12", "3.13")
# jupyterlab, papermill, ipywidgets cannot do without them; their documentation builds on them
COMES_ALONG = {"nbformat", "nbconvert", "ipykernel", "ipython", "traitlets"}
# may be absent: where only `pip install .` was run, and what an extra with a lock of its own brings
OPTIONAL = {"cv2": ["opencv-python-headless"], "pyarrow": ["ray"]}
SYSTEMS = (("linux", "posix", "Linux"), ("darwin", "posix", "Darwin"), ("win32", "nt", "Windows"))


def asked():
    """Return what pyproject.toml asks for, with the extras that requirements.lock holds."""
    project, makefile = PROJECT["project"], (ROOT / "Makefile").read_text(encoding="utf-8")
    names = re.search(r"^EXTRAS := (.*)$", makefile, re.MULTILINE)[1].split()
    extras = [project["optional-dependencies"][name] for name in names]
    return [Requirement(line) for line in sum(extras, project["dependencies"])]


def locked(python, system):
    """Return name -> version of what the lock installs on one Python and system."""
    versions = {"python_version": python, "python_full_version": f"{python}.9"}
    machine = default_environment() | versions
    machine |= dict(zip(("sys_platform", "os_name", "platform_system"), system, strict=True))
    lines = [line.rstrip(" \\") for line in LOCK.splitlines() if re.match(r"[\w.-]+==", line)]
    found = {}
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate(machine):
            assert requirement.name not in found, f"{requirement.name} is locked twice"
            (specifier,) = requirement.specifier
            found[canonicalize_name(requirement.name)] = specifier.version
    return found, machine


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system[0])
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_pyproject_on_every_python_and_system(python, system):
    found, machine = locked(python, system)
    for requirement in asked():
        if requirement.marker is None or requirement.marker.evaluate(machine):
            version = found.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name} is not locked: run `make lock`"
            assert requirement.specifier.contains(version), f"{requirement} but {version} is locked"


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.lock")), ids=lambda p: p.name)
def test_every_locked_package_has_hashes_and_no_address(path):
    lock = path.read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=\S)", lock) if not block.startswith("#")]
    assert len(blocks) > 50
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
        assert re.match(r"[\w.-]+==[\w.!+]+( ;.*)? \\\n", block), block
    assert "://" not in lock
    assert not re.search(r"^(-|\S+ @)", lock, re.MULTILINE)  # options, links


def test_an_extra_with_a_lock_of_its_own_agrees_with_requirements_lock():
    pin = re.compile(r"^([\w.-]+)==(\S+)( ; .*)? \\$", re.MULTILINE)
    lean = {(name, marker): version for name, version, marker in pin.findall(LOCK)}
    extras = PROJECT["project"]["optional-dependencies"]
    for path in ROOT.glob("requirements-*.lock"):
        assert path.stem.removeprefix("requirements-") in extras
        for name, version, marker in pin.findall(path.read_text(encoding="utf-8")):
            assert lean.get((name, marker), version) == version, f"{path.name}: {name}"


def test_conda_asks_for_what_pyproject_asks_for():
    lines = yaml.safe_load(CONDA)["dependencies"][-1]["pip"]
    assert lines[-1] == "--editable ."
    assert {str(Requirement(line)) for line in lines[:-1]} == {str(line) for line in asked()}


def test_conda_and_pyproject_name_the_same_pythons():
    lines = yaml.safe_load(CONDA)["dependencies"]
    (python,) = (line for line in lines if str(line).startswith("python"))
    accepted = SpecifierSet(PROJECT["project"]["requires-python"])
    assert SpecifierSet(python.removeprefix("python")) == accepted
    assert [f"3.{minor}" for minor in range(6, 20) if f"3.{minor}" in accepted] == list(PYTHONS)


def test_every_package_that_ddlib_imports_is_asked_for():
    distributions = {**OPTIONAL, **packages_distributions()}
    extras = PROJECT["project"]["optional-dependencies"].values()
    requirements = asked() + [Requirement(line) for lines in extras for line in lines]
    names = {canonicalize_name(requirement.name) for requirement in requirements}
    for path in sorted((ROOT / "ddlib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            tops = {module.split(".")[0] for module in modules}
            for module in tops - {"ddlib"} - sys.stdlib_module_names:
                owners = {canonicalize_name(name) for name in distributions.get(module, [module])}
                assert owners & (names | COMES_ALONG), f"{path.name} imports {module}, undeclared"


def test_the_citation_names_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ddlib.__version__
    assert citation["cff-version"] == "1.2.0" and citation["authors"]
