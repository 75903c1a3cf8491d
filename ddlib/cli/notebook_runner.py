"""Run the notebooks, keep what they made, and skip what is up to date.

A run lives in ``runs/<tier>``: ``notebooks/`` holds the executed copies, each with a marker, a JSON
file that says what it was made from and what it cost; ``logs/`` holds what the cells printed.

A notebook comes after those that its metadata names, ``{"ddlib": {"after": ["00_start"]}}``, or
after all before it if it names none.
"""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from threading import Event
from time import perf_counter

import pandas as pd

from ddlib._utils import cpu_count, digest, move, read_json, write_json
from ddlib.cli.notebook_process import NotebookError, execute_notebook, read_notebook
from ddlib.data.sources import MANIFEST
from ddlib.images.read import list_images
from ddlib.metrics.format import format_table
from ddlib.models.provenance import checkout, repository_path
from ddlib.protocol import VERSIONS
from ddlib.study.study import SIMULATED, claim, find_data, run_folder

_FACTS = {"key", "seconds", "peak_mb", "lacking"}  # what a marker must hold


@dataclass(frozen=True)
class Outcome:
    """What became of a notebook.

    "done", "reused" from an earlier run, "failed", "not started", or "lacks images": the folder has
    none for its question; `error` says which.
    """

    name: str
    status: str
    seconds: float = 0.0
    peak_mb: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Step:
    """A notebook to run: all it comes after, its parameters, the digest of what decides it."""

    path: Path
    after: set[str]
    declared: set[str]  # the parameters that it knows
    parameters: dict  # those that it gets
    key: str


def run_notebooks(
    chosen: Sequence[str] = (),
    data: str = SIMULATED,
    runs: str | Path = "runs",
    small: bool = False,
    fresh: bool = False,
    jobs: int | None = None,
    keep_going: bool = False,
    folder: str | Path | None = None,
    log: Callable[[str], None] = print,
    **options,
) -> list[Outcome]:
    """Run chosen or all notebooks, each once those that it comes after have ended.

    The parameters are the options of ``ddlib run``. `options` are more parameters of notebooks,
    such as ``alpha``; None leaves a notebook's own value. By default one notebook per processor
    runs at a time, at most 3 on simulated images, where each takes 2 GB, and 2 on a folder (2 to
    4 GB). Without `keep_going` nothing starts after a failure, but what runs is run to its end.

    Returns
    -------
    list of Outcome
        One for each notebook, in their order.

    Raises
    ------
    ValueError
        If a choice or an option is known to no notebook, or the data folder does not exist.
    """
    folder, data = Path(folder or notebook_folder()).resolve(), find_data(data)
    base = run_folder(data, runs, small)
    if base.exists():
        claim(base, data)
    given = {"data": _seen_from(folder, data), "runs": _seen_from(folder, runs), "small": small}
    given |= {name: value for name, value in options.items() if value is not None}
    plan = _plan(folder, given, [] if data == SIMULATED else _listing(Path(data)))
    steps = {path.stem: plan[path.stem] for path in find_notebooks(folder, chosen)}
    known = set().union(*(step.declared for step in steps.values()))
    if unknown := [name for name in options if name in given and name not in known]:
        raise ValueError(
            f"no chosen notebook has a parameter {unknown[0]!r}; they have "
            f"{', '.join(sorted(known))}"
        )
    if fresh and base.exists():
        if any(base.iterdir()) and not (base / "logs").is_dir():
            raise ValueError(f"{base} has no folder logs, so it is no earlier run; remove it")
        removed = base.with_name(f".{base.name}.removed")
        shutil.rmtree(removed, ignore_errors=True)
        move(base, removed)  # at once: on Windows an open file holds all of it, and nothing is lost
        shutil.rmtree(removed, ignore_errors=True)
    jobs = jobs or min(cpu_count(), 3 if data == SIMULATED else 2)
    return _run(steps, base, jobs, keep_going, log)


def notebook_folder() -> Path:
    """Return the folder of the notebooks: of the checkout, ./notebooks, or ddlib's own."""
    below = Path.cwd() / "notebooks"
    return below if not checkout() and find_notebooks(below) else repository_path("notebooks")


def find_notebooks(folder: Path, chosen: Sequence[str] = ()) -> list[Path]:
    """Return the notebooks ``NN_name.ipynb`` of a folder in order: all, or those chosen.

    A choice is a number ("2", "02") or a name ("02_gan_baseline", "gan_baseline").
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


def declared_parameters(notebook) -> set[str]:
    """Return the names that the cell tagged ``parameters`` sets; a magic there is left alone."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assigned = re.compile(r"^(\w+) *(?::[^=\n]+)?=(?!=)", re.M)  # with a type or without
    return {name for cell in cells for name in assigned.findall(cell.source)}


def _plan(folder: Path, given: dict, images: list) -> dict[str, Step]:
    """Read all notebooks of a folder, since a chosen one may need what another has left.

    The key of a notebook changes with its code cells (not with its text), its parameters, the
    version constants, the images, and the key of any notebook that it comes after.
    """
    steps: dict[str, Step] = {}
    for path in find_notebooks(folder):
        notebook = read_notebook(path)
        direct = notebook.metadata.get("ddlib", {}).get("after", list(steps))
        if unknown := [name for name in direct if name not in steps]:
            raise ValueError(
                f"{path.name} is to run after {unknown[0]!r}, which is none of the notebooks "
                f"before it ({', '.join(steps) or 'none'}); correct ddlib.after in its metadata"
            )
        declared = declared_parameters(notebook)
        parameters = {name: given[name] for name in sorted(declared) if name in given}
        code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        key = digest(code, parameters, VERSIONS, images, [steps[name].key for name in direct])
        after = set(direct).union(*(steps[name].after for name in direct))
        steps[path.stem] = Step(path, after, declared, parameters, key)
    return steps


