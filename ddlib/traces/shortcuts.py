"""What gives the label away without looking at the picture.

A detector is worth what it adds to the `metadata_baseline`: a logistic regression that sees width, height,
format, JPEG quality and bytes of a file and never a pixel. `reprocess_class` breaks such a benchmark, or
mends it, by giving pictures another history.
"""

from __future__ import annotations

import re
from math import nan

import numpy as np
import pandas as pd
from PIL import Image

from ddlib.images.jpeg import recompress
from ddlib.metrics.roc_auc import auc
from ddlib.protocol import FAKE, LABELS

SIZE = "size"  # the table has width and height; `contingency` can show them as one


HISTORIES = ("png", "jpeg", "nearest", "antialias")  # jpeg with its quality, such as jpeg70


_REDUCED = 0.75  # share of the side that a resizing history goes down to


_SINGLE = {"auc": nan, "low": nan, "high": nan, "folds": 0, "weights": {}}


def metadata_features(manifest) -> pd.DataFrame:
    """Return what a classifier that never opens a file can know of it.

    Returns
    -------
    DataFrame of float, one row an image
        log_width, log_height, log_bytes (base 2), jpeg_quality (mean where there is none),
        has_jpeg_quality (1 or 0) and one 1-or-0 column a format. Columns that are the same for all
        images are left out.
    """
    table = manifest.table.reset_index(drop=True)
    quality = pd.to_numeric(table["jpeg_quality"]).astype(float)
    logs = {
        f"log_{name}": np.log2(table[name].astype(float)) for name in ("width", "height", "bytes")
    }
    columns = pd.DataFrame(
        {
            **logs,
            "jpeg_quality": quality.fillna(quality.mean()).fillna(0.0),
            "has_jpeg_quality": quality.notna().astype(float),
        }
    )
    formats = pd.get_dummies(table["format"], prefix="format", dtype=float)
    columns = pd.concat([columns, formats], axis=1)
    return columns.loc[:, columns.nunique() > 1]


def metadata_baseline(manifest, seed: int = 0, folds: int = 5) -> dict:
    """Return how well the label can be guessed from size, format, JPEG quality and bytes alone.

    A logistic regression on standardised `metadata_features`, cross-validated: every image is scored
    by a fit that did not see it, nor any image of its identity where that is known. Each fold has
    about the classes' shares of the whole.

    Parameters
    ----------
    manifest : Manifest
        One test set.
    seed : int
        For the shuffle before folding.
    folds : int
        At most; a class with fewer identities lowers it.

    Returns
    -------
    dict
        auc, low, high (DeLong 95 %), n_real, n_fake, folds, and weights: standardised coefficients
        of a fit to all images, towards fake, largest first. Without any feature that varies the AUC
        is 0.5. With one class, or a single identity in a class, it is NaN.

    Raises
    ------
    ValueError
        If there are no images or fewer than two folds are asked for.
    """
    labels = _labels(manifest)
    if not len(labels) or folds < 2:
        raise ValueError(f"{len(labels)} images in {folds} folds: give some images and 2 folds up")
    counts = {"n_real": int(np.sum(labels != FAKE)), "n_fake": int(np.sum(labels == FAKE))}
    groups = _groups(manifest)
    folds = min(folds, *(len(set(groups[labels == label])) for label in LABELS.values()))
    if folds < 2:
        return {**_SINGLE, **counts}
    features = metadata_features(manifest)
    if features.empty:
        return {**_SINGLE, "auc": 0.5, "low": 0.5, "high": 0.5, "folds": folds, **counts}
    scores, weights = _cross_validated(features, labels, groups, folds, seed)
    names = ("auc", "low", "high")
    result = dict(zip(names, auc(labels, scores), strict=True))
    return {**result, **counts, "folds": folds, "weights": weights}


def metadata_reaches_model(model_auc: float, null: dict) -> bool:
    """Return whether the blind null reaches the model, so that its result says nothing of pixels.

    The rule: the upper end of the null's 95 % interval is at least the model's AUC. Give the lower
    end of the model's own interval to be stricter. False where either is NaN.
    """
    return bool(null["high"] >= model_auc)


def leaks(manifest) -> pd.DataFrame:
    """Return the contents and identities that occur in more than one split.

    Returns
    -------
    DataFrame
        A row for each: kind ("sha256" or "identity"), value, splits, labels, n. Empty is good.
    """
    rows = []
    for kind in ("sha256", "identity"):
        known = manifest.table[_known(manifest.table[kind])]
        for value, group in known.groupby(kind):
            if group["split"].nunique() > 1:
                splits, labels = (", ".join(sorted(set(group[c]))) for c in ("split", "label"))
                rows.append((kind, value, splits, labels, len(group)))
    return pd.DataFrame(rows, columns=["kind", "value", "splits", "labels", "n"])


