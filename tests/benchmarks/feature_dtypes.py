"""Bottleneck features in 32, 16 and 8 bits: disk, time and accuracy over three seeds.

    python -m tests.benchmarks.feature_dtypes --data FOLDER [--alpha 0.25] [--n 1600]

Trains the clean baseline on the same images with each kind; `seconds` holds the features' making.
Writes figures/tables/feature_dtypes_NAME.csv and .json; what is there is not run again.
"""

import argparse
import itertools
import os
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd

from ddlib._utils import read_json, write_csv, write_json
from ddlib.data.cache import Cache
from ddlib.metrics.calibration import probability
from ddlib.metrics.score_table import score_table
from ddlib.models.provenance import provenance
from ddlib.models.train import train_detector
from ddlib.study.study import open_study
from ddlib.study.sweep import Job

ROOT = Path(__file__).resolve().parents[2]
DTYPES = ("float32", "float16", "uint8")
SEEDS = 3


def main() -> None:
    """Train with each kind and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="simulated")
    parser.add_argument("--alpha", type=float, default=0.25)
    parser.add_argument("--n", type=int, help="training images; by default all")
    parser.add_argument("--out", type=Path, default=ROOT / "figures" / "tables")
    given = parser.parse_args()
    target = given.out / f"feature_dtypes_{Path(given.data).name}.csv"
    kept = target.with_suffix(".json")
    rows = read_json(kept)["rows"] if kept.is_file() else []
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(given.data, Path(folder) / "runs", given.alpha)
        job = Job(study.protocol("gan"), given.n)
        training, validation = (job.images(study.manifest, part) for part in ("train", "valid"))
        test = study.test_sets["gan"]
        facts = {"tier": study.tier, "n_training": len(training), "n_test": len(test)}
        facts["protocol"] = job.protocol.to_dict()
        known = {(row["feature_dtype"], row["seed"]) for row in rows}
        for dtype, seed in itertools.product(DTYPES, range(SEEDS)):
            if (dtype, seed) in known:
                continue
            cache = Cache(Path(folder) / f"{dtype}{seed}", limit=100)
            protocol = replace(job.protocol, seed=seed, feature_dtype=dtype)
            trained = train_detector(training, validation, protocol, cache, log=len)
            sizes = [entry["bytes"] for entry in cache.entries() if entry["kind"] == "features"]
            found = score_table(test.labels, probability(trained.logits(test, cache)))
            row = {"feature_dtype": dtype, "seed": seed, "features_mb": sum(sizes) / 1e6}
            row |= {"seconds": trained.seconds, "load": os.getloadavg()[0]}
            row |= {name: float(found[name]) for name in ("accuracy", "auc")}
            rows.append(row | {"val_loss": float(trained.history["val_loss"].min())})
            print(rows[-1], flush=True)
            write_json(kept, {"rows": rows, **facts, "provenance": provenance()})
    write_csv(target, pd.DataFrame(rows).round(4))


if __name__ == "__main__":
    main()
