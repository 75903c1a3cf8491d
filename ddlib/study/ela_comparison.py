"""Does Error Level Analysis help? Networks on pictures, on ELA maps and on both, over seeds."""

import numpy as np
import pandas as pd

from ddlib.data import subsets
from ddlib.metrics.repeats import difference_over_seeds
from ddlib.metrics.roc_auc import placements
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
        the difference to the picture with its 95 % interval over seeds and test images
        (``accuracy_difference_low`` and so on), and a verdict on accuracy.
    """
    picture = _logits(sweeps, "small-seeds", None)
    maps = {quality: _logits(sweeps, "ela", quality) for quality in QUALITIES}
    both = f"picture and ELA maps, quality {ELA_QUALITY}"
    uses = {"picture": [picture]}  # of each the networks whose logits are joined
    uses |= {f"ELA maps, quality {quality}": [maps[quality]] for quality in QUALITIES}
    uses[f"{both}, logits joined"] = [picture, maps[ELA_QUALITY]]
    uses[f"{both}, one head"] = [_logits(sweeps, "joined", ELA_QUALITY)]
    measured = {use: _per_image(sweeps, networks) for use, networks in uses.items()}
    labels, rows = sweeps.labels["gan"], []
    counted = {"accuracy": slice(None), "auc": labels == FAKE}  # images whose mean the measure is
    for use, own in measured.items():
        seeds = sorted(set(own) & set(measured["picture"]))
        if len(seeds) < 2:
            continue
        row = {"use": use, "seeds": len(seeds), "n_images": len(labels)}
        for name, images in counted.items():
            row[name] = np.mean([own[seed][name][images].mean() for seed in seeds])
        for name, images in counted.items() if use != "picture" else ():
            apart = np.stack([own[seed][name] - measured["picture"][seed][name] for seed in seeds])
            change = difference_over_seeds(apart[:, images].mean(axis=1), apart, labels, name)
            ends = ("", "_low", "_high")
            row |= {f"{name}_difference{end}": x for end, x in zip(ends, change, strict=True)}
            if name == "accuracy":
                row["verdict"] = judge_difference(*change, [len(labels)])
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


def _per_image(sweeps, networks: list[dict[int, np.ndarray]]) -> dict[int, dict]:
    """Return for each seed that all networks have what each image adds to accuracy and AUC, (N,).

    The networks' logits are joined by a logistic regression fitted to the validation images.
    """
    from sklearn.linear_model import LogisticRegression

    validation = subsets.validation_manifest(sweeps.manifest, preset("clean", "gan"))
    valid, test = sweeps.manifest.positions(validation), sweeps.rows["gan"]
    labels, found = sweeps.labels["gan"], {}
    for seed in sorted(set.intersection(*map(set, networks))):
        inputs = np.stack([logits[seed] for logits in networks], axis=1)
        joined = LogisticRegression().fit(inputs[valid], validation.labels)
        scores = joined.predict_proba(inputs[test])[:, FAKE]
        right = ((scores >= 0.5) == labels).astype(float)
        found[seed] = {"accuracy": right, "auc": placements(labels, scores)}
    return found
