"""Does a heat map say something about its model? Two checks.

- `randomize_layers`, `cascading_randomization`: a map that stays the same when the weights are destroyed shows the
  picture, not the model (Adebayo et al. 2018, "Sanity checks for saliency maps").
- `deletion_curve`, `insertion_curve`, `compare_rankings`: pixels that matter change the score when
  they go (Petsiuk et al. 2018, "RISE"), more than random or merely central ones do.

Whether the heat lies on the face or on a planted artefact is the matter of `ddlib.explain.localisation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from ddlib.gradcam import SIGNS, GradCAM
from ddlib.images.overlay import upsample
from ddlib.metrics.intervals import bootstrap_interval

FILLS = ("blur", "mean")


def randomize_layers(
    model: keras.Model, layers: Sequence[str] | None = None, seed: int = 0
) -> Iterator[tuple[str, keras.Model]]:
    """Destroy a copy of a model layer by layer from the output down.

    The values of each weight tensor are shuffled. What the layer has learned is gone while the
    scale of its values stays, so that a map cannot change merely because the signal vanished.

    Parameters
    ----------
    model : keras.Model
        Left as it is.
    layers : sequence of str, optional
        Where to stop and yield; everything above is destroyed by then. Default: every layer with
        weights.
    seed : int

    Yields
    ------
    name, copy
        The layer destroyed last, and the copy. It is one object that goes on changing: use it
        before taking the next, and build a `GradCAM` on it only once.
    """
    rng = np.random.default_rng(seed)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    order = [layer for layer in _leaves(copy) if layer.get_weights()][::-1]
    known = [layer.name for layer in order]
    unknown = sorted(set(layers or ()) - set(known))
    if unknown:
        raise ValueError(
            f"no layers with weights are named {unknown}; there are {', '.join(known)}"
        )
    for layer in order:
        layer.set_weights(
            [rng.permutation(w.ravel()).reshape(w.shape) for w in layer.get_weights()]
        )
        if layers is None or layer.name in layers:
            yield layer.name, copy


def cascading_randomization(
    model, images, layers=None, target="fake", layer=None, seed=0
) -> pd.DataFrame:
    """Compare the maps of a model with those of its copies destroyed from the top (`randomize_layers`).

    Returns
    -------
    DataFrame
        A row per step: randomised (layer name), n (images whose first map was not empty),
        similarity (mean Spearman correlation with the first maps) with low and high (95 % bootstrap
        over images).
    """
    before = GradCAM(model)(images, target, layer)
    rows, cam = [], None
    for name, copy in randomize_layers(model, layers, seed):
        cam = cam or GradCAM(copy)
        alike = similarity(before.heat, cam(images, target, layer).heat)[before.has_evidence]
        mean, low, high = bootstrap_interval(alike, seed)
        rows.append((name, len(alike), mean, low, high))
    return pd.DataFrame(rows, columns=["randomised", "n", "similarity", "low", "high"])


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of two stacks of maps, (N, h, w) each -> (N,).

    Ties share their mean rank. A constant map (no evidence) is like nothing: 0.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"maps of different shapes cannot be compared: {first.shape}, {second.shape}"
        )
    ranks = [pd.DataFrame(m.reshape(len(m), -1)).rank(axis=1).to_numpy() for m in (first, second)]
    a, b = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return (a * b).sum(1) / np.where(scale > 0, scale, 1)


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores while pixels are replaced, the hottest first.

    Attributes
    ----------
    shares : ndarray, (S,)
        Share of the pixels replaced, 0 to 1.
    scores : ndarray, (N, S)
        P(target class) at each share.
    auc : ndarray, (N,)
        Area under each curve, in [0, 1]: small is good for deletion, large for insertion.
    """

    shares: np.ndarray
    scores: np.ndarray
    auc: np.ndarray


def deletion_curve(model, images, heats, steps=10, fill="blur", target="fake", seed=0) -> Curve:
    """Replace the hottest pixels by a blurred or plain picture and watch the score fall.

    Parameters
    ----------
    model : keras.Model
        A detector as `GradCAM` takes it.
    images : ndarray, (N, H, W, 3) uint8
    heats : ndarray, (N, h, w)
        Any scale and size; equal values are taken in random order.
    steps : int
        Number of equal shares.
    fill : {"blur", "mean"}
        Gaussian blur with a radius of 1/16 of the side, or each image's mean colour.
    target : {"fake", "real"}
    seed : int
        Of the random order of equal values.
    """
    return _curve(_scorer(model, target), images, filled(images, fill), heats, steps, seed)


