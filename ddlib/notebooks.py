"""The notebooks as files: which there are, what parameters they take, what they are made from."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ddlib.files import digest, file_digest, read_json

PACKAGE = Path(__file__).resolve().parent


def notebook_folder() -> Path:
    """Return the folder of the notebooks: beside the package, or below the current folder.

    Raises
    ------
    FileNotFoundError
        If there is neither, as after installing the package alone.
    """
    places = (PACKAGE.parent / "notebooks", Path.cwd() / "notebooks")
    for place in places:
        if any(place.glob("[0-9][0-9]_*.ipynb")):
            return place
    looked = " nor in ".join(map(str, dict.fromkeys(places)))
    raise FileNotFoundError(
        f"no notebooks in {looked}; run the command in a checkout of the repository or name the "
        "folder with --notebooks"
    )


def find_notebooks(folder: Path, chosen: Sequence[str] = ()) -> list[Path]:
    """Return the notebooks ``NN_name.ipynb`` of a folder in order: all, or those chosen.

    Parameters
    ----------
    folder : path
    chosen : sequence of str
        Numbers ("2", "02") or names ("02_gan_baseline", "gan_baseline").

    Raises
    ------
    ValueError
        If a choice matches no notebook.
    """
    known = sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))
    wanted = {_match(choice, known) for choice in chosen}
    return [path for path in known if path in wanted or not chosen]


def _match(choice: str, known: list[Path]) -> Path:
    for path in known:
        number, name = path.stem.split("_", 1)
        if Path(choice).stem in (number, str(int(number)), name, path.stem):
            return path
    names = ", ".join(path.stem for path in known) or "none"
    raise ValueError(f"no notebook is called {choice!r}; there are: {names}")


def predecessors(notebook: Path, others: Sequence[Path]) -> list[str]:
    """Return the names of the notebooks among `others` that must have run before this one.

    They are those that its metadata names (``{"ddlib": {"after": ["00_start_here"]}}``), else all
    that come before it in order.

    Raises
    ------
    ValueError
        If it names one that does not come before it.
    """
    earlier = [path.stem for path in others if path.stem < notebook.stem]
    named = read_json(notebook)["metadata"].get("ddlib", {}).get("after", earlier)
    for name in named:
        if name >= notebook.stem:
            raise ValueError(f"{notebook.name} is to run after {name}, which does not precede it")
    return [name for name in earlier if name in named]


def minutes_ahead(notebooks: Sequence[Path]) -> dict[str, float]:
    """Return for each notebook how long it and the longest chain of its successors take.

    What takes longest is best begun first (Graham 1969). A notebook's metadata may say about how
    long it takes on two processors, ``{"ddlib": {"minutes": 5}}``; one that does not counts as 1.
    """
    ahead: dict[str, float] = {}
    needs = {notebook.stem: predecessors(notebook, notebooks) for notebook in notebooks}
    for notebook in reversed(notebooks):
        followers = [name for name, needed in needs.items() if notebook.stem in needed]
        own = read_json(notebook)["metadata"].get("ddlib", {}).get("minutes", 1)
        ahead[notebook.stem] = own + max((ahead[name] for name in followers), default=0)
    return ahead


def declared_parameters(notebook: Path) -> dict:
    """Return the names and default values that the cell tagged ``parameters`` sets.

    Raises
    ------
    ValueError
        If a line of that cell is anything but ``name = literal``.
    """
    found = {}
    for cell in _cells(notebook):
        if "parameters" not in cell["metadata"].get("tags", []):
            continue
        for node in ast.parse("".join(cell["source"])).body:
            try:
                (target,) = node.targets
                found[target.id] = ast.literal_eval(node.value)
            except (AttributeError, ValueError):
                raise ValueError(
                    f"{notebook.name}: `{ast.unparse(node)}` in the cell tagged 'parameters' "
                    "is not of the form name = literal"
                ) from None
    return found


def _cells(notebook: Path) -> list[dict]:
    return read_json(notebook)["cells"]


def ingredients(folder: Path, data: str, parameters: dict) -> dict[str, str]:
    """Return for each notebook a digest of all that decides what comes out of it.

    That is its cells and those of every notebook before it (it may read what they left), the
    parameters, ddlib's source, the versions of the large packages, and the names, sizes and times
    of the files of a data folder.
    """
    key = digest([file_digest(path) for path in sorted(PACKAGE.rglob("*.py"))], versions())
    key = digest(key, [] if data == "toy" else _listing(Path(data)))
    keys = {}
    for path in find_notebooks(folder):
        cells = [[cell["cell_type"], "".join(cell["source"])] for cell in _cells(path)]
        key = digest(key, cells, parameters)
        keys[path.stem] = key
    return keys


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide numbers."""
    found = {"python": sys.version.split()[0]}
    for name in ("tensorflow", "keras", "numpy", "pillow", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _listing(folder: Path) -> list:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = ((path.relative_to(folder).as_posix(), path.stat()) for path in files)
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in facts]
