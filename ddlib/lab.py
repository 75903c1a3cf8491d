"""Run the notebooks in order, keep what they made, and skip what is finished.

A run lives in ``runs/<tier>``: ``notebooks/`` holds the executed copies, each with a JSON file that
says what it was made from and what it cost; ``log.txt`` holds what the cells printed.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddlib.files import read_json, write_json
from ddlib.kernel import execute
from ddlib.notebooks import (
    declared_parameters,
    find_notebooks,
    ingredients,
    notebook_folder,
    versions,
)
from ddlib.tiers import tier_name


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
        If `data` is neither "toy" nor a folder.
    """
    if data != "toy" and not Path(data).is_dir():
        raise ValueError(f"no folder {str(data)!r}; data is 'toy' or a folder of images")
    return Path(runs) / tier_name(data, small)


def run_notebooks(
    chosen: Sequence[str] = (),
    *,
    data: str = "toy",
    runs: str | Path = "runs",
    small: bool = False,
    fresh: bool = False,
    folder: Path | None = None,
    say: Callable[[str], None] = print,
    **options,
) -> list[Outcome]:
    """Run chosen or all notebooks in order on the toy tier or on a folder of images.

    Parameters
    ----------
    chosen : sequence of str
        Numbers or names; none means all.
    data : "toy" or path
    runs : path
        Results go to ``runs/<tier>``.
    small : bool
        The small form, to check that everything runs.
    fresh : bool
        Remove ``runs/<tier>`` first.
    folder : path, optional
        Where the notebooks are; by default `notebook_folder`.
    say : callable
        Gets a line at the start and the end of each notebook.
    **options
        More parameters, such as ``alpha`` and ``protocol``; None leaves the notebook's own value.

    Raises
    ------
    ValueError
        If a choice or an option is known to no notebook, or the data folder does not exist.
    ddlib.kernel.NotebookError
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
    return _run_each(notebooks, base, keys, {**given, **options}, say)


def _check_options(options: dict, notebooks: list[Path]) -> None:
    known = {name for path in notebooks for name in declared_parameters(path)}
    for name in options:
        if name not in known:
            raise ValueError(
                f"no chosen notebook has a parameter {name!r}; they have {', '.join(sorted(known))}"
            )


def _clear(base: Path) -> None:
    """Remove an earlier run, and nothing that is not one."""
    if base.is_dir() and any(base.iterdir()) and not (base / "log.txt").is_file():
        raise ValueError(f"{base} has no log.txt, so it is no earlier run; remove it by hand")
    if base.is_dir():
        shutil.rmtree(base)


def _seen_from(folder: Path, path: str | Path) -> str:
    """Return a path as cells in `folder` must write it; "toy" is no path."""
    if path == "toy":
        return "toy"
    try:
        return Path(os.path.relpath(Path(path).resolve(), folder)).as_posix()
    except ValueError:  # another drive
        return Path(path).resolve().as_posix()


def _run_each(notebooks, base: Path, keys: dict, parameters: dict, say) -> list[Outcome]:
    outcomes = []
    copies = base / "notebooks"
    copies.mkdir(parents=True, exist_ok=True)
    for litter in copies.glob(".*.ipynb"):  # a killed run could not tidy up
        litter.unlink()
    with (base / "log.txt").open("a", encoding="utf-8", buffering=1) as log:
        for number, path in enumerate(notebooks, 1):
            label = f"[{number}/{len(notebooks)}] {path.stem}"
            outcome = _finished(path, copies, keys[path.stem])
            if outcome:
                say(f"{label}: reused (it took {outcome.seconds:.1f} s)")
            else:
                say(f"{label}: started")
                outcome = _run_one(path, copies, keys[path.stem], parameters, log)
                say(f"{label}: done, {outcome.seconds:.1f} s, {outcome.peak_mb:,.0f} MB")
            outcomes.append(outcome)
    return outcomes


def _finished(path: Path, copies: Path, key: str) -> Outcome | None:
    marker = copies / f"{path.stem}.json"
    if not (marker.is_file() and (copies / path.name).is_file()):
        return None
    facts = read_json(marker)
    if facts["key"] != key:
        return None
    return Outcome(path.stem, facts["seconds"], facts["peak_mb"], reused=True)


def _run_one(path: Path, copies: Path, key: str, parameters: dict, log) -> Outcome:
    own = declared_parameters(path)
    passed = {name: value for name, value in parameters.items() if name in own}
    log.write(f"\n== {_now()} {path.stem} {json.dumps(passed)}\n")
    try:
        seconds, peak = execute(path, copies / path.name, passed, log, sys.stderr.isatty())
    except BaseException as error:
        log.write(f"== {_now()} {path.stem} stopped: {type(error).__name__}: {error}\n")
        raise
    log.write(f"== {_now()} {path.stem} done, {seconds:.1f} s, {peak:.0f} MB\n")
    facts = {"key": key, "seconds": round(seconds, 2), "peak_mb": round(peak, 1)}
    facts |= {"parameters": passed, "versions": versions(), "finished": _now()}
    write_json(copies / f"{path.stem}.json", facts)
    return Outcome(path.stem, facts["seconds"], facts["peak_mb"], reused=False)


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """Return the table that closes a run: notebook, seconds, peak memory.

    Examples
    --------
    >>> print(outcome_table([Outcome("00_start", 1.5, 80.0, False)]))
    notebook   seconds   peak MB
    00_start       1.5        80
    total          1.5        80
    """
    width = max([len("notebook"), *(len(o.name) for o in outcomes)])
    lines = [f"{'notebook':{width}} {'seconds':>9} {'peak MB':>9}"]
    for o in outcomes:
        reused = "  reused" if o.reused else ""
        lines.append(f"{o.name:{width}} {o.seconds:9.1f} {o.peak_mb:9,.0f}{reused}")
    seconds = sum(o.seconds for o in outcomes if not o.reused)
    peak = max((o.peak_mb for o in outcomes), default=0)
    lines.append(f"{'total':{width}} {seconds:9.1f} {peak:9,.0f}")
    return "\n".join(lines)
