"""The study on one set of images: its four models trained, scored and measured, each once.

`open_study` is what every notebook starts with. What it trains is kept under ``runs/<tier>/`` with
a key of everything that made it; asked again for the same thing, it reads it back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from ddlib import manifest as manifests
from ddlib import results as result_table
from ddlib.calibration import probability
from ddlib.files import alone, digest, file_digest, read_json, whole, write_json
from ddlib.manifest import Manifest
from ddlib.memory import keep_freed_memory
from ddlib.protocol import START_WEIGHTS, Protocol, preset
from ddlib.provenance import provenance
from ddlib.sources import open_folder
from ddlib.store import Store
from ddlib.tiers import is_toy, tier_name

# What the simulated tier changes in every protocol: small enough to train from nothing in seconds.
# The first block is frozen: fixed high-pass filters, then random weights.
TOY_CHANGES = {
    "image_size": 128,
    "alpha": 0.25,
    "weights": "residual",
    "trainable_layers": 76,
    "learning_rate": 5e-3,
    "label_smoothing": 0.0,
    "batch_size": 32,
    "epochs": 7,
    "dropout": 0.0,
    "norm_momentum": 0.9,
}
FINISHED = "finished.json"  # written last
SMALL_CHANGES = {"epochs": 2}


@dataclass
class Run:
    """One trained model, what it was trained with, and its scores of every test image."""

    protocol: Protocol
    folder: Path
    key: str

    @property
    def name(self) -> str:
        """Return protocol and model, such as ``clean-gan+sd``."""
        return f"{self.protocol.name}-{self.protocol.model}"

    @property
    def finished(self) -> bool:
        """Whether the folder holds this very run, whole."""
        marker = self.folder / FINISHED
        return marker.is_file() and read_json(marker)["key"] == self.key

    @cached_property
    def detector(self):
        """The Keras model, loaded when first asked for."""
        from ddlib.mobilenet import load_detector

        return load_detector(self.folder / "detector.keras")[0]

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row an image of the valid and test splits: path, label, source, split, logit, score."""
        return pd.read_csv(self.folder / "scores.csv", float_precision="round_trip")

    @cached_property
    def facts(self) -> dict:
        """What was measured while training: seconds, best epoch, counts, provenance."""
        return read_json(self.folder / FINISHED)

    def scores_of(self, chosen: Manifest) -> pd.DataFrame:
        """Return the scores of the images of a manifest, in its order."""
        table = self.scores.set_index("path").reindex(chosen.table["path"])
        if table["score"].isna().any():
            missing = table.index[table["score"].isna()][0]
            raise KeyError(f"{self.name} has no score of {missing}; only valid and test are scored")
        return table.reset_index()


