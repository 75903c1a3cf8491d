"""The table of results: a row for each protocol, condition and test set, with its provenance."""

from pathlib import Path

import pandas as pd

from ddlib._utils import file_lock, read_json, write_csv, write_json
from ddlib.data.manifest import Manifest
from ddlib.metrics.false_accusations import utkface_labels
from ddlib.metrics.roc_auc import auc
from ddlib.metrics.score_table import score_table
from ddlib.protocol import CONDITIONS, PROTOCOLS, Protocol
from ddlib.traces.shortcuts import metadata_baseline, metadata_reaches_model

SIMULATED = "simulated"  # the tier that needs no data
PICTURES = "pictures.csv"  # of a run's folder, written with its results
COLUMNS = ["tier", "protocol", "condition", "test_set", "n_real", "n_fake"]
for _name in ("accuracy", "recall_real", "recall_fake", "auc", "valid_auc", "metadata_auc"):
    COLUMNS += [_name, f"{_name}_low", f"{_name}_high"]
COLUMNS += ["metadata_auc_reaches_model", "balanced_accuracy", "ap"]
COLUMNS += ["threshold", "seed", "alpha", "image_size", "seconds", "result_id"]
_KEY = ["protocol", "condition", "test_set"]


def evaluate_run(
    facts: dict, scores: pd.Series, test_sets: dict[str, Manifest], validation: Manifest
) -> pd.DataFrame:
    """Measure a trained model on every test set at threshold 0.5; columns are `COLUMNS`.

    ``metadata_auc`` is what a classifier reaches that sees only size, format and JPEG quality
    (`metadata_baseline`); ``metadata_auc_reaches_model`` says whether it reaches the model.
    ``valid_auc`` is the AUC on the condition's own validation images: where its interval does not
    lie above `ddlib.study.reference.LEARNED_FROM`, the network did not learn.

    Parameters
    ----------
    facts : dict
        The training's provenance, of which tier, protocol, key and seconds are rows' columns.
    scores : Series
        P(fake) by path, of the images of all sets.
    """
    protocol, key = Protocol.from_dict(facts["protocol"]), facts["key"][:8]
    value, low, high = auc(validation.labels, scores.loc[validation.table["path"]])
    shared = {"tier": facts["tier"], "protocol": protocol.name, "condition": protocol.condition}
    shared |= {"valid_auc": value, "valid_auc_low": low, "valid_auc_high": high}
    shared |= {name: getattr(protocol, name) for name in ("seed", "alpha", "image_size")}
    shared |= {"seconds": facts["seconds_training"]}
    rows = []
    for name, chosen in test_sets.items():
        measured = score_table(chosen.labels, scores.loc[chosen.table["path"]])
        row = {"test_set": name, "result_id": f"{protocol.run_name}-{name}-{key}"}
        if chosen.table["label"].nunique() == 2:
            baseline = metadata_baseline(chosen)
            row |= {"metadata_auc": baseline["auc"]}
            row |= {f"metadata_auc_{end}": baseline[end] for end in ("low", "high")}
            reaches = metadata_reaches_model(measured["auc"], baseline)
            row["metadata_auc_reaches_model"] = reaches
        rows.append(shared | row | measured)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def save_results(folder: Path, rows: pd.DataFrame, facts: dict) -> None:
    """Add rows to ``results.csv`` in place of older ones, and their provenance to the .json.

    Rows that were measured on other images, such as another folder of the same name, are dropped.
    The table is in the order of protocols and conditions, whichever was measured first.
    """
    with file_lock(folder / "results.csv"):
        table, known = rows, {}
        if (folder / "results.csv").is_file():
            older, known = load_results(folder), read_json(folder / "results.json")
            images = [known[key].get("data_hash") for key in older["result_id"]]
            older = older[[each == facts.get("data_hash") for each in images]]
            table = pd.concat([older, rows]).drop_duplicates(_KEY, keep="last")
        known |= dict.fromkeys(rows["result_id"], facts)
        used = set(table["result_id"])
        write_json(folder / "results.json", {key: known[key] for key in known if key in used})
        order = {"protocol": PROTOCOLS, "condition": CONDITIONS}
        table = table.sort_values(
            list(order), key=lambda column: column.map(order[column.name].index), kind="stable"
        )
        write_csv(folder / "results.csv", table)


def load_results(folder: Path) -> pd.DataFrame:
    """Read ``results.csv`` of a run's folder."""
    file = Path(folder) / "results.csv"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no results.csv; run notebooks 02 and 03 first")
    return pd.read_csv(file)


def save_pictures(folder: Path, scored: Manifest) -> None:
    """Write the rows of a manifest as ``pictures.csv``, with numbers for paths and people.

    The numbers keep the order of the names, by which folds of a cross-validation are dealt.
    """
    table = scored.table.assign(utkface_labels=utkface_labels(scored.table))
    for name in ("path", "identity"):
        ranks = table[name].rank(method="dense")
        table[name] = ranks.map("{:05.0f}".format, na_action="ignore")
    write_csv(folder / PICTURES, table)


def is_simulated(tier: str) -> bool:
    """Return whether a tier's name is that of the simulated images."""
    return tier.removesuffix("-small") == SIMULATED
