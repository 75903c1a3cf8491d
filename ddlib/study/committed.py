"""What is committed of a run: tables, charts and the scores they come from, and their verification.

Beside ``results_<name>.csv`` lie ``pictures_<name>.csv``, a row for each picture of the splits
valid and test (hash, label, source, split, facts of the file; no name), and ``scores_<name>.npz``,
the logits that every published model gives them, in half precision. Every number of the results
is computed from these two again and compared, without TensorFlow.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from ddlib._utils import atomic_write, read_json, write_csv, write_json
from ddlib.data import subsets
from ddlib.data.manifest import COLUMNS, Manifest
from ddlib.metrics.calibration import probability
from ddlib.metrics.false_accusations import false_accusations
from ddlib.protocol import Protocol
from ddlib.study.report import readme_with_table
from ddlib.study.results import PICTURES, evaluate_run
from ddlib.study.study import published
from ddlib.study.sweep_tables import collect, finished_sweeps, load_sweeps, sweep_tables

TOLERANCE = 1e-9  # of a rebuilt number; other versions of scipy may round otherwise


def publish(folder: Path, figures: Path, name: str) -> list[Path]:
    """Copy a run's tables and published charts to where they are committed; return the files.

    A chart is published by ``study.save(..., publish=True)``. What a notebook of this run does not
    make any more is removed from the copies. The provenance goes along:
    ``tables/results_<name>.json`` for the models, ``tables/<name>_notebooks.json`` for the tables
    that notebooks wrote.

    Parameters
    ----------
    folder : path
        ``runs/<tier>``.
    figures : path
        The folder ``figures`` of the checkout.
    name : str
        What the copies are called, such as "simulated" or "large".
    """
    folder, tables = Path(folder), Path(figures) / "tables"
    copies = {folder / "results.csv": tables / f"results_{name}.csv"}
    copies[folder / "results.json"] = tables / f"results_{name}.json"
    copies[folder / PICTURES] = tables / f"pictures_{name}.csv"
    for path in sorted((folder / "tables").glob("*.csv")):
        copies[path] = tables / f"{name}_{path.name}"
    for chart in sorted(published(folder)):
        number, rest = chart.split("_", 1)
        copies[folder / "figures" / f"{chart}.png"] = Path(figures) / f"{number}_{name}_{rest}.png"
    for source, target in copies.items():
        with atomic_write(target) as unfinished:
            shutil.copyfile(source, unfinished)
    written = [*copies.values(), publish_scores(folder, tables, name)]
    written += publish_sweeps(folder, figures, name)
    markers = sorted((folder / "notebooks").glob("[0-9][0-9]_*.json"))
    # charts of notebook 10 stay: they are of sweeps, which may lie in another folder of runs
    for number in {path.stem[:2] for path in markers} - {"10"}:
        charts = Path(figures).glob(f"{number}_{name}_*.png")
        for old in {*charts, *tables.glob(f"{name}_{number}_*.csv")} - {*written}:
            old.unlink()
    facts = {path.stem: read_json(path) for path in markers}
    return [*written, write_json(tables / f"{name}_notebooks.json", facts)]


def publish_scores(folder: Path, tables: Path, name: str) -> Path:
    """Write the logits of a run's models, those of ``results_<name>.csv``, and return the file."""
    logits = {}
    for protocol, _ in _published_models(tables, name):
        scores = pd.read_csv(folder / "models" / protocol.run_name / "scores.csv")
        logits[protocol.run_name] = scores["logit"].to_numpy(np.float16)
    target = tables / f"scores_{name}.npz"
    with atomic_write(target) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **logits)
    return target


def publish_sweeps(folder: Path, figures: Path, name: str) -> list[Path]:
    """Write the logits of a run's sweeps, and what follows from all published logits.

    That is every table but the results, which must be there already, and the charts of the sweeps.
    """
    from ddlib.viz.style import save_chart
    from ddlib.viz.sweeps import batch_norm_statistics, learning_curve, new_runs

    tables, written = Path(figures) / "tables", []
    pictures = published_pictures(tables, name)
    if (folder / "sweeps").is_dir():
        sweeps = finished_sweeps(folder, pictures)
        sweeps.check()  # before anything is written
        written.append(collect(sweeps, tables, name))
    elif (tables / f"sweeps_{name}.npz.xz").is_file():  # of another folder of runs
        load_sweeps(tables, name, pictures).check()
    made = rebuilt_tables(tables, name)
    del made[f"results_{name}.csv"]
    written += [write_csv(tables / file, table) for file, table in made.items()]
    curve, seed = made.get(f"curve_{name}.csv"), made.get(f"seed_{name}.csv")
    charts = {}
    if curve is not None:
        title = "Baseline, width 0.75: error on GAN faces"
        charts["curve"] = learning_curve(curve, made[f"curve_fits_{name}.csv"], title)
        if curve["accuracy_recomputed"].notna().any():
            title = "GAN faces, the study's protocol: statistics of batch normalisation"
            charts["batch_norm"] = batch_norm_statistics(curve, title)
    if seed is not None and "study" in seed:
        own = seed[seed["plan"] == "seeds"]
        charts["seed"] = new_runs(own, "One new run of ours, and the study's")
    for kind, figure in charts.items():
        written.append(save_chart(figure, Path(figures) / f"10_{name}_{kind}.png"))
    return written


