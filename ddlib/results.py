"""The table of results: a row for each protocol, model and test set, with its provenance."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ddlib import audit, metrics
from ddlib.files import alone, read_json, whole, write_json
from ddlib.manifest import Manifest
from ddlib.protocol import MODELS, NAMES

COLUMNS = [
    *("tier", "protocol", "model", "test_source", "n_real", "n_fake"),
    *("accuracy", "accuracy_low", "accuracy_high"),
    *("recall_real", "recall_real_low", "recall_real_high"),
    *("recall_fake", "recall_fake_low", "recall_fake_high"),
    *("balanced_accuracy", "auc", "auc_low", "auc_high", "ap", "null_auc", "null_flag"),
    *("threshold", "seed", "alpha", "image_size", "seconds", "result_id"),
]
_KEY = ["protocol", "model", "test_source"]


def measure(run, tier: str, test_sets: dict[str, Manifest]) -> pd.DataFrame:
    """Measure a run on every test set at threshold 0.5; columns are `COLUMNS`.

    ``null_auc`` is what a classifier reaches that sees only size, format and JPEG quality
    (`audit.blind_null`); ``null_flag`` says whether it reaches the model.
    """
    rows = []
    for source, chosen in test_sets.items():
        scores = run.scores_of(chosen)["score"].to_numpy()
        rows.append(
            {
                "tier": tier,
                "protocol": run.protocol.name,
                "model": run.protocol.model,
                "test_source": source,
                **metrics.evaluate(chosen.labels, scores),
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
    nulls = {name: audit.blind_null(chosen) for name, chosen in test_sets.items() if both(chosen)}
    table["null_auc"] = [nulls.get(name, {}).get("auc") for name in table["test_source"]]
    table["null_flag"] = [
        audit.flag(auc, nulls[name]) if name in nulls else None
        for name, auc in zip(table["test_source"], table["auc"], strict=True)
    ]
    return table


def both(chosen: Manifest) -> bool:
    """Return whether a manifest holds both classes."""
    return chosen.table["label"].nunique() == 2


def keep(folder: Path, rows: pd.DataFrame, facts: dict) -> None:
    """Add rows to ``results.csv`` in place of older ones, and their provenance to the .json.

    The table is in the order of protocols and models, whichever was measured first.
    """
    with alone(folder / "results.csv"):
        table = pd.concat([_without(load(folder), rows), rows]) if exists(folder) else rows
        known = read_json(folder / "results.json") if exists(folder) else {}
        ids = set(table["result_id"])
        provenance = {**known, **dict.fromkeys(rows["result_id"], facts)}
        write_json(folder / "results.json", {k: v for k, v in provenance.items() if k in ids})
        order = {"protocol": NAMES, "model": MODELS}
        table = table.sort_values(
            list(order), key=lambda column: column.map(order[column.name].index), kind="stable"
        )
        with whole(folder / "results.csv") as unfinished:
            table.to_csv(unfinished, index=False)


def exists(folder: Path) -> bool:
    """Return whether a folder holds results."""
    return (Path(folder) / "results.csv").is_file()


def load(folder: Path) -> pd.DataFrame:
    """Read ``results.csv`` of a run's folder."""
    if not exists(folder):
        raise FileNotFoundError(f"{folder} holds no results.csv; run notebooks 02 and 03 first")
    return pd.read_csv(Path(folder) / "results.csv")


def _without(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    old = table.set_index(_KEY).index.isin(rows.set_index(_KEY).index)
    return table[~old]