def insertion_curve(model, images, heats, steps=10, fill="blur", target="fake", seed=0) -> Curve:
    """Start from the blurred or plain picture and put the hottest pixels back.

    Parameters as for `deletion_curve`.
    """
    return _curve(_scorer(model, target), filled(images, fill), images, heats, steps, seed)


def compare_rankings(
    model, images, heats, steps=10, fill="blur", target="fake", seed=0
) -> pd.DataFrame:
    """Set the curves of heat maps beside those of two rankings that know nothing of the model.

    Returns
    -------
    DataFrame
        A row per curve (deletion, insertion) and baseline (random, centred): n, the mean auc_map
        and auc_baseline, and advantage with low and high (95 % paired bootstrap over images). The
        advantage is signed so that above 0 the heat map does better.
    """
    scorer, blank, size = _scorer(model, target), filled(images, fill), images.shape[1:3]
    rankings = {
        "map": heats,
        "random": random_maps(len(images), size, seed),
        "centred": np.broadcast_to(centred_map(size), images.shape[:3]),
    }
    rows = []
    for name, start, end, sign in (
        ("deletion", images, blank, -1),
        ("insertion", blank, images, 1),
    ):
        auc = {k: _curve(scorer, start, end, m, steps, seed).auc for k, m in rankings.items()}
        for base in ("random", "centred"):
            gain = bootstrap_interval(sign * (auc["map"] - auc[base]), seed)
            rows.append((name, base, len(images), auc["map"].mean(), auc[base].mean(), *gain))
    columns = ["curve", "baseline", "n", "auc_map", "auc_baseline", "advantage", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def random_maps(n: int, size, seed: int = 0, cells: int = 8) -> np.ndarray:
    """Return n random maps (n, H, W) of `cells` x `cells` patches, resized as heat maps are.

    Single random pixels would be no fair rival: scattered holes disturb a network far more than the
    same area in one piece.
    """
    return upsample(np.random.default_rng(seed).random((n, cells, cells)), size)


def centred_map(size) -> np.ndarray:
    """Return one Gaussian map (H, W) in the middle, sigma a quarter of each side."""
    y, x = (np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n / 4)) ** 2) for n in size)
    return np.outer(y, x).astype(np.float32)


def filled(images: np.ndarray, fill: str = "blur") -> np.ndarray:
    """Return the pictures (N, H, W, 3) uint8 that replace removed pixels."""
    if fill == "mean":
        means = images.mean((1, 2), keepdims=True)
        return np.broadcast_to(np.rint(means).astype(np.uint8), images.shape)
    if fill != "blur":
        raise ValueError(f"fill={fill!r} is not known; choose from {', '.join(FILLS)}")
    blur = ImageFilter.GaussianBlur(max(images.shape[1:3]) / 16)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])


def _leaves(model) -> Iterator:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def _scorer(model, target):
    """Return a function: images (N, H, W, 3) -> P(target), (N,)."""
    if target not in SIGNS:
        raise ValueError(f"target={target!r} is not known; choose from {', '.join(SIGNS)}")
    cam = GradCAM(model)  # its scores are P(fake) for every kind of head
    if target == "fake":
        return lambda images: cam(images).scores
    return lambda images: 1 - cam(images).scores


def _curve(scorer, start, end, heats, steps, seed) -> Curve:
    """Score the way from `start` to `end`, both (N, H, W, 3), the hottest pixels first."""
    if len(heats) != len(start) or not len(start):
        raise ValueError(
            f"as many maps as images are needed, at least one: {len(heats)}, {len(start)}"
        )
    ranks = _ranks(upsample(heats, start.shape[1:3]), seed)
    shares = np.linspace(0, 1, steps + 1)
    scores = np.stack(
        [scorer(np.where((ranks < share)[..., None], end, start)) for share in shares], axis=1
    )
    return Curve(shares, scores, np.trapezoid(scores, shares, axis=1))


def _ranks(heats, seed) -> np.ndarray:
    """Return each pixel's place in its map, hottest 0, coldest just below 1; ties at random."""
    rng = np.random.default_rng(seed)
    ranks = np.empty(heats.shape, np.float64)
    for rank, heat in zip(ranks, heats, strict=True):
        order = np.lexsort((rng.random(heat.size), -heat.ravel()))
        rank.ravel()[order] = np.arange(heat.size) / heat.size
    return ranks
