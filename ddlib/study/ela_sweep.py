"""Does Error Level Analysis help? Networks on pictures, on ELA maps and on both, over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ddlib.data import subsets
from ddlib.data.manifest import Manifest
from ddlib.metrics.repeats import mean_over_seeds
from ddlib.metrics.roc_auc import auc
from ddlib.protocol import ELA_QUALITY, FAKE, preset
from ddlib.study.reference import judge_difference

QUALITIES = (75, 90, 95)  # of the JPEG with which the maps are made


def ela_table(sweeps) -> pd.DataFrame:
    """Return accuracy and AUC on the GAN set for each use of ELA, beside the picture alone.

    All networks saw the same 1,600 images (plans "small-seeds", "ela" and "joined"). A picture and
    its map are joined twice: the logits that the picture's network and the maps' network of one
    seed give, by a logistic regression fitted to the validation images, and before the head, by
    training both together (`ddlib.models.joined`). Each network alone gets a logistic regression
    too, so that every row has a threshold fitted to the same images. Differences to the picture are
    taken seed by seed.

    Parameters
    ----------
    sweeps : ddlib.study.sweep_tables.Sweeps

    Returns
    -------
    DataFrame
        A row for each use: use, seeds, n_images; accuracy and auc, means over the seeds; for each
        the difference to the picture with its 95 % interval over seeds, and a verdict on accuracy.
    """
    picture = _logits(sweeps, "small-seeds", None)
    maps = {quality: _logits(sweeps, "ela", quality) for quality in QUALITIES}
    uses = {"picture": {seed: [logits] for seed, logits in picture.items()}}
    for quality in QUALITIES:
        uses[f"ELA maps, quality {quality}"] = {s: [own] for s, own in maps[quality].items()}
    shared = sorted(picture.keys() & maps[ELA_QUALITY].keys())
    uses[f"picture and ELA maps, quality {ELA_QUALITY}, logits joined"] = {
        seed: [picture[seed], maps[ELA_QUALITY][seed]] for seed in shared
    }
    one_head = _logits(sweeps, "joined", ELA_QUALITY)
    uses[f"picture and ELA maps, quality {ELA_QUALITY}, one head"] = {
        seed: [logits] for seed, logits in one_head.items()
    }
    validation = subsets.validation_manifest(sweeps.manifest, preset("clean", "gan"))
    measured = {
        use: {seed: _measure(sweeps, validation, parts) for seed, parts in runs.items()}
        for use, runs in uses.items()
    }
    rows = []
    for use, runs in measured.items():
        seeds = sorted(runs.keys() & measured["picture"].keys())
        if len(seeds) < 2:
            continue
        own, alone = (
            pd.DataFrame([part[s] for s in seeds]) for part in (runs, measured["picture"])
        )
        row = {"use": use, "seeds": len(seeds), "n_images": len(sweeps.labels["gan"])}
        row |= own.mean().to_dict()
        for name in () if use == "picture" else ("accuracy", "auc"):
            change = mean_over_seeds(own[name] - alone[name])
            ends = (f"{name}_difference", f"{name}_low", f"{name}_high")
            row |= dict(zip(ends, change, strict=True))
            if name == "accuracy":
                row["verdict"] = judge_difference(*change, [row["n_images"]])
        rows.append(row)
    return pd.DataFrame(rows if len(rows) > 1 else [])  # the picture alone is no comparison


def _logits(sweeps, plan: str, quality: int | None) -> dict[int, np.ndarray]:
    """Return the logits of a plan's networks on pictures, or on maps of a quality, by seed."""
    wanted, found = (plan, "gan" if quality is None else "gan+ela", quality), {}
    for facts, arrays in sweeps.jobs.values():
        protocol = facts["job"]["protocol"]
        if (facts["plan"], protocol["condition"], protocol["ela_quality"]) == wanted:
            found[protocol["seed"]] = arrays["logits"].astype(np.float64)
    return found


def _measure(sweeps, validation: Manifest, parts: list[np.ndarray]) -> dict[str, float]:
    """Return accuracy and AUC on the GAN set of logits joined by a logistic regression."""
    from sklearn.linear_model import LogisticRegression

    inputs = np.stack(parts, axis=1)
    rows, labels = sweeps.rows["gan"], sweeps.labels["gan"]
    valid = sweeps.manifest.positions(validation)
    joined = LogisticRegression().fit(inputs[valid], validation.labels)
    scores = joined.predict_proba(inputs[rows])[:, FAKE]
    return {"accuracy": np.mean((scores >= 0.5) == labels), "auc": auc(labels, scores)[0]}
