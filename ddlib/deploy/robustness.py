"""What a detector's verdicts are worth after an image was re-saved, blurred, resized or cropped.

A perturbation is applied to the image as it lies in its file, before the detector's own
preparation: that is where messengers, web sites and cameras do it.
"""

from collections.abc import Sequence
from math import nan

import numpy as np
import pandas as pd

from ddlib._utils import ordered_parallel_map
from ddlib.data.loader import prepare
from ddlib.data.manifest import Manifest
from ddlib.deploy.detector import Detector
from ddlib.images.perturb import DEFAULT_PERTURBATIONS, perturb
from ddlib.images.read import center_crop, read_image
from ddlib.metrics.score_table import compare, score_table, share_with_interval

SHARES = ("accuracy", "recall_real", "recall_fake")


def sweep(
    manifest: Manifest,
    detectors: dict[str, Detector],
    perturbations: Sequence[tuple[str, float]] = DEFAULT_PERTURBATIONS,
) -> pd.DataFrame:
    """Return `compare_columns` of each detector at its threshold, and a column ``detector``.

    Parameters as in `perturbed_logits`.
    """
    tables = []
    for name, logits in perturbed_logits(manifest, detectors, perturbations).items():
        scores, threshold = detectors[name].scores(logits), detectors[name].threshold
        table = compare_columns(manifest.labels, scores, perturbations, threshold)
        tables.append(table.assign(detector=name))
    return pd.concat(tables, ignore_index=True)


def perturbed_logits(
    manifest: Manifest,
    detectors: dict[str, Detector],
    perturbations: Sequence[tuple[str, float]] = (),
) -> dict[str, np.ndarray]:
    """Return logits (N, 1 + P) float64 of N images as they are and after P perturbations.

    They are returned by the detector's name, and not calibrated. A perturbation is a kind and a
    strength, as `ddlib.images.perturb.perturb` takes them. Detectors that prepare images alike
    share them, and few images are in memory at a time. A file that cannot be read is an ImageError.
    """
    if not len(manifest):
        raise ValueError("the manifest is empty: there is no image to perturb")
    scorers = [(detector.scorer(), detector.protocol) for detector in detectors.values()]

    def logits_of(file) -> list[list[float]]:
        path, crop_share, sha256 = file
        image, prepared, rows = read_image(path), {}, []
        for scorer, protocol in scorers:
            way = tuple(protocol.preparation().values())
            if way not in prepared:
                whole = center_crop(image, crop_share) if protocol.square == "crop" else image
                seed = int(sha256[:8], 16)  # an image has its own noise, in whatever set it is
                forms = [whole, *(perturb(whole, *change, seed) for change in perturbations)]
                prepared[way] = [prepare(form, protocol) for form in forms]
            rows.append([scorer.logit(form) for form in prepared[way]])
        return rows

    table, workers = manifest.table, scorers[0][0].workers
    files = zip(manifest.paths, table["crop_share"], table["sha256"], strict=True)
    logits = np.array(list(ordered_parallel_map(logits_of, files, workers)))
    return {name: logits[:, i] for i, name in enumerate(detectors)}


def compare_columns(labels, scores, perturbations, threshold: float = 0.5) -> pd.DataFrame:
    """Return what each of P perturbations does to the verdicts on N images, a row for each.

    `labels` (N,) are 0 (real) and 1 (fake). The first column of `scores` (N, 1 + P) and the first
    row, "none", are the unchanged images. Columns: perturbation, strength; n_real, n_fake;
    accuracy, recall_real and recall_fake (NaN where a set of one class has none); n_flips and their
    share flips, verdicts unlike those of the unchanged images; change, the share of right verdicts
    minus theirs; threshold. Shares and changes have _low and _high, 95 % (Wilson, paired).
    Accuracy alone hides flips: both classes can lose as many right verdicts as they gain.
    """
    names = [("none", nan), *perturbations]
    kept = ["n_real", "n_fake", *(name + end for name in SHARES for end in ("", "_low", "_high"))]
    rows = []
    for (kind, strength), column in zip(names, scores.T, strict=True):
        found = score_table(labels, column, threshold)
        shift = compare(labels, column, scores[:, 0], threshold)
        row = {"perturbation": kind, "strength": float(strength)}
        row |= {name: found[name] for name in kept}
        row["n_flips"] = int(np.sum((column >= threshold) != (scores[:, 0] >= threshold)))
        row |= share_with_interval("flips", row["n_flips"], len(column))
        row |= {"change": shift["difference"], "change_low": shift["low"]}
        rows.append(row | {"change_high": shift["high"], "threshold": float(threshold)})
    return pd.DataFrame(rows)
