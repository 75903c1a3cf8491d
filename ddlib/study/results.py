"""The table of results: a row for each protocol, model and test set, with its provenance."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ddlib._io import atomic_write, file_lock, read_json, write_json
from ddlib.data.manifest import Manifest
from ddlib.metrics.score_table import score_table
from ddlib.protocol import CONDITIONS, PROTOCOLS
from ddlib.traces.shortcuts import metadata_baseline, metadata_reaches_model

COLUMNS = [
    *("tier", "protocol", "condition", "test_set", "n_real", "n_fake"),
    *("accuracy", "accuracy_low", "accuracy_high"),
    *("recall_real", "recall_real_low", "recall_real_high"),
    *("recall_fake", "recall_fake_low", "recall_fake_high"),
    *(
        "balanced_accuracy",
        "auc",
        "auc_low",
        "auc_high",
        "ap",
        "metadata_auc",
        "metadata_auc_reaches_model",
    ),
    *("threshold", "seed", "alpha", "image_size", "seconds", "result_id"),
]


_KEY = ["protocol", "condition", "test_set"]


def evaluate_run(run, tier: str, test_sets: dict[str, Manifest]) -> pd.DataFrame:
    """Measure a run on every test set at threshold 0.5; columns are `COLUMNS`.

    ``metadata_auc`` is what a classifier reaches that sees only size, format and JPEG quality
    (`audit.blind_null`); ``metadata_auc_reaches_model`` says whether it reaches the model.
    """
    rows = []
    for source, chosen in test_sets.items():
        scores = run.scores_of(chosen)["score"].to_numpy()
        rows.append(
            {
                "tier": tier,
                "protocol": run.protocol.name,
                "condition": run.protocol.condition,
                "test_set": source,
                **score_table(chosen.labels, scores),
                "seed": run.protocol.seed,
                "alpha": run.protocol.alpha,
                "image_size": run.protocol.image_size,
                "seconds": run.facts["seconds_training"],
                "result_id": f"{run.name}-{source}-{run.key[:8]}",
            }
        )
    table = _with_blind_null(pd.DataFrame(rows), test_sets)
    return table.reindex(columns=COLUMNS)


def _with_blind_null(table: pd.DataFrame, test_sets: dict[str, Manifest]) -> pd.DataFrame:
    nulls = {
        name: metadata_baseline(chosen)
        for name, chosen in test_sets.items()
        if has_both_classes(chosen)
    }
    table["metadata_auc"] = [nulls.get(name, {}).get("auc") for name in table["test_set"]]
    table["metadata_auc_reaches_model"] = [
        metadata_reaches_model(auc, nulls[name]) if name in nulls else None
        for name, auc in zip(table["test_set"], table["auc"], strict=True)
    ]
    return table


def has_both_classes(chosen: Manifest) -> bool:
    """Return whether a manifest holds both classes."""
    return chosen.table["label"].nunique() == 2


def save_results(folder: Path, rows: pd.DataFrame, facts: dict) -> None:
    """Add rows to ``results.csv`` in place of older ones, and their provenance to the .json.

    The table is in the order of protocols and models, whichever was measured first.
    """
    with file_lock(folder / "results.csv"):
        table = (
            pd.concat([_without(load_results(folder), rows), rows]) if has_results(folder) else rows
        )
        known = read_json(folder / "results.json") if has_results(folder) else {}
        ids = set(table["result_id"])
        provenance = {**known, **dict.fromkeys(rows["result_id"], facts)}
        write_json(folder / "results.json", {k: v for k, v in provenance.items() if k in ids})
        order = {"protocol": PROTOCOLS, "condition": CONDITIONS}
        table = table.sort_values(
            list(order), key=lambda column: column.map(order[column.name].index), kind="stable"
        )
        with atomic_write(folder / "results.csv") as unfinished:
            table.to_csv(unfinished, index=False)


def has_results(folder: Path) -> bool:
    """Return whether a folder holds results."""
    return (Path(folder) / "results.csv").is_file()


def load_results(folder: Path) -> pd.DataFrame:
    """Read ``results.csv`` of a run's folder."""
    if not has_results(folder):
        raise FileNotFoundError(f"{folder} holds no results.csv; run notebooks 02 and 03 first")
    return pd.read_csv(Path(folder) / "results.csv")


def _without(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    old = table.set_index(_KEY).index.isin(rows.set_index(_KEY).index)
    return table[~old]