def _listing(folder: Path) -> list:
    """Return name, size and time of each image, which is cheaper than a digest of them all."""
    names = [name for name in (*list_images(folder), MANIFEST) if (folder / name).is_file()]
    facts = [(folder / name).stat() for name in names]
    return [[n, s.st_size, s.st_mtime_ns] for n, s in zip(names, facts, strict=True)]


def _seen_from(folder: Path, path: str | Path) -> str:
    """Return a path as cells in `folder` must write it; "simulated" is no path."""
    if path == SIMULATED:
        return SIMULATED
    try:
        return Path(os.path.relpath(Path(path).resolve(), folder)).as_posix()
    except ValueError:  # on another drive
        return Path(path).resolve().as_posix()


def _run(steps: dict[str, Step], base: Path, jobs: int, keep_going: bool, log) -> list[Outcome]:
    """Run each notebook once those it comes after have ended, low numbers first."""
    (base / "notebooks").mkdir(parents=True, exist_ok=True)
    (base / "logs").mkdir(exist_ok=True)
    labels = {name: f"[{i}/{len(steps)}] {name}" for i, name in enumerate(steps, 1)}
    waiting, running, outcomes, stop = list(steps), {}, {}, Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                unfinished = {*waiting, *running.values()}
                ready = [name for name in waiting if not steps[name].after & unfinished]
                for name in ready[: jobs - len(running)]:
                    waiting.remove(name)
                    task = pool.submit(_run_one, steps[name], base, labels[name], log, stop)
                    running[task] = name
                # not for ever: on Windows nothing else would notice Ctrl-C
                ended, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for task in ended:
                    name = running.pop(task)
                    outcomes[name] = task.result()
                    if outcomes[name].status == "failed":
                        waiting = [n for n in waiting if keep_going and name not in steps[n].after]
        finally:
            stop.set()  # ends what still runs after Ctrl-C or an unforeseen exception
    return [outcomes.get(name, Outcome(name, "not started")) for name in steps]


def _run_one(step: Step, base: Path, label: str, log, stop: Event) -> Outcome:
    """Run a notebook and write its marker, or return what a marker with the same key says."""
    name = step.path.stem
    copy, marker = base / "notebooks" / f"{name}.ipynb", base / "notebooks" / f"{name}.json"
    facts = _read_marker(marker)
    if copy.is_file() and facts.get("key") == step.key and not _is_outdated(step, marker):
        log(f"{label}: reused (it took {facts['seconds']:.1f} s)")
        status = "lacks images" if facts["lacking"] else "reused"
        return Outcome(name, status, facts["seconds"], facts["peak_mb"], facts["lacking"])
    log(f"{label}: started")
    marker.unlink(missing_ok=True)  # results that it vouches for may be overwritten now
    start = perf_counter()
    try:
        log_file = base / "logs" / f"{name}.txt"
        peak_mb, lacking = execute_notebook(step.path, copy, step.parameters, log_file, stop)
    except NotebookError as error:
        log(f"{label}: failed")
        return Outcome(name, "failed", round(perf_counter() - start, 2), error=str(error))
    status, seconds = "lacks images" if lacking else "done", round(perf_counter() - start, 2)
    outcome = Outcome(name, status, seconds, round(peak_mb, 1), lacking)
    facts = {"key": step.key, "parameters": step.parameters, "lacking": lacking}
    facts |= {"seconds": outcome.seconds, "peak_mb": outcome.peak_mb}
    facts |= {"finished": datetime.now().astimezone().isoformat(timespec="seconds")}
    write_json(marker, facts)
    log(f"{label}: {status}, {outcome.seconds:.1f} s, {peak_mb:,.0f} MB")
    return outcome


def _is_outdated(step: Step, marker: Path) -> bool:
    """Return whether a notebook that this one comes after ran later."""
    earlier = [marker.with_name(f"{name}.json") for name in step.after]
    times = [file.stat().st_mtime_ns for file in earlier if file.is_file()]
    return max(times, default=0) > marker.stat().st_mtime_ns


def _read_marker(marker: Path) -> dict:
    """Return what a marker holds, or {} where it is absent or damaged: the notebook runs again."""
    try:
        facts = read_json(marker)
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and set(facts) >= _FACTS else {}


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """Return the table that closes a run.

    Examples
    --------
    >>> print(outcome_table([Outcome("00_start", "done", 1.5, 80.0)]))
    ... # doctest: +NORMALIZE_WHITESPACE
    notebook status  seconds  peak MB
    00_start done    1.5      80
    """
    table = pd.DataFrame([asdict(outcome) for outcome in outcomes]).drop(columns="error")
    table["peak_mb"] = table["peak_mb"].round().astype(int)
    return format_table(table.rename(columns={"name": "notebook", "peak_mb": "peak MB"}))
