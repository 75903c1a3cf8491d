"""The study on one set of images: its four conditions trained, scored and measured, each once.

Every notebook starts with `open_study`. What the study trains is kept under ``runs/<tier>/models``
with a key of everything that decides it, and read back when the same is asked for again.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ddlib._utils import (
    check_choice,
    digest,
    file_digest,
    file_lock,
    read_json,
    write_csv,
    write_json,
)
from ddlib.data import subsets
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest, MissingImagesError
from ddlib.data.public import TIERS
from ddlib.data.simulate.dataset import make_simulated
from ddlib.data.sources import open_folder
from ddlib.metrics.calibration import probability
from ddlib.models.provenance import checkout, provenance
from ddlib.protocol import FEATURES, PREPARE, START_WEIGHTS, TRAIN, Protocol, preset
from ddlib.study.results import SIMULATED, evaluate_run, is_simulated, save_pictures, save_results

# What the simulated tier changes in every protocol: small enough to train from nothing in seconds.
# The first block is frozen: fixed high-pass filters, then random weights.
SIMULATED_CHANGES = {
    "image_size": 128,
    "alpha": 0.25,
    "weights": "highpass",
    "trainable_layers": 76,
    "learning_rate": 5e-3,
    "label_smoothing": 0.0,
    "epochs": 7,
    "dropout": 0.0,
    "batch_norm_momentum": 0.9,
    "batch_size": 32,
}
SMALL_SAMPLE = 600  # images of a folder in the small form
FINISHED = "finished.json"  # of a trained condition, written last
DATA = "data.json"  # the folder of images whose results these are
PUBLISHED = "published.json"  # the names of the figures that may be committed
# Fields of a protocol that change the preparation and leave the network's input size alone.
PREPARATION = ("square", "resize", "jpeg_quality", "ela_quality", "ela_inverted")


@dataclass
class Run:
    """One trained condition: its protocol, the folder of its files, and what they hold."""

    protocol: Protocol
    folder: Path
    key: str

    @property
    def finished(self) -> bool:
        """Whether the folder holds this very run, complete."""
        try:
            return read_json(self.folder / FINISHED)["key"] == self.key
        except (OSError, ValueError, KeyError, TypeError):  # absent, or damaged
            return False

    @cached_property
    def detector(self):
        """The Keras model, loaded when first asked for."""
        from ddlib.deploy.detector import open_detector

        return open_detector(self.folder / "detector.keras").keras_model()

    def keras_model(self):
        """Return the Keras model, as `GradCAM` asks for it."""
        return self.detector

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row an image of the valid and test splits: path, label, source, split, logit, score."""
        table = pd.read_csv(self.folder / "scores.csv", float_precision="round_trip")
        logits = table["logit"].astype("float16").astype("float64")  # as they are published
        return table.assign(logit=logits, score=probability(logits))

    @cached_property
    def facts(self) -> dict:
        """What was measured while training: seconds, best epoch, counts, provenance."""
        return read_json(self.folder / FINISHED)

    def scores_of(self, chosen: Manifest) -> pd.DataFrame:
        """Return the scores of the images of a manifest, in its order."""
        table = self.scores.set_index("path").reindex(chosen.table["path"])
        if table["score"].isna().any():
            missing = table.index[table["score"].isna()][0]
            name = self.protocol.run_name
            raise KeyError(f"{name} has no score of {missing}; only valid and test are scored")
        return table.reset_index()

    def rescore(self, chosen: Manifest, cache: Cache | None = None, **changes) -> np.ndarray:
        """Return P(fake) of images prepared in another way, (N,) float64; the network stays.

        `changes` are fields of the protocol that concern the preparation: `PREPARATION`.
        """
        from ddlib.models.inference import fastest

        for name in changes:
            check_choice("preparation", name, PREPARATION)
        protocol = replace(self.protocol, **changes)
        if protocol == self.protocol:
            return self.scores_of(chosen)["score"].to_numpy()
        forward = fastest(self.detector)
        chunks = load_images(chosen, protocol, cache).chunks(64)
        return np.concatenate([forward(chunk)[:, 0] for chunk in chunks]).astype("float64")


