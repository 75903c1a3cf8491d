"""Run the notebooks, keep what they made, and skip what is finished.

A run lives in ``runs/<tier>``: ``notebooks/`` holds the executed copies, each with a JSON file that
says what it was made from and what it cost; ``logs/`` holds what their cells printed.

Some run at once. A notebook starts when those that its metadata name under ``ddlib.after`` have
ended, or all before it if it names none; what takes longest starts first.

The notebooks as files: which there are, what parameters they take, what they are made from.
"""

from __future__ import annotations

import ast
import datetime
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ddlib._io import digest, file_digest, read_json, write_json
from ddlib.cli.execution import Kernels, NotebookError
from ddlib.study.study import tier_name


@dataclass(frozen=True)
class Outcome:
    """What running one notebook cost; `reused` says that an earlier run paid for it."""

    name: str
    seconds: float
    peak_mb: float
    reused: bool


def run_folder(data: str, runs: str | Path, small: bool = False) -> Path:
    """Return the folder that holds what is made from some data.

    Raises
    ------
    ValueError
        If `data` is neither "simulated" nor a folder.
    """
    if data != "simulated" and not Path(data).is_dir():
        raise ValueError(f"no folder {str(data)!r}; data is 'simulated' or a folder of images")
    return Path(runs) / tier_name(data, small)


def run_notebooks(
    chosen: Sequence[str] = (),
    *,
    data: str = "simulated",
    runs: str | Path = "runs",
    small: bool = False,
    fresh: bool = False,
    jobs: int | None = None,
    folder: Path | None = None,
    log: Callable[[str], None] = print,
    **options,
) -> list[Outcome]:
    """Run chosen or all notebooks on the toy tier or on a folder of images.

    Parameters
    ----------
    chosen : sequence of str
        Numbers or names; none means all.
    data : "simulated" or path
    runs : path
        Results go to ``runs/<tier>``.
    small : bool
        The small form, to check that everything runs.
    fresh : bool
        Remove ``runs/<tier>`` first.
    jobs : int, optional
        How many may run at once; by default `usual_jobs`.
    folder : path, optional
        Where the notebooks are; by default `notebook_folder`.
    log : callable
        Gets a line at the start and the end of each notebook.
    **options
        More parameters, such as ``alpha`` and ``protocol``; None leaves the notebook's own value.

    Raises
    ------
    ValueError
        If a choice or an option is known to no notebook, or the data folder does not exist.
    ddlib.cli.execution.NotebookError
        If a cell raises; what finished before is kept.
    """
    folder = Path(folder or notebook_folder()).resolve()
    base = run_folder(data, runs, small)
    notebooks = find_notebooks(folder, chosen)
    options = {name: value for name, value in options.items() if value is not None}
    _check_options(options, notebooks)
    if fresh:
        _clear(base)
    given = {"data": _seen_from(folder, data), "runs": _seen_from(folder, runs), "small": small}
    keys = ingredients(folder, data, {**given, **options})
    run = _Run(notebooks, base, keys, {**given, **options}, log)
    return run.all(jobs or usual_jobs(data))


def usual_jobs(data: str) -> int:
    """Return how many notebooks run at once: as many as there are processors, within limits.

    No more than 3 on the toy tier, where each takes 1.5 GB, and 2 on real images (2 to 4 GB).
    """
    return min(os.cpu_count() or 1, 3 if data == "simulated" else 2)


def _check_options(options: dict, notebooks: list[Path]) -> None:
    known = {name for path in notebooks for name in declared_parameters(path)}
    for name in options:
        if name not in known:
            raise ValueError(
                f"no chosen notebook has a parameter {name!r}; they have {', '.join(sorted(known))}"
            )


def _clear(base: Path) -> None:
    """Remove an earlier run, and nothing that is not one."""
    if base.is_dir() and any(base.iterdir()) and not (base / "logs").is_dir():
        raise ValueError(f"{base} has no folder logs, so it is no earlier run; remove it by hand")
    if base.is_dir():
        shutil.rmtree(base)


def _seen_from(folder: Path, path: str | Path) -> str:
    """Return a path as cells in `folder` must write it; "simulated" is no path."""
    if path == "simulated":
        return "simulated"
    try:
        return Path(os.path.relpath(Path(path).resolve(), folder)).as_posix()
    except ValueError:  # another drive
        return Path(path).resolve().as_posix()


