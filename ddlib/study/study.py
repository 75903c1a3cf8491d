"""The study on one set of images: its four models trained, scored and measured, each once.

`open_study` is what every notebook starts with. What it trains is kept under ``runs/<tier>/`` with
a key of everything that made it; asked again for the same thing, it reads it back.

The same network, the same pictures, another preparation: what of a score is preparation.

The names of data tiers: the simulation, or a folder of images.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ddlib._io import (
    atomic_write,
    digest,
    file_digest,
    file_lock,
    keep_freed_memory,
    read_json,
    write_json,
)
from ddlib.data import subsets
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.data.sources import open_folder
from ddlib.data.subsets import training_manifest, validation_manifest
from ddlib.metrics.calibration import probability
from ddlib.models.provenance import provenance
from ddlib.protocol import FEATURES, PREPARE, START_WEIGHTS, TRAIN, Protocol, preset
from ddlib.study.results import evaluate_run, save_results


def banner(tier: str) -> str:
    """Return the line that heads every result of a tier, as Markdown."""
    if is_simulated(tier):
        small = (
            " This is the small form: it checks that everything runs." if "small" in tier else ""
        )
        return (
            "> **Simulated images.** Camera and generators are simulated here. The numbers show "
            f"how the method behaves and say nothing about real generators.{small}"
        )
    return f"> **Real images**, tier `{tier}`."


# What the simulated tier changes in every protocol: small enough to train from nothing in seconds.
# The first block is frozen: fixed high-pass filters, then random weights.
SIMULATED_CHANGES = {
    "image_size": 128,
    "alpha": 0.25,
    "weights": "highpass",
    "trainable_layers": 76,
    "learning_rate": 5e-3,
    "label_smoothing": 0.0,
    "batch_size": 32,
    "epochs": 7,
    "dropout": 0.0,
    "batch_norm_momentum": 0.9,
}


SIMULATED = "simulated"  # the tier that needs no data
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
        return f"{self.protocol.name}-{self.protocol.condition}"

    @property
    def finished(self) -> bool:
        """Whether the folder holds this very run, whole."""
        marker = self.folder / FINISHED
        return marker.is_file() and read_json(marker)["key"] == self.key

    @cached_property
    def detector(self):
        """The Keras model, loaded when first asked for."""
        from ddlib.models.checkpoint import load_detector

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
    excluded: pd.DataFrame
    folder: Path
    changes: dict
    log: Callable[[str], None] = print
    cache: Cache = field(default_factory=Cache)

    @property
    def simulated(self) -> bool:
        """Whether the images are the toy simulation."""
        return is_simulated(self.tier)

    @cached_property
    def test_sets(self) -> dict[str, Manifest]:
        """The test sets by name: "gan" and "sd" balanced, then one for each source."""
        return subsets.test_sets(self.manifest)

    def protocol(self, condition: str, protocol: str = "clean", **changes) -> Protocol:
        """Return the protocol of a model on this tier."""
        return preset(protocol, condition, **{**self.changes, **changes})

    def train(self, condition: str, protocol: str = "clean", **changes) -> Run:
        """Return the run of a condition, trained now or read back if the same was trained before."""
        recipe = self.protocol(condition, protocol, **changes)
        training = training_manifest(self.manifest, recipe)
        validation = validation_manifest(self.manifest, recipe)
        scored = self.manifest.select(split=["valid", "test"])
        key = _run_key(recipe, training, validation, scored)
        suffix = "".join(f"-{k}={v}" for k, v in sorted(changes.items()))
        folder = self.folder / "models" / f"{protocol}-{condition}{suffix}"
        run = Run(recipe, folder, key)
        if not run.finished:
            with file_lock(folder):  # two notebooks may want the same model at the same time
                if not run.finished:
                    (folder / FINISHED).unlink(missing_ok=True)
                    self._train(run, training, validation, scored)
                    return run
        self.log(f"{run.name}: read back from {folder.name}")
        return run

    def _train(self, run: Run, training: Manifest, validation: Manifest, scored: Manifest) -> None:
        from ddlib.models.checkpoint import save_detector
        from ddlib.models.features import bottleneck_features, score_features
        from ddlib.models.train import train

        trained = train(training, validation, run.protocol, self.cache, log=self.log)
        start = time.perf_counter()
        prefix, tail = trained.parts
        features = bottleneck_features(
            prefix, scored, run.protocol, self.cache, feature_dtype=trained.feature_dtype
        )
        scores = _score_table(scored, score_features(tail, features))
        facts = {
            "key": run.key,
            "seconds_scoring": round(time.perf_counter() - start, 2),
            "training_hash": training.digest(),
            "n_training": training.table["label"].value_counts().to_dict(),
            **self._facts(run, trained),
        }
        save_detector(trained.detector, run.folder / "detector.keras", run.protocol, facts)
        for name, table in (("history", trained.history), ("scores", scores)):
            with atomic_write(run.folder / f"{name}.csv") as unfinished:
                table.to_csv(unfinished, index=False)
        write_json(run.folder / FINISHED, facts)
        run.__dict__["detector"] = trained.detector

    def _facts(self, run: Run, trained) -> dict:
        return {
            "seconds_training": round(trained.seconds, 2),
            "best_epoch": trained.best_epoch,
            "feature_dtype": trained.feature_dtype,
            "matmul_dtype": trained.matmul_dtype,
            "data_hash": self.manifest.digest(),
            "start_weights_hash": trained.start_digest,
            "parameters": trained.detector.count_params(),
            "protocol": run.protocol.to_dict(),
            "tier": self.tier,
            "provenance": provenance(),
        }

    def results(self, condition: str, protocol: str = "clean", **changes) -> pd.DataFrame:
        """Train a model if need be, measure it on every test set and keep the results.

        Returns
        -------
        DataFrame
            A row for each test set, columns as in ``runs/<tier>/results.csv``.
        """
        run = self.train(condition, protocol, **changes)
        rows = evaluate_run(run, self.tier, self.test_sets)
        if not changes:
            save_results(self.folder, rows, run.facts)
        return rows


def open_study(
    data: str | Path = "simulated",
    runs: str | Path = "runs",
    alpha: float | None = None,
    small: bool = False,
    log: Callable[[str], None] = print,
    **changes,
) -> Study:
    """Open the study on the simulated toy tier or on a folder of images.

    Parameters
    ----------
    data : "simulated" or path
        The simulated tier, made when first needed, or a folder in any layout that
        `ddlib.data.sources` knows.
    runs : path
        Where results go.
    alpha : float, optional
        Width multiplier of every model; by default 1.0, on the toy tier 0.25.
    small : bool
        A smaller toy tier and fewer epochs: the check that everything runs, not a result.
    log : callable
        Gets progress lines.
    **changes
        Protocol fields to set in every model.
    """
    keep_freed_memory()
    tier = tier_name(data, small)
    folder = Path(runs) / tier
    if str(data) == "simulated":
        manifest, excluded = _toy(folder, small), pd.DataFrame(columns=["path", "reason"])
        fixed = {**SIMULATED_CHANGES, **(SMALL_CHANGES if small else {})}
    else:
        manifest, excluded = open_folder(Path(data))
        fixed = {}
        if small:
            manifest, fixed = manifest.sample(600, seed=0), SMALL_CHANGES
    chosen = {**fixed, **({} if alpha is None else {"alpha": float(alpha)}), **changes}
    study = Study(tier, manifest, excluded, folder.resolve(), chosen, log)
    log(f"{tier}: {len(manifest)} images, {len(excluded)} excluded")
    return study


def _toy(folder: Path, small: bool) -> Manifest:
    from ddlib.data.simulate.dataset import make_simulated

    return make_simulated(folder / "images", small=small)


def _run_key(protocol: Protocol, *parts: Manifest) -> str:
    from ddlib.models.train import choose_matmul_dtype

    weights = protocol.weights
    if weights not in START_WEIGHTS:
        weights = file_digest(Path(weights))
    manifests = [part.digest() for part in parts]
    versions = [PREPARE, FEATURES, TRAIN]
    return digest(protocol.to_dict(), weights, choose_matmul_dtype(protocol), manifests, versions)


def _score_table(scored: Manifest, logits) -> pd.DataFrame:
    table = scored.table[["path", "label", "source", "split"]].reset_index(drop=True)
    return table.assign(logit=logits, score=probability(logits))


# Fields of a Protocol that say how a picture is prepared and leave the network's input size alone.
CHANGEABLE = ("square", "resize", "jpeg_quality", "ela_quality", "ela_inverted")


def reprocess_and_score(run, chosen: Manifest, cache: Cache | None = None, **changes) -> np.ndarray:
    """Return the scores that a trained run gives to pictures prepared in another way.

    Parameters
    ----------
    run : ddlib.study.study.Run
    chosen : Manifest
        The pictures. Prepared as the run prepares them, they must be ones that it has scored.
    cache : Cache, optional
        Where prepared pictures are kept.
    **changes
        Preparation fields of the run's protocol to set otherwise: `CHANGEABLE`.

    Returns
    -------
    (N,) float64
        P(fake), in the order of the manifest.

    Raises
    ------
    ValueError
        If a change is no matter of preparation.
    """
    from ddlib.models.inference import fastest

    for name, value in changes.items():
        if name not in CHANGEABLE:
            raise ValueError(f"{name}={value!r} is no preparation; change {', '.join(CHANGEABLE)}")
    protocol = replace(run.protocol, **changes)
    if protocol == run.protocol:
        return run.scores_of(chosen)["score"].to_numpy()
    pictures = load_images(chosen, protocol, cache)
    forward = fastest(run.detector)
    scores = [forward(batch)[:, 0] for batch in pictures.chunks(64)]
    return np.concatenate(scores).astype("float64")


def tier_name(data: str | Path, small: bool = False) -> str:
    """Return the name of the folder under ``runs`` that holds what is made from some data.

    Examples
    --------
    >>> tier_name("simulated", small=True), tier_name("My Faces (v2)")
    ('simulated-small', 'my-faces-v2')
    """
    if str(data) == SIMULATED:
        tier = SIMULATED
    else:
        tier = re.sub(r"[^a-z0-9]+", "-", Path(data).resolve().name.lower()).strip("-") or "folder"
        if tier.removesuffix("-small") == SIMULATED:  # a folder that happens to have this name
            tier = f"{tier}-folder"
    return f"{tier}-small" if small else tier


def is_simulated(tier: str) -> bool:
    """Return whether a tier's name is that of the simulated images."""
    return tier.removesuffix("-small") == SIMULATED
