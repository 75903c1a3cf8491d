"""Published results and the scores they come from, committed together: rebuilt without TensorFlow.

Beside ``results_<name>.csv`` lie ``pictures_<name>.csv``, a row for each picture of the splits
valid and test (hash, label, source, split, facts of the file; no name), and ``scores_<name>.npz``,
the logits that every published model gives them, in half precision. Every number of the results
is computed from these two again and compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ddlib._io import atomic_write, read_json, write_csv
from ddlib.data import subsets
from ddlib.data.manifest import COLUMNS, Manifest
from ddlib.metrics.calibration import probability
from ddlib.metrics.false_accusations import false_accusations
from ddlib.protocol import Protocol
from ddlib.study.results import evaluate_run, load_results
from ddlib.study.sweep_tables import load_sweeps, sweep_tables

TOLERANCE = 1e-9  # of a rebuilt number; other versions of scipy may round otherwise
# The columns that name a row of a table, of those that it has.
KEYS = ["plan", "protocol", "condition", "fakes", "ela_quality", "a", "b", "n", "subset", "seed"]
KEYS += ["source", "fitted_up_to", "floor", "by", "value", "use", "test_set", "measure"]


@dataclass(frozen=True)
class PublishedRun:
    """A trained model of which only the scores are left; what `evaluate_run` asks of a run."""

    protocol: Protocol
    facts: dict
    scores: pd.Series  # P(fake) by path

    def scores_of(self, chosen: Manifest) -> pd.DataFrame:
        """Return the scores of the images of a manifest, in its order."""
        return pd.DataFrame({"score": self.scores.loc[chosen.table["path"]].to_numpy()})


def publish_scores(folder: Path, tables: Path, name: str) -> list[Path]:
    """Write the logits of a run's published models, and their false accusations.

    ``results_<name>.csv`` and ``pictures_<name>.csv`` must lie there already.
    """
    results, facts = load_results(folder), read_json(Path(folder) / "results.json")
    logits = {}
    for protocol, _ in _published_runs(results, facts):
        scores = pd.read_csv(Path(folder) / "models" / protocol.run_name / "scores.csv")
        logits[protocol.run_name] = scores["logit"].to_numpy(np.float16)
    written = [tables / f"scores_{name}.npz"]
    with atomic_write(written[0]) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **logits)
    accused = published_accusations(tables, name)
    if len(accused):
        written.append(write_csv(tables / f"false_accusations_{name}.csv", accused))
    return written


def published_pictures(tables: Path, name: str) -> Manifest:
    """Return the manifest of the published valid and test pictures, in the order of the scores."""
    words = dict.fromkeys(("path", "identity", "sha256"), str)
    pictures = pd.read_csv(Path(tables) / f"pictures_{name}.csv", dtype=words)
    return Manifest(Path(tables), pictures.reindex(columns=COLUMNS))


def rebuild(tables: Path, name: str) -> pd.DataFrame:
    """Return ``results_<name>.csv`` as the committed scores give it."""
    manifest, parts = published_pictures(tables, name), []
    sets = subsets.test_sets(manifest)
    for run in scored_runs(tables, name, manifest):
        validation = subsets.validation_manifest(manifest, run.protocol)
        parts.append(evaluate_run(run, run.facts["tier"], sets, validation))
    return pd.concat(parts, ignore_index=True)


def published_accusations(tables: Path, name: str) -> pd.DataFrame:
    """Return the false accusations of UTKFace's test photographs by each published model."""
    pictures = pd.read_csv(Path(tables) / f"pictures_{name}.csv", dtype={"path": str})
    labels = pictures.set_index("path")["utkface_labels"][(pictures["split"] == "test").to_numpy()]
    if labels.isna().all():
        return pd.DataFrame()
    parts = []
    for run in scored_runs(tables, name, published_pictures(tables, name)):
        part = false_accusations(labels, run.scores.loc[labels.index])
        part.insert(0, "protocol", run.protocol.name)
        part.insert(1, "condition", run.protocol.condition)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def scored_runs(tables: Path, name: str, manifest: Manifest) -> Iterator[PublishedRun]:
    """Yield the published models with their scores of the published pictures."""
    results = pd.read_csv(Path(tables) / f"results_{name}.csv")
    facts = read_json(Path(tables) / f"results_{name}.json")
    with np.load(Path(tables) / f"scores_{name}.npz") as logits:
        for protocol, own in _published_runs(results, facts):
            scores = probability(logits[protocol.run_name].astype(np.float64))
            yield PublishedRun(protocol, own, pd.Series(scores, index=manifest.table["path"]))


def _published_runs(results: pd.DataFrame, facts: dict) -> list[tuple[Protocol, dict]]:
    """Return protocol and provenance of each model in a table of results."""
    ids = results.drop_duplicates(["protocol", "condition"])["result_id"]
    return [(Protocol.from_dict(facts[each]["protocol"]), facts[each]) for each in ids]


def rebuilt_tables(tables: Path, name: str) -> dict[str, pd.DataFrame]:
    """Return every table that the committed scores give, by the name of its file."""
    found = {"results": rebuild(tables, name)}
    found["false_accusations"] = published_accusations(tables, name)
    if (Path(tables) / f"sweeps_{name}.npz.xz").is_file():
        results = pd.read_csv(Path(tables) / f"results_{name}.csv")
        sweeps = load_sweeps(tables, name, published_pictures(tables, name))
        found |= sweep_tables(sweeps, results)
    return {f"{kind}_{name}.csv": table for kind, table in found.items() if len(table)}


def differences(tables: Path, rebuilt: dict[str, pd.DataFrame]) -> list[str]:
    """Return a line for each committed number that the `rebuilt_tables` do not give."""
    lines = []
    for file, table in rebuilt.items():
        committed = pd.read_csv(Path(tables) / file)
        # `a` and `b` are names, or the numbers of a fitted law, which are compared as others are
        keys = [k for k in KEYS if k in committed and not pd.api.types.is_float_dtype(committed[k])]
        old, new = (both.set_index(keys, drop=False) for both in (committed, table))
        alone = old.index.symmetric_difference(new.index)
        lines += [f"{file}: {_words(cell)} is in one of the two only" for cell in alone]
        common = old.index.intersection(new.index)
        for column in committed.columns:
            pair = old.loc[common, column], new.loc[common, column]
            for cell in common[_differ(*pair)]:
                was, gives = (values.loc[[cell]].iloc[0] for values in pair)
                lines.append(f"{file}: {_words(cell)}, {column} is {was}, the scores give {gives}")
    return lines


def _words(cell) -> str:
    return " ".join(map(str, cell)) if isinstance(cell, tuple) else str(cell)


def _differ(old: pd.Series, new: pd.Series) -> np.ndarray:
    """Return where two columns differ, (N,) bool."""
    if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
        same = (old.astype(float) - new.astype(float)).abs() <= TOLERANCE
    else:
        same = old.astype(str) == new.astype(str)
    return ~(same | (old.isna() & new.isna())).to_numpy()