class _Run:
    """One run of some notebooks: which wait, which are running, what came out."""

    def __init__(self, notebooks: list[Path], base: Path, keys: dict, parameters: dict, log):
        self.base, self.keys, self.parameters, self.log = base, keys, parameters, log
        self.copies, self.logs = base / "notebooks", base / "logs"
        for folder in (self.copies, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        for litter in self.copies.glob(".*.ipynb"):  # a killed run could not tidy up
            litter.unlink()
        self.labels = {p: f"[{i}/{len(notebooks)}] {p.stem}" for i, p in enumerate(notebooks, 1)}
        self.waiting = list(notebooks)
        self.running: dict[Future, Path] = {}
        self.outcomes: dict[Path, Outcome] = {}

    def all(self, jobs: int) -> list[Outcome]:
        """Run them, so many at once, and return the outcomes in the order of the notebooks."""
        if jobs > 1:
            ahead = minutes_ahead(self.waiting)
            self.waiting.sort(key=lambda path: -ahead[path.stem])
        with Kernels(jobs) as kernels, ThreadPoolExecutor(jobs) as pool:
            while self.waiting or self.running:
                while len(self.running) < jobs and (path := self._next()):
                    self._begin(path, kernels, pool)
                # not for ever: on Windows nothing else would notice Ctrl-C
                ended, _ = wait(self.running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._end(future)
        return [self.outcomes[path] for path in self.labels]

    def _next(self) -> Path | None:
        """Return a notebook whose predecessors have ended."""
        unfinished = {path.stem for path in [*self.waiting, *self.running.values()]}
        for path in self.waiting:
            if not unfinished & set(predecessors(path, list(self.labels))):
                return path
        return None

    def _begin(self, path: Path, kernels: Kernels, pool: ThreadPoolExecutor) -> None:
        self.waiting.remove(path)
        outcome = _finished(path, self.copies, self.keys[path.stem])
        if outcome:
            self.log(f"{self.labels[path]}: reused (it took {outcome.seconds:.1f} s)")
            self.outcomes[path] = outcome
            return
        self.log(f"{self.labels[path]}: started")
        self.running[pool.submit(self._one, path, kernels)] = path

    def _end(self, future: Future) -> None:
        path = self.running.pop(future)
        try:
            outcome = self.outcomes[path] = future.result()
        except NotebookError:
            self.log(f"{self.labels[path]}: failed")
            self.waiting.clear()
            for other in self.running.values():
                self.log(f"{self.labels[other]}: still running, to its end")
            wait(self.running)
            for rest in list(self.running):
                with suppress(NotebookError):  # the first is the one that is told
                    self._end(rest)
            raise
        self.log(f"{self.labels[path]}: done, {outcome.seconds:.1f} s, {outcome.peak_mb:,.0f} MB")

    def _one(self, path: Path, kernels: Kernels) -> Outcome:
        own, started = declared_parameters(path), _now()
        passed = {name: value for name, value in self.parameters.items() if name in own}
        with (self.logs / f"{path.stem}.txt").open("a", encoding="utf-8", buffering=1) as log:
            log.write(f"\n== {started} {path.stem} {json.dumps(passed)}\n")
            try:
                seconds, peak = kernels.execute(
                    *(path, self.copies / path.name, passed, log),
                    progress=kernels.jobs == 1 and sys.stderr.isatty(),
                )
            except BaseException as error:
                log.write(f"== {_now()} {path.stem} stopped: {type(error).__name__}: {error}\n")
                raise
            log.write(f"== {_now()} {path.stem} done, {seconds:.1f} s, {peak:.0f} MB\n")
        facts = {"key": self.keys[path.stem], "seconds": round(seconds, 2)}
        facts |= {"peak_mb": round(peak, 1), "at_once": kernels.jobs, "parameters": passed}
        facts |= {"versions": versions(), "started": started, "finished": _now()}
        write_json(self.copies / f"{path.stem}.json", facts)
        return Outcome(path.stem, facts["seconds"], facts["peak_mb"], reused=False)


def _finished(path: Path, copies: Path, key: str) -> Outcome | None:
    marker = copies / f"{path.stem}.json"
    if not (marker.is_file() and (copies / path.name).is_file()):
        return None
    facts = read_json(marker)
    if facts["key"] != key:
        return None
    return Outcome(path.stem, facts["seconds"], facts["peak_mb"], reused=True)


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def outcome_table(outcomes: Sequence[Outcome], wall: float) -> str:
    """Return the table that closes a run: notebook, seconds, peak memory.

    The last line holds `wall`, the seconds by the clock; the sum is larger where some ran at once.

    Examples
    --------
    >>> print(outcome_table([Outcome("00_start", 1.5, 80.0, False)], 1.6))
    notebook   seconds   peak MB
    00_start       1.5        80
    by clock       1.6        80
    """
    width = max([len("notebook"), *(len(o.name) for o in outcomes)])
    lines = [f"{'notebook':{width}} {'seconds':>9} {'peak MB':>9}"]
    for o in outcomes:
        reused = "  reused" if o.reused else ""
        lines.append(f"{o.name:{width}} {o.seconds:9.1f} {o.peak_mb:9,.0f}{reused}")
    peak = max((o.peak_mb for o in outcomes), default=0)
    lines.append(f"{'by clock':{width}} {wall:9.1f} {peak:9,.0f}")
    return "\n".join(lines)


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
    key = digest(key, [] if data == "simulated" else _listing(Path(data)))
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
