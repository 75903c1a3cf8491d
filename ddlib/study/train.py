"""Train and evaluate on any folder of images: the short way, without the study's conditions."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from ddlib.data.loader import prepare_all
from ddlib.data.manifest import Manifest, ManifestError
from ddlib.data.sources import open_folder
from ddlib.metrics.calibration import probability
from ddlib.metrics.score_table import score_table
from ddlib.protocol import Protocol, preset


def train(manifest: Manifest, protocol: Protocol | None = None, log: Callable[[str], None] = print):
    """Train a detector on all training images of a manifest.

    Parameters
    ----------
    manifest : Manifest or path
        With both classes in the splits train and valid, whatever the names of their sources; of a
        path what `open_folder` gives.
    protocol : Protocol, optional
        The recipe; by default ``preset("clean")``. Its condition does not matter here.
    log : callable
        Gets one line an epoch.

    Returns
    -------
    ddlib.models.train.Trained
        With ``detector`` (a Keras model), ``history`` and ``protocol``.

    Raises
    ------
    ManifestError
        If a split lacks a class; the message names it.

    Examples
    --------
    >>> run = train(open_folder("my-faces"), preset("clean", alpha=0.25))  # doctest: +SKIP
    >>> evaluate(run, open_folder("my-faces"))                             # doctest: +SKIP
    """
    from ddlib.models.train import train_detector

    manifest, parts = _opened(manifest), []
    for split in ("train", "valid"):
        part = manifest.select(split=split)
        missing = {"real", "fake"} - set(part.table["label"])
        if missing:
            raise ManifestError(
                f"{manifest.root}: the split {split!r} has no {' and no '.join(sorted(missing))} "
                f"images ({len(part)} in all); training needs both classes in train and valid"
            )
        parts.append(part)
    return train_detector(*parts, protocol or preset("clean"), log=log)


def evaluate(model, manifest: Manifest, protocol: Protocol | None = None, split: str = "test"):
    """Measure a detector on a split of a manifest: all of it, and each source by itself.

    Parameters
    ----------
    model : Trained, Run, Detector or keras.Model
        A Keras model must end in one unit (linear or sigmoid) or in two (linear or softmax), of
        which the last stands for fake.
    manifest : Manifest or path
    protocol : Protocol, optional
        How images are prepared; needed for a bare Keras model.
    split : {"train", "valid", "test"}

    Returns
    -------
    DataFrame
        A row "all" and one for each source: test_set, n_real, n_fake, then accuracy, recall_real,
        recall_fake and auc with ``_low`` and ``_high`` (95 %), and more
        (`ddlib.metrics.score_table`). `ddlib.metrics.summary` gives the short form.

    Raises
    ------
    ValueError
        If a bare model comes without a protocol, its output is neither one unit nor two, or the
        split is empty.
    """
    protocol = protocol or getattr(model, "protocol", None)
    if protocol is None:
        raise ValueError(
            "a Keras model does not say how images are prepared for it; give protocol=, such as "
            "preset('clean', image_size=256)"
        )
    manifest = _opened(manifest)
    part = manifest.select(split=split)
    if not len(part):
        raise ValueError(f"{manifest.root} has no images in the split {split!r}")
    scores = _scores(model, part, protocol)
    rows = [{"test_set": "all"} | score_table(part.labels, scores)]
    for source in dict.fromkeys(part.table["source"]):
        own = (part.table["source"] == source).to_numpy()
        rows.append({"test_set": source} | score_table(part.labels[own], scores[own]))
    return pd.DataFrame(rows)


def _opened(manifest) -> Manifest:
    return manifest if isinstance(manifest, Manifest) else open_folder(manifest)


def _scores(model, part: Manifest, protocol: Protocol) -> np.ndarray:
    batches = prepare_all(part, protocol)
    if hasattr(model, "scorer"):  # a Detector: its own file, calibrated, as `predict` answers
        scorer = model.scorer()
        return model.scores(np.concatenate([scorer.logits(batch) for batch in batches]))
    from ddlib.models.inference import keras_logits

    keras_model = model.keras_model() if hasattr(model, "keras_model") else model
    return probability(keras_logits(keras_model, batches))
