"""Does Error Level Analysis help? Networks on pictures, on ELA maps and on both, over seeds."""

import numpy as np
import pandas as pd

from ddlib.data import subsets
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
    both = f"picture and ELA maps, quality {ELA_QUALITY}"
    uses = {"picture": [picture]}  # of each the networks whose logits are joined
    uses |= {f"ELA maps, quality {quality}": [maps[quality]] for quality in QUALITIES}
    uses[f"{both}, logits joined"] = [picture, maps[ELA_QUALITY]]
    uses[f"{both}, one head"] = [_logits(sweeps, "joined", ELA_QUALITY)]
    measured = {use: _measure(sweeps, networks) for use, networks in uses.items()}
    rows = []
    for use, own in measured.items():
        changes = (own - measured["picture"]).dropna()  # of the seeds that both have
        if len(changes) < 2:
            continue
        row = {"use": use, "seeds": len(changes), "n_images": len(sweeps.labels["gan"])}
        row |= own.loc[changes.index].mean().to_dict()
        for name in () if use == "picture" else ("accuracy", "auc"):
            change = mean_over_seeds(changes[name])
            row[f"{name}_difference"], row[f"{name}_low"], row[f"{name}_high"] = change
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


def _measure(sweeps, networks: list[dict[int, np.ndarray]]) -> pd.DataFrame:
    """Return accuracy and AUC on the GAN set, a row a seed that all networks have.

    Their logits are joined by a logistic regression fitted to the validation images.
    """
    from sklearn.linear_model import LogisticRegression

    validation = subsets.validation_manifest(sweeps.manifest, preset("clean", "gan"))
    valid, test = sweeps.manifest.positions(validation), sweeps.rows["gan"]
    labels, found = sweeps.labels["gan"], {}
    for seed in sorted(set.intersection(*map(set, networks))):
        inputs = np.stack([logits[seed] for logits in networks], axis=1)
        joined = LogisticRegression().fit(inputs[valid], validation.labels)
        scores = joined.predict_proba(inputs[test])[:, FAKE]
        found[seed] = np.mean((scores >= 0.5) == labels), auc(labels, scores)[0]
    return pd.DataFrame.from_dict(found, "index", columns=["accuracy", "auc"])