def contingency(manifest, by: str = "format") -> pd.DataFrame:
    """Return how often each value of a column occurs among reals and among fakes.

    Parameters
    ----------
    manifest : Manifest
    by : str
        A column of the manifest, or "size" for width x height.

    Returns
    -------
    DataFrame of int
        Index: the values, most frequent first ("none" where missing); columns: real, fake.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    table = manifest.table
    if by == SIZE:
        values = table["width"].astype(str) + " x " + table["height"].astype(str)
    elif by in table.columns:
        values = table[by].astype(object).where(_known(table[by]), "none")
    else:
        raise ValueError(f"by={by!r} is no column; use 'size' or one of {', '.join(table.columns)}")
    counts = pd.crosstab(values.rename(by), table["label"]).reindex(
        columns=list(LABELS), fill_value=0
    )
    counts.columns.name = None
    return counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def reprocess(image: np.ndarray, kind: str) -> np.ndarray:
    """Return the image with another history, of the same size.

    Parameters
    ----------
    image : (H, W, 3) uint8
    kind : str
        "png": stored without loss, which changes no pixel; "jpeg70" (or another quality): saved as
        JPEG; "nearest" or "antialias": reduced to three quarters of its sides and brought back, by
        that method both ways.

    Returns
    -------
    (H, W, 3) uint8, a new array

    Raises
    ------
    ValueError
        If the kind is unknown, or the image is none.
    """
    jpeg = re.fullmatch(r"jpeg(\d+)", kind)
    if jpeg:
        return recompress(image, int(jpeg[1]))
    if kind == "png":
        return image.copy()
    methods = {"nearest": Image.Resampling.NEAREST, "antialias": Image.Resampling.BILINEAR}
    if kind not in methods:
        raise ValueError(f"kind={kind!r} is not known; use {', '.join(HISTORIES)} (jpeg as jpeg70)")
    height, width = image.shape[:2]
    less = (max(1, round(width * _REDUCED)), max(1, round(height * _REDUCED)))
    small = Image.fromarray(image).resize(less, methods[kind])
    return np.array(small.resize((width, height), methods[kind]))


def reprocess_class(images, labels, kind: str, label: int | None = FAKE) -> list[np.ndarray]:
    """Return the images, those of one class with another history.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8, of any sizes
    labels : (N,) array of 0 and 1
    kind : str
        As in `reprocess`.
    label : 0, 1 or None
        Whose history changes. None: everybody's, which is the equal treatment that mends it.

    Raises
    ------
    ValueError
        If the lengths differ or the kind is unknown.
    """
    return [
        reprocess(image, kind) if label is None or own == label else image
        for image, own in zip(images, labels, strict=True)
    ]


def _labels(manifest) -> np.ndarray:
    return manifest.table["label"].map(LABELS).to_numpy(dtype=int)


def _known(values: pd.Series) -> pd.Series:
    return values.notna() & (values.astype(str) != "")


def _groups(manifest) -> np.ndarray:
    """Return a word for each image's identity; where that is unknown, one of its own."""
    identity = manifest.table["identity"].reset_index(drop=True)
    alone = "image " + identity.index.astype(str)
    return np.where(_known(identity), "identity " + identity.astype(str), alone)


def _cross_validated(features, labels, groups, folds, seed) -> tuple[np.ndarray, dict]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    scores = cross_val_predict(
        model, features, labels, groups=groups, cv=parts, method="predict_proba"
    )[:, 1]
    coefficients = model.fit(features, labels)[-1].coef_[0]
    order = np.argsort(-np.abs(coefficients), kind="stable")
    return scores, {features.columns[i]: float(coefficients[i]) for i in order}


RARE = 5  # a value that fewer images have says nothing about its class


TELLING = 0.6  # from this balanced accuracy on a property of the file is a shortcut


def shortcuts(table: pd.DataFrame) -> list[str]:
    """Say which properties of the files alone tell reals from fakes, and how well.

    The rule is the plainest: for each value of a property guess the class that has the larger share
    of its images there. Its accuracy, both classes weighed alike, is (1 + total variation) / 2.
    """
    if table["label"].nunique() < 2:
        return ["only one class is here: good for testing, not for training"]
    size = table["width"].astype(str) + " x " + table["height"].astype(str)
    quality = table["jpeg_quality"].map(lambda q: "none" if pd.isna(q) else f"{q:.0f}")
    lines = []
    for name, values in {"format": table["format"], "size": size, "JPEG quality": quality}.items():
        common = values.where(values.groupby(values).transform("size") >= RARE, "other")
        shares = pd.crosstab(common, table["label"], normalize="columns")
        accuracy = shares.max(axis=1).sum() / 2
        if accuracy >= TELLING:
            lines.append(
                f"warning: {name} alone tells real from fake with {accuracy:.0%} balanced accuracy "
                "(50% is chance): compare only classes treated alike"
            )
    return lines
