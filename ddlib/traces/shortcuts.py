"""Shortcuts: what gives the label away without looking at the image.

A detector is worth what it adds to the `metadata_baseline` (the blind null), a logistic regression
on width, height, format, JPEG quality and bytes of a file.
"""

from math import nan

import numpy as np
import pandas as pd

from ddlib.metrics.intervals import difference
from ddlib.metrics.roc_auc import auc
from ddlib.protocol import FAKE, LABELS

MIN_IMAGES = 8  # of each class, before a property of files is said to tell the classes apart
MAX_P = 0.001  # three properties are tried, and a false warning costs more than a missed one
MIN_ACCURACY = 0.6  # balanced accuracy from which a property of a file is a shortcut


def metadata_features(manifest) -> pd.DataFrame:
    """Return the properties of each file as numbers, a row an image.

    Columns: log_width, log_height, log_bytes (base 2), jpeg_quality (the mean where there is none),
    has_jpeg_quality and one per format (0 or 1). Constant columns are left out.
    """
    table = manifest.table
    quality = pd.to_numeric(table["jpeg_quality"]).astype(float)
    columns = pd.DataFrame(
        {
            "log_width": np.log2(table["width"].astype(float)),
            "log_height": np.log2(table["height"].astype(float)),
            "log_bytes": np.log2(table["bytes"].astype(float)),
            "jpeg_quality": quality.fillna(quality.mean()).fillna(0.0),
            "has_jpeg_quality": quality.notna().astype(float),
        }
    )
    formats = pd.get_dummies(table["format"], prefix="format", dtype=float)
    columns = pd.concat([columns, formats], axis=1)
    return columns.loc[:, columns.nunique() > 1]


def metadata_baseline(manifest, use_bytes: bool = True) -> dict:
    """Return how well the label of a test set can be guessed from `metadata_features`.

    A logistic regression on standardised features, cross-validated in five folds, fewer where a
    class has fewer identities: every image is scored by a fit that saw neither it nor another image
    of its identity. Without `use_bytes` it sees only how a file was stored; bytes also measure
    noise and detail of the picture itself.

    Returns
    -------
    dict
        auc, low, high (DeLong 95 %), n_real, n_fake, folds, and weights: standardised coefficients
        of a fit to all images, towards fake, largest first. The AUC is 0.5 if no feature varies,
        NaN with one class or a single identity in a class. Where nothing tells the classes apart,
        it tends to lie a little below 0.5, since each fold is scored by a fit of its own.
    """
    labels, identity = manifest.labels, manifest.table["identity"]
    alone = "image " + identity.index.astype(str)
    groups = np.where(identity.notna(), "identity " + identity.astype(str), alone)
    if not len(labels):
        raise ValueError(f"{manifest.root}: no images to guess the label of")
    result = {"auc": nan, "low": nan, "high": nan, "folds": 0, "weights": {}}
    result |= {"n_real": int(np.sum(labels != FAKE)), "n_fake": int(np.sum(labels == FAKE))}
    folds = min(5, *(len(set(groups[labels == label])) for label in LABELS.values()))
    if folds < 2:
        return result
    features = metadata_features(manifest)
    if not use_bytes:
        features = features.drop(columns="log_bytes", errors="ignore")
    if features.empty:
        return result | {"auc": 0.5, "low": 0.5, "high": 0.5, "folds": folds}
    scores = cross_val_scores(features, features, labels, groups, folds, strength=1.0)
    weights = logistic_regression(1.0).fit(features, labels)[-1].coef_[0]
    weights = pd.Series(weights, features.columns)
    weights = weights.sort_values(key=np.abs, ascending=False, kind="stable").to_dict()
    area, low, high = auc(labels, scores)
    return result | {"auc": area, "low": low, "high": high, "folds": folds, "weights": weights}


def metadata_reaches_model(model_auc: float, baseline: dict) -> bool:
    """Return whether a `metadata_baseline` reaches the model, whose result is then no evidence.

    The rule: the upper end of the baseline's 95 % interval is at least the model's AUC. False if
    either is NaN, and of a model that does not rank better than chance: it has no success that the
    files could explain.
    """
    return bool(baseline["high"] >= model_auc > 0.5)


