"""Published results and the scores they come from, committed together: rebuilt without TensorFlow.

Beside ``results_<name>.csv`` lie ``pictures_<name>.csv``, a row for each picture of the splits
valid and test (hash, label, source, split, facts of the file; no name), and ``scores_<name>.npz``,
the logits that every published model gives them, in half precision. Every number of the results
is computed from these two again and compared.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ddlib._io import atomic_write, read_json
from ddlib.data import subsets
from ddlib.data.manifest import COLUMNS, Manifest
from ddlib.metrics.calibration import probability
from ddlib.protocol import Protocol
from ddlib.study.results import evaluate_run, load_results

PICTURES = "pictures.csv"  # of a run's folder, written with its results
CELL = ["protocol", "condition", "test_set"]
TOLERANCE = 1e-9  # of a rebuilt number; other versions of scipy may round otherwise


@dataclass(frozen=True)
class PublishedRun:
    """A trained model of which only the scores are left; what `evaluate_run` asks of a run."""

    protocol: Protocol
    facts: dict
    scores: pd.Series  # P(fake) by path

    @property
    def key(self) -> str:
        """The digest of all that decided it."""
        return self.facts["key"]

    def scores_of(self, chosen: Manifest) -> pd.DataFrame:
        """Return the scores of the images of a manifest, in its order."""
        return pd.DataFrame({"score": self.scores.loc[chosen.table["path"]].to_numpy()})


def pictures_table(scored: Manifest) -> pd.DataFrame:
    """Return the rows of a manifest with numbers in place of paths and people.

    The numbers keep the order of the names, by which folds of a cross-validation are dealt.
    """
    return scored.table.assign(
        path=_numbered(scored.table["path"]), identity=_numbered(scored.table["identity"])
    )


def _numbered(names: pd.Series) -> pd.Series:
    return names.rank(method="dense").map("{:05.0f}".format, na_action="ignore")


def publish_scores(folder: Path, tables: Path, name: str) -> list[Path]:
    """Write the pictures of a run's folder and the logits of its published models; return both."""
    results, facts = load_results(folder), read_json(Path(folder) / "results.json")
    logits = {}
    for protocol, _ in _published_runs(results, facts):
        scores = pd.read_csv(Path(folder) / "models" / protocol.run_name / "scores.csv")
        logits[protocol.run_name] = scores["logit"].to_numpy(np.float16)
    pictures, matrix = tables / f"pictures_{name}.csv", tables / f"scores_{name}.npz"
    with atomic_write(pictures) as unfinished:
        shutil.copyfile(Path(folder) / PICTURES, unfinished)
    with atomic_write(matrix) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **logits)
    return [pictures, matrix]


def rebuild(tables: Path, name: str) -> pd.DataFrame:
    """Return ``results_<name>.csv`` as the committed scores give it."""
    tables = Path(tables)
    words = dict.fromkeys(("path", "identity", "sha256"), str)
    pictures = pd.read_csv(tables / f"pictures_{name}.csv", dtype=words)
    manifest = Manifest(tables, pictures.reindex(columns=COLUMNS))
    sets, committed = subsets.test_sets(manifest), pd.read_csv(tables / f"results_{name}.csv")
    facts, parts = read_json(tables / f"results_{name}.json"), []
    with np.load(tables / f"scores_{name}.npz") as logits:
        for protocol, own in _published_runs(committed, facts):
            scores = probability(logits[protocol.run_name].astype(np.float64))
            run = PublishedRun(protocol, own, pd.Series(scores, index=pictures["path"]))
            validation = subsets.validation_manifest(manifest, protocol)
            parts.append(evaluate_run(run, own["tier"], sets, validation))
    return pd.concat(parts, ignore_index=True)


def _published_runs(results: pd.DataFrame, facts: dict) -> list[tuple[Protocol, dict]]:
    """Return protocol and provenance of each model in a table of results."""
    ids = results.drop_duplicates(["protocol", "condition"])["result_id"]
    return [(Protocol.from_dict(facts[each]["protocol"]), facts[each]) for each in ids]


def differences(tables: Path, name: str) -> list[str]:
    """Return a line for each committed number that the committed scores do not give."""
    committed = pd.read_csv(Path(tables) / f"results_{name}.csv").set_index(CELL)
    rebuilt = rebuild(tables, name).set_index(CELL)
    alone = committed.index.symmetric_difference(rebuilt.index)
    lines = [f"results_{name}.csv: {' '.join(cell)} is in one of the two only" for cell in alone]
    for cell in committed.index.intersection(rebuilt.index):
        for column in committed.columns:
            old, new = committed.loc[cell, column], rebuilt.loc[cell, column]
            if not _equal(old, new):
                where = f"results_{name}.csv: {' '.join(cell)}, {column}"
                lines.append(f"{where} is {old}, the scores give {new}")
    return lines


def _equal(old, new) -> bool:
    if pd.isna(old) or pd.isna(new):
        return bool(pd.isna(old) and pd.isna(new))
    if isinstance(old, str) or isinstance(new, str):
        return str(old) == str(new)
    return abs(float(old) - float(new)) <= TOLERANCE