def published_pictures(tables: Path, name: str) -> Manifest:
    """Return the manifest of the published valid and test pictures, in the order of the scores."""
    words = dict.fromkeys(("path", "identity", "sha256"), str)
    pictures = pd.read_csv(tables / f"pictures_{name}.csv", dtype=words)
    return Manifest(tables, pictures.reindex(columns=COLUMNS))


def rebuilt_tables(tables: Path, name: str) -> dict[str, pd.DataFrame]:
    """Return every table that the committed scores give, by the name of its file."""
    manifest = published_pictures(tables, name)
    paths, sets = manifest.table["path"], subsets.test_sets(manifest)
    labels = pd.read_csv(tables / f"pictures_{name}.csv")["utkface_labels"].set_axis(paths)
    labels = labels[(manifest.table["split"] == "test").to_numpy()]
    with np.load(tables / f"scores_{name}.npz") as file:
        logits = dict(file)
    results, accusations = [], []
    for protocol, facts in _published_models(tables, name):
        scores = pd.Series(probability(logits[protocol.run_name]), index=paths)
        validation = subsets.validation_manifest(manifest, protocol)
        results.append(evaluate_run(facts, scores, sets, validation))
        if labels.notna().any():
            accused = false_accusations(labels, scores.loc[labels.index])
            accused.insert(0, "protocol", protocol.name)
            accused.insert(1, "condition", protocol.condition)
            accusations.append(accused)
    found = {"results": pd.concat(results, ignore_index=True)}
    if accusations:
        found["false_accusations"] = pd.concat(accusations, ignore_index=True)
    if (tables / f"sweeps_{name}.npz.xz").is_file():
        committed = pd.read_csv(tables / f"results_{name}.csv")
        found |= sweep_tables(load_sweeps(tables, name, manifest), committed)
    return {f"{kind}_{name}.csv": table for kind, table in found.items() if len(table)}


def verify(readme: Path, figures: Path) -> tuple[list[str], list[str]]:
    """Compute what is published from the committed scores.

    Returns
    -------
    differences : list of str
        A line for each number that the scores do not give; none if all is well.
    not_rebuilt : list of str
        The tables that hold other things than scores, such as latencies and heat maps.
    """
    tables = Path(figures) / "tables"
    lines, others = [], {path.name for path in tables.glob("*.csv")}
    for path in sorted(tables.glob("scores_*.npz")):
        name = path.stem.removeprefix("scores_")
        others.remove(f"pictures_{name}.csv")
        for file, table in rebuilt_tables(tables, name).items():
            lines += differences(tables / file, table)
            others.discard(file)
    if readme_with_table(readme, figures) != Path(readme).read_text(encoding="utf-8"):
        lines.append(f"{readme}: the table is not that of the committed results")
    return lines, sorted(others)


def differences(file: Path, table: pd.DataFrame) -> list[str]:
    """Return a line for each number of a committed file that the rebuilt table does not give."""
    committed = pd.read_csv(file)
    if len(committed) != len(table):
        return [f"{file.name} has {len(committed)} rows, the scores give {len(table)}"]
    apart = set(committed).symmetric_difference(table)
    lines = [f"{file.name}: only one has the column {name}" for name in sorted(apart)]
    for column in committed.columns.intersection(table.columns):
        old, new = committed[column], table[column].reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
            same = (old.astype(float) - new.astype(float)).abs() <= TOLERANCE
        else:
            same = old.astype(str) == new.astype(str)
        for place in np.flatnonzero(~(same | (old.isna() & new.isna()))):
            cell = f"{file.name}, line {place + 2}: {column}"
            lines.append(f"{cell} is {old[place]}, the scores give {new[place]}")
    return lines


def _published_models(tables: Path, name: str) -> list[tuple[Protocol, dict]]:
    """Return protocol and provenance of each model in ``results_<name>.csv``."""
    results = pd.read_csv(tables / f"results_{name}.csv")
    facts = read_json(tables / f"results_{name}.json")
    ids = results.drop_duplicates(["protocol", "condition"])["result_id"]
    return [(Protocol.from_dict(facts[each]["protocol"]), facts[each]) for each in ids]
