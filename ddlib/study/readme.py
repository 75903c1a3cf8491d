"""The README's tables, written from committed results so that no number is typed by hand.

Each stands between two marks, ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ddlib._io import atomic_write
from ddlib.deploy.detector import SHIPPED, list_detectors
from ddlib.deploy.model_card import UNSEEN
from ddlib.metrics.format import with_interval
from ddlib.study.reference import compare_with_study
from ddlib.study.report import NAMES


def update(readme: Path, figures: Path, detectors: Path = SHIPPED) -> Path:
    """Write the tables of a README anew; return its path.

    Parameters
    ----------
    readme : path
    figures : path
        Whose folder ``tables`` holds the committed results.
    detectors : path
        The folder of the shipped detectors' cards.

    Raises
    ------
    ValueError
        If the README lacks the marks of a table.
    """
    tables, text = Path(figures) / "tables", Path(readme).read_text(encoding="utf-8")
    filled = {
        "table": lambda: study_table(*(_results(tables, name) for name in ("real", "simulated"))),
        "detectors": lambda: detector_table(detectors),
        "speed": lambda: speed_table(pd.read_csv(tables / "benchmarks.csv")),
    }
    for name, make in filled.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{readme} lacks the lines {begin.strip()!r} and {end!r}")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{make()}\n\n{end}{after}"
    with atomic_write(Path(readme)) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return Path(readme)


def _results(tables: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(tables / f"results_{name}.csv")


def study_table(real: pd.DataFrame, toy: pd.DataFrame, protocol: str = "clean") -> str:
    """Return the study's numbers beside ours on real images and on the toy tier."""
    sides = {
        name: compare_with_study(table[table["protocol"] == protocol]).set_index(
            ["test_set", "condition"]
        )
        for name, table in (("real", real), ("simulated", toy))
    }
    heads = (
        "test set",
        "measure",
        "condition",
        "study",
        "ours, real images",
        "ours, toy (simulated)",
    )
    rows = []
    for key, row in sides["real"].iterrows():
        ours = [
            with_interval(r["ours"], r["low"], r["high"]) if r["verdict"] != "not run" else "-"
            for r in (row, sides["simulated"].loc[key])
        ]
        measure = row["measure"].replace("_", " of ") + "s" * ("fake" in row["measure"])
        rows.append([NAMES[key[0]], measure, key[1], f"{row['study']:.3f}", *ours])
    return _markdown(heads, rows)


def detector_table(folder: Path = SHIPPED) -> str:
    """Return what the shipped detectors do on each test set, a column a detector."""
    found = list_detectors(folder)
    cards = {name: _by_set(detector.card["numbers"]) for name, detector in found.items()}
    rows = []
    for source, first in next(iter(cards.values()), {}).items():
        n = " + ".join(f"{first[f'n_{kind}']} {kind}" for kind in ("real", "fake")
                       if first[f"n_{kind}"])  # fmt: skip
        measure = _measure(first)
        shown = [_share(rows_of[source], measure) for rows_of in cards.values()]
        rows.append(
            [
                source + UNSEEN[first["trained_on"]],
                n,
                measure.replace("_", " of ") + "s" * ("_" in measure),
                *shown,
            ]
        )
    return _markdown(("test set", "pictures", "measure", *cards), rows)


def _by_set(numbers: list[dict]) -> dict[str, dict]:
    return {row["test_set"]: row for row in numbers}


def _measure(row: dict) -> str:
    if row["n_real"] and row["n_fake"]:
        return "accuracy"
    return "recall_real" if row["n_real"] else "recall_fake"


def _share(row: dict, measure: str) -> str:
    return with_interval(*(row[f"{measure}{end}"] for end in ("", "_low", "_high")))


def speed_table(rows: pd.DataFrame) -> str:
    """Return what `make bench` measured, a line a comparison."""
    heads = ("what", "the study's way, or the limit", "ddlib", "ratio", "goal")
    lines = []
    for row in rows.to_dict("records"):
        both = [_amount(row[side], row["unit"]) for side in ("study_s", "ddlib_s")]
        what = row["what"] if row["unit"] == "GB" else f"{row['what']}, per {row['unit']}"
        lines.append([what, *both, f"{row['ratio']:g}", f"{row['goal']:g}"])
    return _markdown(heads, lines)


def _amount(value: float, unit: str) -> str:
    if unit == "GB":
        return f"{value:.3g} GB"
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.4g} s"


def _markdown(heads, rows) -> str:
    lines = [f"| {' | '.join(map(str, line))} |" for line in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])