@dataclass
class Study:
    """A data tier, its images, and the folder that holds what was made from them."""

    tier: str
    manifest: Manifest
    folder: Path
    changes: dict
    log: Callable[[str], None] = print
    cache: Cache = field(default_factory=Cache)
    opened: set[str] = field(default_factory=set)  # runs that the log has named already

    @property
    def simulated(self) -> bool:
        """Whether the images are simulated."""
        return is_simulated(self.tier)

    @property
    def banner(self) -> str:
        """The line that heads every result of the tier, as Markdown."""
        if not self.simulated:
            return f"> **Real images**, tier `{self.tier}`."
        text = (
            "> **Simulated images.** Camera and generators are simulated here. The numbers show "
            "how the method behaves and say nothing about real generators."
        )
        if self.tier.endswith("-small"):
            text += " This is the small form: it checks that everything runs."
        return text

    @cached_property
    def test_sets(self) -> dict[str, Manifest]:
        """The test sets by name: "gan" and "sd" balanced, then one for each source."""
        return _TestSets(subsets.test_sets(self.manifest))

    def protocol(self, condition: str, protocol: str = "clean", **changes) -> Protocol:
        """Return the protocol of a condition on this tier."""
        return preset(protocol, condition, **(self.changes | changes))

    def train(self, condition: str, protocol: str = "clean", **changes) -> Run:
        """Return the run of a condition, trained now or read back."""
        recipe = self.protocol(condition, protocol, **changes)
        training = subsets.training_manifest(self.manifest, recipe)
        validation = subsets.validation_manifest(self.manifest, recipe)
        scored = self.manifest.select(split=["valid", "test"])
        suffix = "".join(f"-{name}={value}" for name, value in sorted(changes.items()))
        folder = self.folder / "models" / f"{recipe.run_name}{suffix}"
        run = Run(recipe, folder, training_key(recipe, training, validation, scored))
        if not run.finished:
            with file_lock(folder):  # two notebooks may want the same model at the same time
                if not run.finished:
                    (folder / FINISHED).unlink(missing_ok=True)
                    self.opened.add(folder.name)
                    self._train(run, training, validation, scored)
                    return run
        if folder.name not in self.opened:
            self.opened.add(folder.name)
            self.log(f"{folder.name}: trained before, read back")
        return run

    def results(self, condition: str, protocol: str = "clean", **changes) -> pd.DataFrame:
        """Train a condition if need be, measure it on every test set and keep the results.

        Returns a row for each test set, columns as in ``runs/<tier>/results.csv``; under `changes`
        the results are not kept.
        """
        run = self.train(condition, protocol, **changes)
        validation = subsets.validation_manifest(self.manifest, run.protocol)
        scores = run.scores.set_index("path")["score"]
        rows = evaluate_run(run.facts, scores, self.test_sets, validation)
        if not changes:
            # a model may be read back that was trained before other images were added
            save_results(self.folder, rows, run.facts | {"data_hash": self.manifest.digest()})
        return rows

    def save(self, name: str, table: pd.DataFrame | None = None, figure=None, publish=False):
        """Write a table as ``tables/NAME.csv`` and a figure as ``figures/NAME.png``.

        A figure saved with `publish` is copied by `ddlib report --publish` to where it is
        committed: for charts only, never for pictures of people. Returns the figure, or without one
        the table, so that a cell may end with the call.
        """
        if table is not None:
            write_csv(self.folder / "tables" / f"{name}.csv", table)
        if figure is None:
            return table
        from ddlib.viz.style import save_chart

        save_chart(figure, self.folder / "figures" / f"{name}.png")
        with file_lock(self.folder / PUBLISHED):  # notebooks may run at the same time
            names = published(self.folder) - {name}
            write_json(self.folder / PUBLISHED, sorted(names | {name} if publish else names))
        return figure

    def _train(self, run: Run, training: Manifest, validation: Manifest, scored: Manifest) -> None:
        from ddlib.models.train import save_detector, train_detector

        trained = train_detector(training, validation, run.protocol, self.cache, log=self.log)
        logits = trained.logits(scored, self.cache)
        scores = scored.table[["path", "label", "source", "split"]]
        scores = scores.assign(logit=logits, score=probability(logits))
        facts = training_facts(trained, training, self.manifest, run.key)
        facts |= {"tier": self.tier, "protocol": run.protocol.to_dict()}
        facts |= {"start_weights_hash": trained.start_digest}
        facts |= {"parameters": trained.detector.count_params()}
        save_detector(trained.detector, run.folder / "detector.keras", run.protocol, facts)
        write_csv(run.folder / "history.csv", trained.history)
        write_csv(run.folder / "scores.csv", scores)
        save_pictures(self.folder, scored)
        write_json(run.folder / FINISHED, facts)
        run.detector = trained.detector  # need not be loaded again


class _TestSets(dict):
    """Test sets by name; one that the folder lacks is named."""

    def __missing__(self, name: str):
        held = ", ".join(self) or "none"
        raise MissingImagesError(f"no images of the test set {name!r}; this folder has {held}")