def cross_val_scores(
    train_features, test_features, labels, groups=None, folds=5, strength=0.1
) -> np.ndarray:
    """Return P(fake) (N,) of every image from a logistic regression that did not see it.

    Parameters
    ----------
    train_features, test_features : (N, F) arrays
        Features of the same images under two preparations: the fit uses rows of the first, the
        held-out images are scored by the second. Plain cross-validation takes one array twice.
    labels : (N,) array of 0 (real) and 1 (fake)
    groups : (N,) array, optional
        Images of one group, such as a person, are held out together.
    strength : float
        What scikit-learn calls C: the weights are held down less where it is larger.

    Raises
    ------
    ValueError
        If the shapes disagree, or a class has fewer images than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    train_features, test_features, labels = map(np.asarray, (train_features, test_features, labels))
    if train_features.shape != test_features.shape or len(train_features) != len(labels):
        raise ValueError(
            f"features {train_features.shape} and {test_features.shape} with {len(labels)} labels "
            "do not fit: give one row an image, in one order"
        )
    fewest = min(int(np.sum(labels == label)) for label in LABELS.values())
    if fewest < folds:
        raise ValueError(f"a class has {fewest} images, too few for {folds} folds")
    scores = np.empty(len(labels))
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    parts = kind(folds, shuffle=True, random_state=0)
    for train, held_out in parts.split(train_features, labels, groups):
        model = logistic_regression(strength).fit(train_features[train], labels[train])
        scores[held_out] = model.predict_proba(test_features[held_out])[:, 1]
    return scores


def logistic_regression(strength: float):
    """Return an unfitted scikit-learn pipeline: standardise, then logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))


def leaks(manifest) -> pd.DataFrame:
    """Return the contents and identities that occur in more than one split, a row each.

    Columns: kind ("sha256" or "identity"), value, splits, labels, n.
    """
    rows = []
    for kind in ("sha256", "identity"):
        for value, group in manifest.table.dropna(subset=kind).groupby(kind):
            if group["split"].nunique() > 1:
                splits, labels = (", ".join(sorted(set(group[c]))) for c in ("split", "label"))
                rows.append((kind, value, splits, labels, len(group)))
    return pd.DataFrame(rows, columns=["kind", "value", "splits", "labels", "n"])


def contingency(manifest, by: str = "format") -> pd.DataFrame:
    """Return how often each value of a column occurs among reals and among fakes.

    `by` is a column of the manifest, or "size" for width x height. The index holds the values, most
    frequent first ("none" where missing), the columns are real and fake.
    """
    table = manifest.table.assign(size=_size(manifest.table))
    if by not in table:
        raise ValueError(f"by={by!r} is not a column; use one of {', '.join(table.columns)}")
    values = table[by].astype(object).where(table[by].notna(), "none")
    counts = pd.crosstab(values.rename(by), table["label"])
    counts = counts.reindex(columns=list(LABELS), fill_value=0).rename_axis(columns=None)
    return counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def shortcuts(table: pd.DataFrame) -> list[str]:
    """Return warnings about properties of files that alone tell reals from fakes.

    Each image is guessed to be of the class in which its value is more frequent, the image itself
    left out; a tie counts half. A property is named if the balanced accuracy reaches
    `MIN_ACCURACY` and Pearson's chi-squared test of value against label has p below `MAX_P`.
    """
    counts = table["label"].value_counts()
    if len(counts) < 2:
        return ["only one class is here: good for testing, not for training"]
    real, fake = counts["real"], counts["fake"]
    if min(real, fake) < MIN_IMAGES:
        return [
            f"{real} real and {fake} fake images: too few to look for shortcuts, "
            f"which takes {MIN_IMAGES} of each"
        ]
    from scipy.stats import chi2_contingency  # takes half a second

    quality = table["jpeg_quality"].map(lambda q: "none" if pd.isna(q) else f"{q:.0f}")
    properties = {"format": table["format"], "size": _size(table), "JPEG quality": quality}
    lines = []
    for name, values in properties.items():
        by_value = pd.crosstab(values, table["label"])
        right_real = _right_guesses(by_value["real"], by_value["fake"])
        right_fake = _right_guesses(by_value["fake"], by_value["real"])
        # The mean recall is half a difference of proportions, shifted: (r - (1 - f) + 1) / 2.
        found = difference(right_real, real, fake - right_fake, fake)
        accuracy, low, high = ((1 + value) / 2 for value in found)
        if accuracy >= MIN_ACCURACY and chi2_contingency(by_value).pvalue < MAX_P:
            lines.append(
                f"warning: {name} alone tells real from fake with {accuracy:.0%} balanced accuracy "
                f"(95% interval {low:.0%} to {high:.0%}, {real} real and {fake} fake images; 50% "
                "is chance): compare only classes treated alike"
            )
    return lines


def _right_guesses(own: pd.Series, other: pd.Series) -> float:
    """Return how many images of a class are guessed right from counts by value of both classes."""
    lead = (own - 1) / (own.sum() - 1) - other / other.sum()
    return float((own * (np.sign(lead) + 1) / 2).sum())


def _size(table: pd.DataFrame) -> pd.Series:
    return table["width"].astype(str) + " x " + table["height"].astype(str)
