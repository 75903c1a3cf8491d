"""How the clean recipe was chosen: four-fold cross-validation that never looks at test pictures.

    python -m tests.benchmarks.recipes --data FOLDER [--alpha 0.75] [WORD ...]

The GAN pictures of the splits train and valid are dealt into four parts. Each part is scored, after
the last epoch, by a `gan+sd` detector trained on the other three and on all other training
pictures. Writes figures/tables/recipes.csv and .json, a row a recipe; what is there already
with the same data and code is not run again.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd

from ddlib._utils import digest, read_json, write_csv, write_json
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
from ddlib.protocol import VERSIONS, Protocol, preset

ROOT = Path(__file__).resolve().parents[2]
FOLDS = 4
RECIPES = {f"rate {rate}": {"learning_rate": rate} for rate in (3e-4, 6e-4, 1e-3, 2e-3, 4e-3)}


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
    """Run the recipes that are missing and keep their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--alpha", type=float, default=0.75)
    parser.add_argument("words", nargs="*", help="only recipes whose name holds one of these")
    parser.add_argument("--out", type=Path, default=ROOT / "figures" / "tables")
    told = parser.parse_args()
    manifest = open_folder(told.data)
    path = told.out / "recipes.json"
    known = read_json(path) if path.is_file() else {}
    for name in [n for n in RECIPES if any(word in n for word in told.words or [""])]:
        protocol = preset("clean", "gan+sd", alpha=told.alpha, **RECIPES[name])
        key = digest(manifest.digest(), VERSIONS, protocol.to_dict())
        if known.get(name, {}).get("key") == key:
            continue
        pictures = pool(manifest, protocol)
        logits = held_out_logits(pictures, protocol, Cache())
        mine = np.isfinite(logits)
        found = score_table(pictures.labels[mine], probability(logits[mine]))
        print(f"{name}: accuracy {found['accuracy']:.4f}, AUC {found['auc']:.4f}", flush=True)
        known[name] = {"key": key, "row": found, "protocol": protocol.to_dict()}
        known[name]["provenance"] = provenance()
        write_json(path, known)
    table = pd.DataFrame([{"recipe": n, **known[n]["row"]} for n in RECIPES if n in known])
    write_csv(told.out / "recipes.csv", table.round(4))


if __name__ == "__main__":
    main()