@dataclass
class Study:
    """A data tier, its images, and the folder that holds what was made from them."""

    tier: str
    manifest: Manifest
    set_aside: pd.DataFrame
    folder: Path
    changes: dict
    say: Callable[[str], None] = print
    store: Store = field(default_factory=Store)

    @property
    def simulated(self) -> bool:
        """Whether the images are the toy simulation."""
        return is_toy(self.tier)

    @cached_property
    def test_sets(self) -> dict[str, Manifest]:
        """The test sets by name: "gan" and "sd" balanced, then one for each source."""
        return manifests.test_sets(self.manifest)

    def protocol(self, model: str, name: str = "clean", **changes) -> Protocol:
        """Return the protocol of a model on this tier."""
        return preset(name, model, **{**self.changes, **changes})

    def train(self, model: str, name: str = "clean", **changes) -> Run:
        """Return a model's run, trained now or read back if the same was trained before."""
        protocol = self.protocol(model, name, **changes)
        training = manifests.training_manifest(self.manifest, protocol)
        validation = manifests.validation_manifest(self.manifest, protocol)
        scored = self.manifest.select(split=["valid", "test"])
        key = _run_key(protocol, training, validation, scored)
        suffix = "".join(f"-{k}={v}" for k, v in sorted(changes.items()))
        folder = self.folder / "models" / f"{name}-{model}{suffix}"
        run = Run(protocol, folder, key)
        if not run.finished:
            with alone(folder):  # two notebooks may want the same model at the same time
                if not run.finished:
                    (folder / FINISHED).unlink(missing_ok=True)
                    self._train(run, training, validation, scored)
                    return run
        self.say(f"{run.name}: read back from {folder.name}")
        return run

    def _train(self, run: Run, training: Manifest, validation: Manifest, scored: Manifest) -> None:
        from ddlib import mobilenet
        from ddlib import training as trainer

        trained = trainer.train(training, validation, run.protocol, self.store, say=self.say)
        start = time.perf_counter()
        prefix, tail = trained.parts
        features = trainer.prefix_features(
            prefix, scored, run.protocol, self.store, precision=trained.precision
        )
        scores = _score_table(scored, trainer.score_features(tail, features))
        facts = {
            "key": run.key,
            "seconds_scoring": round(time.perf_counter() - start, 2),
            "training_hash": training.digest(),
            "n_training": training.table["label"].value_counts().to_dict(),
            **self._facts(run, trained),
        }
        mobilenet.save_detector(
            trained.detector, run.folder / "detector.keras", run.protocol, facts
        )
        for name, table in (("history", trained.history), ("scores", scores)):
            with whole(run.folder / f"{name}.csv") as unfinished:
                table.to_csv(unfinished, index=False)
        write_json(run.folder / FINISHED, facts)
        run.__dict__["detector"] = trained.detector

    def _facts(self, run: Run, trained) -> dict:
        return {
            "seconds_training": round(trained.seconds, 2),
            "best_epoch": trained.best_epoch,
            "feature_precision": trained.precision,
            "products": trained.products,
            "data_hash": self.manifest.digest(),
            "start_weights_hash": trained.start_digest,
            "parameters": trained.detector.count_params(),
            "protocol": run.protocol.to_dict(),
            "tier": self.tier,
            "provenance": provenance(),
        }

    def evaluate(self, model: str, name: str = "clean", **changes) -> pd.DataFrame:
        """Train a model if need be, measure it on every test set and keep the results.

        Returns
        -------
        DataFrame
            A row for each test set, columns as in ``runs/<tier>/results.csv``.
        """
        run = self.train(model, name, **changes)
        rows = result_table.measure(run, self.tier, self.test_sets)
        if not changes:
            result_table.keep(self.folder, rows, run.facts)
        return rows


def open_study(
    data: str | Path = "toy",
    runs: str | Path = "runs",
    alpha: float | None = None,
    small: bool = False,
    say: Callable[[str], None] = print,
    **changes,
) -> Study:
    """Open the study on the simulated toy tier or on a folder of images.

    Parameters
    ----------
    data : "toy" or path
        The simulated tier, made when first needed, or a folder in any layout that
        `ddlib.sources` knows.
    runs : path
        Where results go.
    alpha : float, optional
        Width multiplier of every model; by default 1.0, on the toy tier 0.25.
    small : bool
        A smaller toy tier and fewer epochs: the check that everything runs, not a result.
    say : callable
        Gets progress lines.
    **changes
        Protocol fields to set in every model.
    """
    keep_freed_memory()
    tier = tier_name(data, small)
    folder = Path(runs) / tier
    if str(data) == "toy":
        manifest, set_aside = _toy(folder, small), pd.DataFrame(columns=["path", "reason"])
        fixed = {**TOY_CHANGES, **(SMALL_CHANGES if small else {})}
    else:
        manifest, set_aside = open_folder(Path(data))
        fixed = {}
        if small:
            manifest, fixed = manifest.sample(600, seed=0), SMALL_CHANGES
    chosen = {**fixed, **({} if alpha is None else {"alpha": float(alpha)}), **changes}
    study = Study(tier, manifest, set_aside, folder.resolve(), chosen, say)
    say(f"{tier}: {len(manifest)} images, {len(set_aside)} set aside")
    return study


def _toy(folder: Path, small: bool) -> Manifest:
    from ddlib.toyfaces import make_toy

    return make_toy(folder / "images", small=small)


def _run_key(protocol: Protocol, *parts: Manifest) -> str:
    from ddlib import batches, ela, fusing, images, jpeg, mobilenet, training

    modules = (batches, ela, fusing, images, jpeg, mobilenet, training)
    code = [Path(module.__file__) for module in modules]
    weights = protocol.weights
    if weights not in START_WEIGHTS:
        weights = file_digest(Path(weights))
    return digest(
        protocol.to_dict(),
        weights,
        training.products_of(protocol),
        [part.digest() for part in parts],
        [file_digest(path) for path in code],
    )


def _score_table(scored: Manifest, logits) -> pd.DataFrame:
    table = scored.table[["path", "label", "source", "split"]].reset_index(drop=True)
    return table.assign(logit=logits, score=probability(logits))
