"""Train every layer of a detector on augmented pictures: slower than `ddlib.models.train`, and better.

No layer stays frozen, so nothing can be computed ahead: each picture is changed anew in every epoch
(`ddlib.images.perturb`), a window is cut from it, and the whole network learns. The windows are smaller
than the pictures that the detector scores; global pooling makes it indifferent to that, and a
window of 192 pixels costs half of one of 256.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import keras
import numpy as np

from ddlib._io import ordered_parallel_map
from ddlib.data.cache import Cache
from ddlib.data.loader import class_weights, dataset, load_images, validation_batches
from ddlib.data.manifest import Manifest
from ddlib.images.jpeg import recompress
from ddlib.images.perturb import Augmentation, augment, random_window
from ddlib.mobilenet import build_detector
from ddlib.models.checkpoint import weights_digest
from ddlib.models.train import Trained, build_from_protocol, fit
from ddlib.protocol import Protocol, preset

ALL_LAYERS = 1000  # more than there are: every layer is trained


@dataclass(frozen=True)
class Recipe:
    """How a detector to take away is trained."""

    protocol: Protocol
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    window: int = 192  # pixels; side of the training windows
    first_stride: int = (
        2  # 1: no early downsampling (Gragnaniello et al. 2021), four times the work
    )

    def to_dict(self) -> dict:
        """Return the fields as plain values that JSON can hold."""
        augmentation = None if self.augmentation is None else self.augmentation.to_dict()
        own = {"window": self.window, "first_stride": self.first_stride}
        return {**own, "augmentation": augmentation, "protocol": self.protocol.to_dict()}


def recipe(alpha: float, epochs: int = 12, **changes) -> Recipe:
    """Return the recipe of the shipped detectors for a width and a number of epochs.

    Parameters
    ----------
    alpha : float
    epochs : int
    **changes
        Fields of `Recipe`, or of its protocol, to set otherwise.
    """
    own = {name: changes.pop(name) for name in ("augmentation", "window", "first_stride")
           if name in changes}  # fmt: skip
    fields = {
        **{"alpha": alpha, "epochs": epochs, "trainable_layers": ALL_LAYERS},
        **{"learning_rate": 1e-3, "label_smoothing": 0.0, "dropout": 0.2},
        **{"dense_units": 256, "batch_norm_momentum": 0.95, "bfloat16": False},
    }
    return Recipe(preset("clean", "gan+sd", **{**fields, **changes}), **own)


def finetune(
    training: Manifest,
    validation: Manifest,
    recipe: Recipe,
    cache: Cache | None = None,
    log: Callable[[str], None] = print,
) -> Trained:
    """Train a detector and return it at its best epoch by validation loss.

    Parameters
    ----------
    training, validation : Manifest
        Both classes in each; the classes weigh the same in the loss whatever their counts.
    recipe : Recipe
    cache : Cache, optional
        Where prepared pictures are kept.
    log : callable
        Gets one line an epoch.
    """
    start = time.perf_counter()
    protocol, cache = recipe.protocol, cache or Cache()
    if not 32 <= recipe.window <= protocol.image_size:
        raise ValueError(f"window={recipe.window}; 32 to image_size={protocol.image_size} fit")
    detector = build_from_protocol(protocol)
    start_digest = weights_digest(detector)
    twin = build_detector(
        protocol.alpha, None, None, protocol.trainable_layers, protocol.dropout, protocol.dense_units,
        protocol.pixel_range, protocol.batch_norm_momentum, protocol.seed,
    )  # fmt: skip
    detector, twin = (_first_stride(model, recipe.first_stride) for model in (detector, twin))
    twin.set_weights(detector.get_weights())
    plain = load_images(training, replace(protocol, jpeg_quality=None), cache)
    held_out = load_images(validation, protocol, cache)
    history = fit(
        *(twin, augmented_batches(plain, training.labels, recipe)),
        *(validation_batches(held_out, validation.labels, protocol), protocol, log),
    )
    detector.set_weights(twin.get_weights())
    best = int(history["val_loss"].idxmin()) + 1
    return Trained(detector, history, best, start_digest, time.perf_counter() - start)


def augmented_batches(pictures, labels: np.ndarray, recipe: Recipe):
    """Return a `tf.data.Dataset` of (windows, labels, weights); each pass is a new epoch."""
    protocol, weights, epochs = recipe.protocol, class_weights(labels), itertools.count()

    def one(task):
        row, seed = task
        image, rng = pictures.take(slice(row, row + 1))[0], np.random.default_rng(seed)
        if recipe.augmentation is not None:
            image = augment(image, recipe.augmentation, rng)
        if protocol.jpeg_quality is not None:  # as every picture that the detector will score
            image = recompress(image, protocol.jpeg_quality)
        return random_window(image, recipe.window, rng)

    def rows() -> Iterator:
        epoch = next(epochs)
        order = np.random.default_rng([protocol.seed, epoch]).permutation(len(labels))
        windows = ordered_parallel_map(
            one, ((row, [protocol.seed, epoch, row]) for row in order.tolist())
        )
        for start in range(0, len(order), protocol.batch_size):
            chosen = order[start : start + protocol.batch_size]
            batch = np.stack([next(windows) for _ in chosen])
            yield batch, labels[chosen], weights[chosen]

    side, steps = recipe.window, -(-len(labels) // protocol.batch_size)
    return dataset(rows, (side, side, 3), np.uint8, steps)


def _first_stride(model: keras.Model, stride: int) -> keras.Model:
    """Return the same network with another stride of its first convolution."""
    if stride == 2:
        return model
    config = model.get_config()
    for layer in config["layers"]:
        if layer["name"] == "conv1":
            layer["config"]["strides"] = (stride, stride)
    changed = keras.Model.from_config(config)
    changed.set_weights(model.get_weights())
    return changed
