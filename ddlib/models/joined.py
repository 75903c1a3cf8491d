"""One head for two views of each image, itself and its ELA map, joined before the head.

Each view has a backbone of its own with the protocol's trained layers. What both give after global
pooling is laid side by side, and one head learns from all of it.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from ddlib.data.cache import Cache, Rows
from ddlib.data.manifest import Manifest
from ddlib.models.features import bottleneck_features, split_backbone
from ddlib.models.train import build_from_protocol
from ddlib.protocol import Protocol


class SideBySide(Rows):
    """Rows of several views of the same images, (N, H, W, C) each, joined along the channels."""

    def __init__(self, views: list[Rows]):
        self.views = views
        first = views[0].shape
        self.shape = (*first[:-1], sum(view.shape[-1] for view in views))
        self.dtype = views[0].dtype

    def take(self, indices) -> np.ndarray:
        """Return the rows at `indices` (int array or slice) as one array in memory."""
        return np.concatenate([view.take(indices) for view in self.views], axis=-1)

    def select(self, indices: np.ndarray) -> Rows:
        """Return the rows at `indices`, still where they are stored."""
        return SideBySide([view.select(indices) for view in self.views])


def joined_detector(protocol: Protocol) -> tuple[keras.Model, keras.Model, Callable[..., Rows]]:
    """Return an untrained detector on pictures and their ELA maps, as `split_detector` does on one.

    `protocol` is that of a condition with ELA; for the pictures all else is the same. The detector
    is its own tail: it takes the bottleneck features of both.
    """
    views, trunks = [], []  # how each is prepared, and the trained layers that see it
    for name, way in (("picture", protocol.without_ela()), ("ela_map", protocol)):
        prefix, tail = split_backbone(build_from_protocol(way))
        views.append((prefix, way))
        trunks.append(_up_to_the_pool(tail, name))
    model = _one_head(trunks, protocol)

    def features(manifest: Manifest, cache: Cache, mirror: bool = False) -> SideBySide:
        found = [bottleneck_features(prefix, manifest, way, cache, mirror) for prefix, way in views]
        return SideBySide(found)

    return model, model, features


def _up_to_the_pool(tail: keras.Model, name: str) -> keras.Model:
    x = features = keras.Input(tail.input_shape[1:])
    for layer in tail.layers[1:]:
        x = layer(x)
        if layer.name == "pool":
            break
    return keras.Model(features, x, name=name)


def _one_head(trunks: list[keras.Model], protocol: Protocol) -> keras.Model:
    *size, channels = trunks[0].input_shape[1:]
    side_by_side = keras.Input((*size, channels * len(trunks)))
    views = keras.ops.split(side_by_side, len(trunks), axis=-1)
    pooled = [trunk(view) for trunk, view in zip(trunks, views, strict=True)]
    keras.utils.set_random_seed(protocol.seed)  # the head's start weights
    x = layers.Dense(protocol.dense_units, activation="relu")(layers.Concatenate()(pooled))
    x = layers.Dropout(protocol.dropout, seed=protocol.seed)(x)
    x = layers.Dense(1, name="logit")(x)
    return keras.Model(side_by_side, layers.Activation("sigmoid")(x), name="joined")
