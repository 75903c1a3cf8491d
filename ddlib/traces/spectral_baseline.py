"""A detector in twenty lines: logistic regression on the spectrum of what smoothing leaves.

It sees no face, only how much power each ring of frequencies holds, so it learns in a second what a
network would find first: the traces of generators, and just as well those of resizing and JPEG.
That makes it the tool to show how a benchmark breaks (Durall 2020 used such features for GANs).
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
    """Return each image's radial spectrum.

    Parameters
    ----------
    images : iterable of (S, S, 3) uint8

    Returns
    -------
    (N, S // 2) float
        Mean log10 power of the residual in each ring, from coarse to fine
        (`ddlib.traces.spectrum.radial_profile`).

    Raises
    ------
    ValueError
        If there are no images, or one is not square.
    """
    profiles = [radial_profile(mean_spectrum([image]))[1] for image in images]
    if not profiles:
        raise ValueError("no images to take features of")
    return np.stack(profiles)


def spectra_by_preparation(
    chosen: Manifest, protocols: dict[str, Protocol], cache: Cache | None = None
) -> dict[str, np.ndarray]:
    """Return the `radial_features` of the same pictures under several preparations, by name."""
    features = {}
    for name, protocol in protocols.items():
        chunks = load_images(chosen, protocol, cache).chunks(64)
        features[name] = radial_features(image for chunk in chunks for image in chunk)
    return features


def rows_by_class(labels, of_reals: np.ndarray, of_fakes: np.ndarray) -> np.ndarray:
    """Return rows of two feature tables: the first one's for reals, the second one's for fakes.

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


def cross_val_scores(learnt, shown, labels, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Return P(fake) of every picture from a fit that did not see it.

    Parameters
    ----------
    learnt, shown : (N, F) arrays
        Features of the same pictures under two treatments: the fit uses the rows of `learnt`, the
        held-out pictures are shown as in `shown`. Give the same array twice for a plain
        cross-validation.
    labels : (N,) array of 0 (real) and 1 (fake)
    folds : int
    seed : int
        Of the shuffle before folding.

    Returns
    -------
    (N,) float in [0, 1]

    Raises
    ------
    ValueError
        If the shapes disagree, or a class has fewer pictures than there are folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    learnt, shown, labels = np.asarray(learnt), np.asarray(shown), np.asarray(labels)
    if learnt.shape != shown.shape or len(learnt) != len(labels):
        raise ValueError(
            f"features {learnt.shape} and {shown.shape} with {len(labels)} labels do not belong "
            "together: give one row a picture, in one order"
        )
    fewest = min(int(np.sum(labels == label)) for label in LABELS.values())
    if fewest < folds:
        raise ValueError(f"a class has {fewest} pictures, too few for {folds} folds")
    scores = np.empty(len(labels))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for train, held_out in parts.split(learnt, labels):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit(learnt[train], labels[train])
        scores[held_out] = model.predict_proba(shown[held_out])[:, 1]
    return scores
