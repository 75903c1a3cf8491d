"""Faithfulness checks for saliency maps: does a heat map depend on its model.

- `cascading_randomization`: a map that stays the same when the weights are destroyed shows the
  image, not the model (Adebayo et al. 2018, "Sanity checks for saliency maps").
- `perturbation_curve`: pixels that matter change the score when they go, more than random or merely
  central ones do (Petsiuk et al. 2018, "RISE").

Whether the heat lies on the face or on planted evidence is measured in `localisation`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ddlib._utils import check_choice
from ddlib.gradcam import SIGNS, GradCAM
from ddlib.images.overlay import upsample
from ddlib.images.perturb import perturb
from ddlib.metrics.intervals import mean_interval
from ddlib.models.complexity import leaf_layers

MODES = ("deletion", "insertion")


def randomize_layers(
    model: keras.Model, layers: Sequence[str] | None = None
) -> Iterator[tuple[str, keras.Model]]:
    """Destroy a copy of a model layer by layer from the output down.

    The values of each weight tensor are shuffled: what the layer has learned is gone while the
    scale of its values stays. Where a layer is one of `layers` (default: all with weights), its
    name is yielded with the copy, one object that goes on changing.
    """
    rng = np.random.default_rng(0)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    order = [layer for layer in leaf_layers(copy) if layer.get_weights()][::-1]
    unknown = sorted(set(layers or ()) - {layer.name for layer in order})
    if unknown:
        known = ", ".join(layer.name for layer in order)
        raise ValueError(f"no layers with weights are named {unknown}; there are {known}")
    for layer in order:
        weights = layer.get_weights()
        layer.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in weights])
        if layers is None or layer.name in layers:
            yield layer.name, copy


def cascading_randomization(model, images, layers=None, target="fake", layer=None) -> pd.DataFrame:
    """Compare the maps of a model with those of its copies destroyed by `randomize_layers`.

    Returns
    -------
    DataFrame
        A row per step: randomised (layer name), n (images whose first map was not empty),
        similarity (mean Spearman correlation with the first maps) with low and high (95 % over
        images).
    """
    before = GradCAM(model)(images, target, layer)
    rows, cam = [], None
    for name, copy in randomize_layers(model, layers):
        cam = cam or GradCAM(copy)
        alike = similarity(before.heat, cam(images, target, layer).heat)[before.has_evidence]
        rows.append((name, len(alike), *mean_interval(alike)))
    return pd.DataFrame(rows, columns=["randomised", "n", "similarity", "low", "high"])


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of two stacks of maps, (N, h, w) each -> (N,).

    A constant map (no evidence) is like nothing: 0.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"maps of different shapes cannot be compared: {first.shape}, {second.shape}"
        )
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    a, b = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return (a * b).sum(1) / np.where(scale > 0, scale, 1)


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores while pixels are replaced, the hottest first."""

    shares: np.ndarray  # (S,) of the pixels replaced, 0 to 1
    scores: np.ndarray  # (N, S), P(target class) at each share
    auc: np.ndarray  # (N,) area under each curve: small is good for deletion, large for insertion


def perturbation_curve(model, images, heats, mode="deletion", steps=10, target="fake") -> Curve:
    """Replace the hottest pixels by a blurred copy and watch the score, or put them back.

    Parameters
    ----------
    model : keras.Model
        A detector as `GradCAM` takes it.
    images : ndarray, (N, H, W, 3) uint8
    heats : ndarray, (N, h, w)
        Any scale and size; equal values are taken in random order.
    mode : {"deletion", "insertion"}
        Start from the images and blur, or start from the blurred images and restore.
    steps : int
        Number of equal shares.
    target : {"fake", "real"}
    """
    check_choice("mode", mode, MODES)
    check_choice("target", target, SIGNS)
    if len(heats) != len(images) or not len(images):
        raise ValueError(
            f"as many maps as images are needed, at least one: {len(heats)}, {len(images)}"
        )
    blurred = blur(images)
    start, end = (images, blurred) if mode == "deletion" else (blurred, images)
    ranks = _ranks(upsample(heats, images.shape[1:3]))
    shares = np.linspace(0, 1, steps + 1)
    cam = GradCAM(model)  # its scores are P(fake), whatever the head
    changed = (np.where((ranks < share)[..., None], end, start) for share in shares)
    scores = np.stack([cam(batch).scores for batch in changed], axis=1)
    scores = scores if target == "fake" else 1 - scores
    return Curve(shares, scores, np.trapezoid(scores, shares, axis=1))


def blur(images: np.ndarray) -> np.ndarray:
    """Return images (N, H, W, 3) uint8 blurred by a Gaussian of 1/16 of the longer side."""
    sigma = max(images.shape[1:3]) / 16
    return np.stack([perturb(image, "blur", sigma) for image in images])


def random_maps(n: int, size) -> np.ndarray:
    """Return n random maps (n, H, W) of 8 x 8 patches, resized as heat maps are.

    Scattered single pixels would disturb a network far more than the same area in one piece.
    """
    return upsample(np.random.default_rng(0).random((n, 8, 8)), size)


def centred_map(size) -> np.ndarray:
    """Return one Gaussian map (H, W) in the middle, sigma a quarter of each side."""
    y, x = (np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n / 4)) ** 2) for n in size)
    return np.outer(y, x).astype(np.float32)


def _ranks(heats) -> np.ndarray:
    """Return each pixel's place in its map, hottest 0, coldest just below 1; ties at random."""
    rng = np.random.default_rng(0)
    ranks = np.empty(heats.shape, np.float64)
    for rank, heat in zip(ranks, heats, strict=True):
        order = np.lexsort((rng.random(heat.size), -heat.ravel()))
        rank.ravel()[order] = np.arange(heat.size) / heat.size
    return ranks
