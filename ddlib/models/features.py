"""Bottleneck features: the frozen part of a detector, run once for each image and kept."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import keras
import numpy as np

from ddlib.data.cache import Cache, Rows, StoredArray
from ddlib.data.loader import block_key, gather_blocks, load_images
from ddlib.data.manifest import Manifest
from ddlib.models.checkpoint import weights_digest
from ddlib.models.inference import SHARE, compiled, fastest, has_gpu, logit_model, stream
from ddlib.protocol import Protocol


def split_backbone(detector: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a detector before its first trained layer into (prefix, tail).

    Both share the detector's layers: training the tail trains the detector, and
    ``tail(prefix(x)) == detector(x)``. The prefix never changes, so it needs to run only once for
    each image.

    Raises
    ------
    ValueError
        If nothing is trainable, or the layers are not a chain.
    """
    layers = detector.layers
    trained = [i for i, layer in enumerate(layers) if layer.trainable_weights]
    if not trained:
        raise ValueError("no layer of the detector is trainable: there is no tail to train")
    cut = max(trained[0], 1)
    prefix = keras.Model(layers[0].output, layers[cut - 1].output, name="prefix")
    x = features = keras.Input(layers[cut - 1].output.shape[1:], name="prefix_features")
    for before, layer in zip(layers[cut - 1 :], layers[cut:], strict=False):
        if layer.input is not before.output:
            raise ValueError(f"layer {layer.name} does not follow {before.name}: not a chain")
        x = layer(x)
    return prefix, keras.Model(features, x, name="tail")


HALF_ERROR = 0.01  # of a logit; a score moves by a quarter of that at most


_BATCH = 64  # images a forward pass of the prefix; larger is not faster on two cores


def bottleneck_features(
    prefix: keras.Model,
    manifest: Manifest,
    protocol: Protocol,
    cache: Cache,
    mirror: bool = False,
    feature_dtype: str = "float16",
) -> Rows:
    """Return the frozen prefix's output for a manifest's images, in its order, from the store."""
    weights = weights_digest(prefix)

    def load_block(block: Manifest) -> StoredArray:
        key = {
            **block_key(block, protocol),
            "weights": weights,
            "layer": prefix.layers[-1].name,
            "pixel_range": list(protocol.pixel_range),
            "mirror": mirror,
        }
        shape = (len(block), *prefix.output_shape[1:])
        images = load_images(block, protocol, cache)
        chunks = partial(_answers, prefix, images, mirror, feature_dtype)
        return cache.array("features", key, shape, feature_dtype, chunks)

    return gather_blocks(manifest, load_block)


def choose_feature_dtype(prefix: keras.Model, tail: keras.Model, images: np.ndarray) -> str:
    """Return "float16" if features kept in it give the same logits (N images), else "float32"."""
    features, to_logit = fastest(prefix)(images), compiled(logit_model(tail))
    with np.errstate(over="ignore"):  # beyond 65,504 half feature_dtype is infinite, and too coarse
        half = features.astype("float16").astype("float32")
    error = np.abs(to_logit(features) - to_logit(half)).max()
    return "float16" if error <= HALF_ERROR else "float32"


def _answers(model: keras.Model, images: Rows, mirror: bool, dtype: str) -> Iterator[np.ndarray]:
    # LiteRT rounds otherwise than TensorFlow, in the last bits, and Adam's first steps enlarge
    # that; who asks for float32 wants plain training repeated.
    by_tensorflow = dtype == "float32" or has_gpu()
    batches = images.chunks(_BATCH if by_tensorflow else SHARE)
    if mirror:
        batches = (batch[:, :, ::-1] for batch in batches)
    if by_tensorflow:
        return map(compiled(model), batches)
    return stream(model, batches, dtype)


def score_features(tail: keras.Model, features: Rows) -> np.ndarray:
    """Return the logits (N,) float64 that a detector's tail gives to prefix features."""
    to_logit = compiled(logit_model(tail))
    return np.concatenate([to_logit(batch)[:, 0] for batch in features.chunks(_BATCH)]).astype(
        "float64"
    )
