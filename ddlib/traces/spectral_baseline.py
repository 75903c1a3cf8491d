"""A detector without a network: logistic regression on the radial spectrum of the residual.

It sees no face, only the power in each ring of frequencies, and learns the traces of generators, of
resizing and of JPEG within a second (Durall 2020 used such features for GANs). That exposes what a
benchmark can be solved by.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.protocol import FAKE, LABELS, Protocol
from ddlib.traces.spectrum import mean_spectrum, radial_profile


def radial_features(images: Iterable[np.ndarray]) -> np.ndarray:
    """Return the radial spectrum of each image (S, S, 3) uint8.

    Returns
    -------
    (N, S // 2) float
        Mean log10 power of the residual in each ring, from coarse to fine
        (`ddlib.traces.spectrum.radial_profile`).
    """
    profiles = [radial_profile(mean_spectrum([image]))[1] for image in images]
    if not profiles:
        raise ValueError("no images to take features of")
    return np.stack(profiles)


def spectra_by_preparation(
    manifest: Manifest, protocols: dict[str, Protocol], cache: Cache | None = None
) -> dict[str, np.ndarray]:
    """Return the `radial_features` of the same images prepared by each protocol, by its name."""
    features = {}
    for name, protocol in protocols.items():
        chunks = load_images(manifest, protocol, cache).chunks(64)
        features[name] = radial_features(image for chunk in chunks for image in chunk)
    return features


def rows_by_class(labels, of_reals: np.ndarray, of_fakes: np.ndarray) -> np.ndarray:
    """Return the rows of two feature tables: the first one's for reals, the second's for fakes.

    Examples
    --------
    >>> rows_by_class([0, 1], np.array([[1.0], [1.0]]), np.array([[2.0], [2.0]])).ravel().tolist()
    [1.0, 2.0]
    """
    labels = np.asarray(labels)
    if not len(labels) == len(of_reals) == len(of_fakes):
        raise ValueError(
            f"{len(labels)} labels, {len(of_reals)} and {len(of_fakes)} rows: the three must agree"
        )
    return np.where((labels == FAKE)[:, None], of_fakes, of_reals)


def cross_val_scores(
    train_features, test_features, labels, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Return P(fake) (N,) of every image from a fit that did not see it.

    Parameters
    ----------
    train_features, test_features : (N, F) arrays
        Features of the same images under two preparations: the fit uses rows of the first, the
        held-out images are scored by the second. Plain cross-validation takes one array twice.
    labels : (N,) array of 0 (real) and 1 (fake)

    Raises
    ------
    ValueError
        If the shapes disagree, or a class has fewer images than there are folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = np.asarray(labels)
    if np.shape(train_features) != np.shape(test_features) or len(train_features) != len(labels):
        raise ValueError(
            f"features {np.shape(train_features)} and {np.shape(test_features)} with "
            f"{len(labels)} labels do not fit: give one row an image, in one order"
        )
    fewest = min(int(np.sum(labels == label)) for label in LABELS.values())
    if fewest < folds:
        raise ValueError(f"a class has {fewest} images, too few for {folds} folds")
    scores = np.empty(len(labels))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for train, held_out in parts.split(train_features, labels):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit(train_features[train], labels[train])
        scores[held_out] = model.predict_proba(test_features[held_out])[:, 1]
    return scores
