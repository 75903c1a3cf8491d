"""What matters for a small detector: one change of the recipe at a time, judged on valid alone.

    python -m tests.benchmarks.trials --data FOLDER [--alpha 0.25] [--epochs 8] [WORD ...]

Writes figures/tables/trials.csv and .json, a row a trial; a trial that is there already with the
same data and code is not run again. Test pictures are never looked at.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

from ddlib._io import atomic_write, digest, read_json, write_json
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.data.sources import open_folder
from ddlib.deploy.export import keras_logits
from ddlib.images.jpeg import recompress
from ddlib.images.perturb import Augmentation
from ddlib.metrics.calibration import probability
from ddlib.metrics.score_table import score_table
from ddlib.models.finetuning import finetune, recipe
from ddlib.models.provenance import provenance
from ddlib.protocol import VERSIONS

ROOT = Path(__file__).resolve().parents[2]
MILD = Augmentation(resize=0.25, zoom=0.25, blur=0.15, jpeg=0.25)
TRIALS = {
    "no augmentation": {"augmentation": None},
    "JPEG, blur, resize, zoom (Wang 2020)": {},
    "the same, half as often": {"augmentation": MILD},
    "native pixels cut, not resized": {"resize": "none"},
    "whole pictures, no windows": {"window": 256},
    "hidden layer of 1024, as the study": {"dense_units": 1024},
}


def run(name: str, manifest: Manifest, alpha: float, epochs: int, cache: Cache) -> dict:
    """Train one trial and return its row."""
    plan = recipe(alpha, epochs, **TRIALS[name])
    training, valid = (manifest.select(split=split) for split in ("train", "valid"))
    trained = finetune(
        training, valid, plan, cache, log=lambda line: print(f"  {line}", flush=True)
    )
    pictures = load_images(valid, plan.protocol, cache).take(slice(None))
    resaved = np.stack([recompress(picture, 70) for picture in pictures])
    clean, saved = (keras_logits(trained.detector, part) for part in (pictures, resaved))
    return {
        "trial": name,
        **scores_of(valid, probability(clean)),
        "accuracy_jpeg70": float(np.mean((saved >= 0) == valid.labels)),
        "flips_jpeg70": float(np.mean((saved >= 0) != (clean >= 0))),
        **{"best_epoch": trained.best_epoch, "epochs": epochs, "alpha": alpha},
        "seconds": round(trained.seconds, 1),
    }


def scores_of(valid: Manifest, scores: np.ndarray) -> dict:
    """Return what a trial is judged by."""
    source, labels = valid.table["source"].to_numpy(), valid.labels
    gan = np.isin(source, ("ffhq", "stylegan"))
    found = score_table(labels[gan], scores[gan])
    names = ("accuracy", "accuracy_low", "accuracy_high", "auc", "auc_low", "auc_high")
    row = {f"gan_{key}": found[key] for key in names}
    for name in ("sd21", "lfw", "utkface"):
        own = source == name
        row[f"right_{name}"] = float(np.mean((scores[own] >= 0.5) == labels[own]))
    return row | {"accuracy": float(np.mean((scores >= 0.5) == labels))}


def main() -> None:
    """Run the trials that are missing and keep their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--alpha", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("words", nargs="*", help="only trials whose name holds one of these")
    parser.add_argument("--out", type=Path, default=ROOT / "figures" / "tables")
    told = parser.parse_args()
    manifest = open_folder(told.data)
    path = told.out / "trials.json"
    known = read_json(path) if path.is_file() else {}
    words = told.words or [""]
    for name in [name for name in TRIALS if any(word in name for word in words)]:
        key = digest(manifest.digest(), VERSIONS, name, told.alpha, told.epochs)
        if known.get(name, {}).get("key") == key:
            continue
        print(name, flush=True)
        row = run(name, manifest, told.alpha, told.epochs, Cache())
        known[name] = {"key": key, "row": row, "provenance": provenance()}
        write_json(path, known)
    table = pd.DataFrame([known[name]["row"] for name in TRIALS if name in known])
    with atomic_write(told.out / "trials.csv") as unfinished:
        table.round(4).to_csv(unfinished, index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