def open_study(
    data: str | Path = SIMULATED,
    runs: str | Path | None = None,
    alpha: float | None = None,
    small: bool = False,
    log: Callable[[str], None] = print,
) -> Study:
    """Open the study on simulated images or on a folder of images.

    Parameters
    ----------
    data : "simulated", path or name
        The simulated tier, made when first needed, or a folder in any layout that
        `ddlib.data.sources` knows; `find_data` says where a name such as "sample" is looked for.
    runs : path, optional
        Where results go; by default as in `run_folder`.
    alpha : float, optional
        Width multiplier of every network; by default 1.0, on the simulated tier 0.25.
    small : bool
        Fewer images and epochs: the check that everything runs, not a result.
    log : callable
        Gets progress lines.
    """
    data = find_data(data)
    folder = run_folder(data, runs, small)
    tier, folder = folder.name, folder.resolve()
    claim(folder, data)
    fixed = {"epochs": 2} if small else {}
    if data == SIMULATED:
        if not (folder / "images").exists():
            log("making the simulated images, which takes up to a minute")
        manifest = make_simulated(folder / "images", small=small)
        fixed = SIMULATED_CHANGES | fixed
    else:
        manifest = open_folder(data)
        if small:
            manifest = replace(manifest.sample(SMALL_SAMPLE), excluded=manifest.excluded)
    if alpha is not None:
        fixed = fixed | {"alpha": float(alpha)}
    log(f"{tier}: {len(manifest)} images, {len(manifest.excluded)} excluded; results in {folder}")
    return Study(tier, manifest, folder, fixed, log)


def published(folder: Path) -> set[str]:
    """Return the names of the figures of ``runs/<tier>`` that may be committed."""
    file = Path(folder) / PUBLISHED
    return set(read_json(file)) if file.is_file() else set()


def find_data(data: str | Path) -> str:
    """Return "simulated", or the folder that `data` names: its path, or its name in a data folder.

    So "sample" is what ``ddlib data fetch sample`` made, in the folder of ``DDLIB_DATA``, in
    ``data`` of the current folder or in that of the checkout. A ValueError if there is none.
    """
    data = str(data)
    if data == SIMULATED or Path(data).is_dir():
        return data
    for root in (os.environ.get("DDLIB_DATA"), "data", (checkout() or Path()) / "data"):
        if root and (Path(root) / data).is_dir():
            return str(Path(root) / data)
    told = f"`ddlib data fetch {data}` brings it" if data in TIERS else "give a folder of images"
    raise ValueError(f"no folder {data!r}; {told}, or take {SIMULATED!r}")


def run_folder(data: str | Path, runs: str | Path | None = None, small: bool = False) -> Path:
    """Return ``runs/<tier>``, the folder of what is made from some data.

    By default ``runs`` lies in the checkout, without one in the current folder.

    Examples
    --------
    >>> run_folder("simulated", small=True).name, run_folder("My Faces (v2)").name
    ('simulated-small', 'my-faces-v2')
    """
    tier = str(data)
    if tier != SIMULATED:
        tier = re.sub(r"[\W_]+", "-", Path(data).resolve().name.lower()).strip("-") or "folder"
        if is_simulated(tier):  # a folder that happens to have this name
            tier = f"{tier}-folder"
    return Path(runs or (checkout() or Path.cwd()) / "runs") / (f"{tier}-small" if small else tier)


def claim(folder: Path, data: str) -> None:
    """Note whose results ``runs/<tier>`` holds; a ValueError if another folder's of that name."""
    if data == SIMULATED:
        return
    mine, file = str(Path(data).resolve()), folder / DATA
    known = read_json(file) if file.is_file() else mine
    if known != mine and Path(known).is_dir():
        raise ValueError(
            f"{folder} holds the results of {known}, another folder of this name; put those of "
            f"{mine} elsewhere with --runs (runs=), or remove it"
        )
    if known != mine or not file.is_file():
        write_json(file, mine)


def training_key(protocol: Protocol, *parts: Manifest) -> str:
    """Return the digest of all that decides a training: protocol, start weights, images."""
    weights = protocol.weights
    if weights not in START_WEIGHTS:
        weights = file_digest(Path(weights))
    manifests = [part.digest() for part in parts]
    return digest(protocol.to_dict(), weights, manifests, [PREPARE, FEATURES, TRAIN])


def training_facts(trained, training: Manifest, data: Manifest, key: str) -> dict:
    """Return what the files of a training say about it: counts, hashes, time, provenance."""
    return {
        "key": key,
        "n_training": training.table["label"].value_counts().to_dict(),
        "training_hash": training.digest(),
        "data_hash": data.digest(),
        "best_epoch": trained.best_epoch,
        "seconds_training": round(trained.seconds, 2),
        "provenance": provenance(),
    }
