"""The report: ours beside the study's, as a terminal table, Markdown, charts and one HTML file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from ddlib._io import atomic_write, read_json, write_json
from ddlib.metrics.format import with_interval
from ddlib.protocol import CONDITIONS
from ddlib.study.reference import STANDS_FOR, TOLERANCE, compare_with_study
from ddlib.study.results import load_results
from ddlib.study.study import is_simulated

NOTEBOOK = "07_reproduction_report"


NAMES = {
    "gan": "GAN",
    "sd": "Stable Diffusion",
    "sd15": "SD 1.5",
    "sd21": "SD 2.1",
    "sdxl": "SDXL",
    "cats": "cats",
    "ciplab": "CIPLAB",
}


# finding, model, test set, measure, bound: the shape of the study's result
_LEVELS = [
    ("gan tells GAN faces", "gan", "gan", "accuracy", ">=", 0.80),
    ("gan misses SD faces", "gan", "sd", "recall_fake", "<=", 0.25),
    ("gan+sd finds SD faces", "gan+sd", "sd", "recall_fake", ">=", 0.90),
    ("gan+sd still tells GAN faces", "gan+sd", "gan", "accuracy", ">=", 0.75),
]


def summary(folder: Path) -> str:
    """Return what a run found, as text for a terminal: findings, then the study's table.

    Parameters
    ----------
    folder : path
        ``runs/<tier>``, holding results.csv.
    """
    results = load_results(folder)
    tier = results["tier"].iloc[0]
    note = " (simulated images: a check of the method, not a result)" if is_simulated(tier) else ""
    parts = [f"Tier {tier}{note}"]
    for protocol in sorted(results["protocol"].unique()):
        mine = results[results["protocol"] == protocol]
        parts += [f"\nProtocol {protocol}: the study's findings", _plain(findings(mine))]
        table = compare_with_study(mine)
        table = table[table["verdict"] != "not run"] if protocol == "paper" else table
        parts += [f"\nProtocol {protocol}: the study's table beside ours", _plain(_shown(table))]
    parts.append(
        f"\nreproduced: the study's figure lies in our 95 % interval widened by {TOLERANCE:.2f}"
    )
    return "\n".join(parts)


def findings(results: pd.DataFrame) -> pd.DataFrame:
    """Return the study's findings with our numbers: finding, bound, ours, holds (yes, no, -).

    A finding about a level holds if our point estimate is within the stated bound. ELA "does not
    help" if its interval of accuracy on the model's own test set does not lie above its twin's.
    """
    cell = {(row["condition"], row["test_set"]): row for row in results.to_dict("records")}
    rows = [_level(cell, *finding) for finding in _LEVELS]
    rows += [_ela(cell, twin, source) for twin, source in (("gan", "gan"), ("gan+sd", "sd"))]
    return pd.DataFrame(rows)


def _level(cell, finding, model, source, measure, sign, bound) -> dict:
    row = cell.get((model, source))
    ours, holds = "not run", "-"
    if row is not None:
        value = row[measure]
        ours = with_interval(value, row[f"{measure}_low"], row[f"{measure}_high"])
        holds = "yes" if (value >= bound if sign == ">=" else value <= bound) else "no"
    bound = f"{measure} {sign} {bound:.2f}"
    return {"finding": finding, "bound": bound, "ours": ours, "holds": holds}


def _ela(cell, twin: str, source: str) -> dict:
    plain, ela = cell.get((twin, source)), cell.get((f"{twin}+ela", source))
    ours, holds = "not run", "-"
    if plain is not None and ela is not None:
        ours = f"{ela['accuracy']:.3f} with ELA, {plain['accuracy']:.3f} without"
        holds = "no" if ela["accuracy_low"] > plain["accuracy_high"] else "yes"
    finding = f"ELA does not help {twin} on {NAMES[source]}"
    return {"finding": finding, "bound": "accuracy not above", "ours": ours, "holds": holds}


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in table.to_dict("records"):
        ran = row["verdict"] != "not run"
        stand_in = row.get("our_source")
        simulated = f" ({stand_in})" if ran and stand_in in STANDS_FOR else ""
        rows.append(
            {
                "test set": NAMES[row["test_set"]] + simulated,
                "condition": row["condition"],
                "measure": row["measure"].replace("_", " of ") + ("s" * ("fake" in row["measure"])),
                "study": f"{row['study']:.3f}",
                "ours": with_interval(row["ours"], row["low"], row["high"]) if ran else "",
                "n": str(int(row["n"])) if ran else "",
                "verdict": row["verdict"],
            }
        )
    return pd.DataFrame(rows)


def _plain(table: pd.DataFrame) -> str:
    """Return a table as aligned text with a line under its head."""
    widths = [max(map(len, [name, *table[name].astype(str)])) for name in table]
    lines = [[*table.columns], ["-" * width for width in widths]]
    lines += table.astype(str).to_numpy().tolist()
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def to_html(folder: Path) -> Path:
    """Write the executed notebook 07 as one HTML file that needs nothing else; return its path.

    Raises
    ------
    FileNotFoundError
        If notebook 07 was not run yet.
    """
    from nbconvert import HTMLExporter

    notebook = Path(folder) / "notebooks" / f"{NOTEBOOK}.ipynb"
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook} is missing; run `ddlib run 07` on this tier first")
    exporter = HTMLExporter(exclude_input=True, exclude_input_prompt=True, embed_images=True)
    body, _ = exporter.from_filename(str(notebook))
    with atomic_write(Path(folder) / "report.html") as unfinished:
        unfinished.write_text(body, encoding="utf-8")
    return Path(folder) / "report.html"


# Charts of the notebooks that are committed: lines and dots, no pictures of people.
CHARTS = (
    *("01_break_the_benchmark", "02_history", "02_recall_of_fakes", "03_history"),
    *("03_recall_of_fakes", "04_ela_accuracy", "05_recall_fake", "05_recall_real"),
    *("06_cascade", "06_deletion_insertion", "06_heat_inside_face", "07_blind_null"),
    *("08_robustness", "08_recalls", "08_unseen", "08_reliability", "08_thresholds"),
    *("09_export", "09_latency", "09_cost"),
)


def publish(folder: Path, figures: Path, name: str) -> list[Path]:
    """Copy a run's tables and charts to where they are committed; return what was written.

    Tables and charts only: pictures of people never leave ``runs/``. Where the numbers come from
    goes along: ``tables/results_<name>.json`` for the models, ``tables/<name>_notebooks.json`` for
    the tables that notebooks wrote.
    """
    from ddlib.viz.results import compare_with_study_chart
    from ddlib.viz.style import save_chart

    folder, figures = Path(folder), Path(figures)
    results = load_results(folder)
    copies = {"results.csv": f"tables/results_{name}.csv"}
    for path in sorted((folder / "tables").glob("*.csv")):
        copies[f"tables/{path.name}"] = f"tables/{name}_{path.name}"
    for chart in CHARTS:
        if (folder / "figures" / f"{chart}.png").is_file():
            copies[f"figures/{chart}.png"] = f"{chart[:3]}{name}_{chart[3:]}.png"
    written = [_copy(folder / source, figures / target) for source, target in copies.items()]
    models = read_json(folder / "results.json")
    written.append(write_json(figures / "tables" / f"results_{name}.json", models))
    markers = (folder / "notebooks").glob("[0-9][0-9]_*.json")
    runs = {path.stem: read_json(path) for path in sorted(markers)}
    written.append(write_json(figures / "tables" / f"{name}_notebooks.json", runs))
    for protocol in sorted(results["protocol"].unique()):
        compared = compare_with_study(results[results["protocol"] == protocol])
        chart = compare_with_study_chart(compared, CONDITIONS, title=_title(results, protocol))
        written.append(save_chart(chart, figures / f"07_{name}_{protocol}_beside_study.png"))
    return written


def _copy(source: Path, target: Path) -> Path:
    with atomic_write(target) as unfinished:
        shutil.copyfile(source, unfinished)
    return target


def _title(results: pd.DataFrame, protocol: str) -> str:
    kind = "simulated images" if is_simulated(results["tier"].iloc[0]) else "real images"
    return f"Our results beside the study's: {kind}, protocol {protocol}"
