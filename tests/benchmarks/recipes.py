"""How the clean recipe was chosen: four-fold cross-validation that never looks at test pictures.

    python -m tests.benchmarks.recipes --data FOLDER [--alpha 0.75]

The GAN pictures of the splits train and valid are dealt into four parts. Each part is scored, after
the last epoch, by a `gan+sd` detector trained on the other three and on all other training
pictures. Writes figures/tables/recipes.csv and .json, a row a recipe.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd

from ddlib._io import write_csv, write_json
from ddlib.data.batches import training_batches
from ddlib.data.cache import Cache, Rows
from ddlib.data.manifest import Manifest
from ddlib.data.sources import open_folder
from ddlib.data.subsets import GAN_SETS, training_manifest
from ddlib.metrics.calibration import probability
from ddlib.metrics.score_table import score_table
from ddlib.models.features import bottleneck_features, split_backbone
from ddlib.models.inference import keras_logits
from ddlib.models.provenance import provenance
from ddlib.models.train import build_from_protocol, learning_rate
from ddlib.protocol import Protocol, preset

TABLES = Path(__file__).resolve().parents[2] / "figures" / "tables"
FOLDS = 4
RATES = (3e-4, 6e-4, 1e-3, 2e-3, 4e-3)


def pool(manifest: Manifest, protocol: Protocol) -> Manifest:
    """Return the training pictures and the GAN set's validation pictures."""
    valid = manifest.select(list(GAN_SETS[0]), "valid")
    return training_manifest(manifest, protocol).concat(valid)


def deal(pictures: Manifest) -> np.ndarray:
    """Return each picture's part, 0 to 3, equal in both classes; -1 outside the GAN set."""
    part, rng = np.full(len(pictures), -1), np.random.default_rng(0)
    for source in GAN_SETS[0]:
        rows = np.flatnonzero(pictures.table["source"] == source)
        part[rng.permutation(rows)] = np.arange(len(rows)) % FOLDS
    return part


def some(rows: Rows, chosen: np.ndarray) -> Rows:
    """Return chosen rows of stored arrays."""
    return Rows(rows.arrays, rows.array_of[chosen], rows.row_of[chosen])


def held_out_logits(pictures: Manifest, protocol: Protocol, cache: Cache) -> np.ndarray:
    """Return the logit of each GAN-set picture by a detector that did not see it; else NaN."""
    part, labels = deal(pictures), pictures.labels
    logits = np.full(len(pictures), np.nan)
    for fold in range(FOLDS):
        prefix, tail = split_backbone(build_from_protocol(protocol))
        plain, mirrored = (
            bottleneck_features(prefix, pictures, protocol, cache, mirror)
            for mirror in (False, True)
        )
        seen, unseen = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        data = training_batches(some(plain, seen), some(mirrored, seen), labels[seen], protocol)
        fit_to_the_end(tail, data, protocol)
        logits[unseen] = keras_logits(tail, some(plain, unseen).chunks(64))
    return logits


def fit_to_the_end(tail: keras.Model, data, protocol: Protocol) -> None:
    """Train as `ddlib.models.train.fit` does, but keep the last epoch: no loss chooses one."""
    keras.utils.set_random_seed(protocol.seed)
    optimizer = keras.optimizers.Adam(learning_rate(protocol, int(data.cardinality())))
    loss = keras.losses.BinaryCrossentropy(label_smoothing=protocol.label_smoothing)
    tail.compile(optimizer, loss, jit_compile=False)
    tail.fit(data, epochs=protocol.epochs, shuffle=False, verbose=0)


def main() -> None:
    """Run the recipes and keep their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--alpha", type=float, default=0.75)
    given = parser.parse_args()
    manifest, rows, protocols = open_folder(given.data), [], {}
    for rate in RATES:
        protocol = preset("clean", "gan+sd", alpha=given.alpha, learning_rate=rate)
        pictures = pool(manifest, protocol)
        logits = held_out_logits(pictures, protocol, Cache())
        mine = np.isfinite(logits)
        found = score_table(pictures.labels[mine], probability(logits[mine]))
        print(f"{rate}: accuracy {found['accuracy']:.4f}, AUC {found['auc']:.4f}", flush=True)
        rows.append({"recipe": f"rate {rate}"} | found)
        protocols[f"rate {rate}"] = protocol.to_dict()
    write_csv(TABLES / "recipes.csv", pd.DataFrame(rows).round(4))
    facts = {"rows": rows, "protocols": protocols, "provenance": provenance()}
    write_json(TABLES / "recipes.json", facts)


if __name__ == "__main__":
    main()
