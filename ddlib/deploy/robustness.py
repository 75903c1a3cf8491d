"""What a detector's verdicts are worth once a picture was saved again, blurred, resized or cropped.

A disturbance is done to the picture as it lies in its file, before the detector's own preparation:
that is where messengers, web sites and cameras do it. The same picture undisturbed is its twin, so
two questions are answered apart: how many calls are right, and how many single verdicts flip. Both
classes can lose as many as they gain, and then accuracy hides the flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import nan

import numpy as np
import pandas as pd

from ddlib._io import digest, ordered_parallel_map
from ddlib.data.loader import prepare
from ddlib.data.manifest import Manifest
from ddlib.deploy.detector import Detector
from ddlib.deploy.scorer import Scorer
from ddlib.images.perturb import DEFAULT_PERTURBATIONS, perturb
from ddlib.images.read import center_crop, read_image
from ddlib.metrics.score_table import compare, score_table

UNCHANGED = "none"


_SHARES = ("accuracy", "recall_real", "recall_fake")


MEASURED = tuple(f"{share}{end}" for share in _SHARES for end in ("", "_low", "_high"))


def perturbed_logits(
    manifest: Manifest,
    detector: Detector,
    disturbances: Sequence[tuple[str, float]] = (),
    scorer: Scorer | None = None,
) -> np.ndarray:
    """Return the logit of every picture as it is and after each disturbance.

    Each file is read once. Few pictures are in memory at a time, however many there are.

    Parameters
    ----------
    manifest : Manifest
    detector : Detector
    disturbances : sequence of (kind, strength)
        As `perturb` takes them; none for the logits of the pictures as they are.
    scorer : Scorer, optional
        Of this detector, if it was made already.

    Returns
    -------
    (N, 1 + D) float64
        Not calibrated; the first column is the undisturbed picture.

    Raises
    ------
    ValueError
        If the manifest is empty or a disturbance cannot be.
    ImageError
        If a file cannot be read; it names the file.
    """
    return shared_logits(manifest, {"": detector}, disturbances, {"": scorer})[""]


def shared_logits(
    manifest: Manifest,
    detectors: dict[str, Detector],
    disturbances: Sequence[tuple[str, float]] = (),
    scorers: dict[str, Scorer | None] | None = None,
) -> dict[str, np.ndarray]:
    """Do as `perturbed_logits` for several detectors by name, with little done twice.

    Detectors that want pictures prepared alike share each prepared picture.
    """
    if not len(manifest):
        raise ValueError("the manifest is empty: there is no picture to disturb")
    scorers = {name: (scorers or {}).get(name) or d.scorer() for name, d in detectors.items()}
    alike: dict[str, list[str]] = {}
    for name, detector in detectors.items():
        alike.setdefault(digest(detector.protocol.preparation()), []).append(name)
    found = {}
    for names in alike.values():
        protocol = detectors[names[0]].protocol
        ask = [scorers[name] for name in names]
        found |= dict(zip(names, _logits(manifest, protocol, disturbances, ask), strict=True))
    return {name: found[name] for name in detectors}


def _logits(manifest, protocol, disturbances, scorers: list[Scorer]) -> np.ndarray:
    """Return (scorers, N, 1 + D)."""

    def row(file) -> list[list[float]]:
        path, crop, sha256 = file
        image = read_image(path)
        image = center_crop(image, crop) if protocol.square == "crop" else image
        seed = int(sha256[:8], 16)  # a picture has its own noise, in whatever set it turns up
        changed = (perturb(image, *change, seed) for change in disturbances)
        shown = [prepare(picture, protocol) for picture in chain([image], changed)]
        return [[scorer.logit(picture) for picture in shown] for scorer in scorers]

    files = zip(manifest.paths, manifest.table["crop_share"], manifest.table["sha256"], strict=True)
    return np.array(list(ordered_parallel_map(row, files, scorers[0].workers))).swapaxes(0, 1)


def sweep(
    manifest: Manifest,
    detector: Detector,
    disturbances: Sequence[tuple[str, float]] = DEFAULT_PERTURBATIONS,
    scorer: Scorer | None = None,
) -> pd.DataFrame:
    """Measure a detector at its threshold under each disturbance; parameters as above.

    Returns
    -------
    DataFrame
        As `compare_columns` makes it.
    """
    table = sweep_all(manifest, {"": detector}, disturbances, {"": scorer})
    return table.drop(columns="detector")


def sweep_all(
    manifest: Manifest,
    detectors: dict[str, Detector],
    disturbances: Sequence[tuple[str, float]] = DEFAULT_PERTURBATIONS,
    scorers: dict[str, Scorer | None] | None = None,
) -> pd.DataFrame:
    """Do as `sweep` for several detectors; their names are in the column ``detector``."""
    logits = shared_logits(manifest, detectors, disturbances, scorers)
    tables = []
    for name, detector in detectors.items():
        scores = detector.scores(logits[name])
        table = compare_columns(manifest.labels, scores, disturbances, detector.threshold)
        tables.append(table.assign(detector=name))
    return pd.concat(tables, ignore_index=True)


def compare_columns(labels, scores, disturbances, threshold: float = 0.5) -> pd.DataFrame:
    """Return what each disturbance does to a set's verdicts.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    scores : (N, 1 + D) array in [0, 1]
        The undisturbed pictures first.
    disturbances : sequence of D (kind, strength)
    threshold : float

    Returns
    -------
    DataFrame
        A row for each, "none" first: disturbance, strength; n_real, n_fake; accuracy, recall_real
        and recall_fake with _low and _high (Wilson; NaN where a set of one class has none);
        n_flips and their share flips with its interval: verdicts unlike those of the undisturbed
        pictures; change, change_low and change_high: the share of right calls minus that of the
        undisturbed pictures (paired interval); threshold. All intervals are 95 %.

    Raises
    ------
    ValueError
        If there are more or fewer columns than disturbances and one.
    """
    from ddlib.metrics.agreement import (
        agreement,
    )  # which brings Keras along: only when it is needed

    scores = np.asarray(scores, np.float64)
    names = [(UNCHANGED, nan), *disturbances]
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise ValueError(
            f"scores of {len(disturbances)} disturbances and of the undisturbed pictures are "
            f"(N, {len(names)}); got {scores.shape}"
        )
    rows = []
    for (kind, strength), column in zip(names, scores.T, strict=True):
        found = score_table(labels, column, threshold)
        twin = agreement(column, scores[:, 0], threshold=threshold)
        shift = compare(labels, column, scores[:, 0], threshold)
        row = {"disturbance": kind, "strength": float(strength)}
        row |= {name: found[name] for name in ("n_real", "n_fake", *MEASURED)}
        row |= {"n_flips": twin["flips"], "flips": twin["flip_rate"]}
        row |= {"flips_low": twin["flip_low"], "flips_high": twin["flip_high"]}
        row |= {"change": shift["difference"]}
        row |= {"change_low": shift["low"], "change_high": shift["high"]}
        rows.append(row | {"threshold": float(threshold)})
    return pd.DataFrame(rows)
