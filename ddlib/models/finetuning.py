"""Train every layer of a detector on augmented images, which is slower than `models.train`.

No layer stays frozen, so nothing can be computed ahead: each image is changed anew in every epoch
(`ddlib.images.perturb`), a window is cut from it, and the whole network learns. The windows are
smaller than the images that the detector scores; global pooling allows that, and a window of 192
pixels costs half of one of 256.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ddlib._utils import digest, ordered_parallel_map
from ddlib.data.batches import class_weights, dataset, epoch_order, validation_batches
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.images.jpeg import recompress
from ddlib.images.perturb import Augmentation, augment, random_window
from ddlib.models.backup import Backup
from ddlib.models.features import weights_digest
from ddlib.models.inference import use_threads
from ddlib.models.train import Trained, build_from_protocol, fit
from ddlib.protocol import TRAIN, Protocol, preset

ALL_LAYERS = 1000  # more than there are: every layer is trained


@dataclass(frozen=True)
class Recipe:
    """How a detector to take away is trained."""

    protocol: Protocol
    augmentation: Augmentation = Augmentation()
    window: int = 192  # pixels; side of the training windows

    def to_dict(self) -> dict:
        """Return the fields as plain values that JSON can hold."""
        return asdict(self) | {"protocol": self.protocol.to_dict()}


def recipe(alpha: float, window: int = 192, **changes) -> Recipe:
    """Return the recipe of the shipped detectors for a width.

    `window` is the side of the training windows in pixels; `changes` are fields of the protocol to
    set otherwise.
    """
    protocol = preset(
        "clean",
        "gan+sd",
        alpha=alpha,
        epochs=12,
        trainable_layers=ALL_LAYERS,
        label_smoothing=0.0,
        dropout=0.2,
        dense_units=256,
        batch_norm_momentum=0.95,
    )
    return Recipe(replace(protocol, **changes), window=window)


def finetune(
    training: Manifest,
    validation: Manifest,
    recipe: Recipe,
    cache: Cache,
    log: Callable[[str], None],
    backup: Path,
) -> Trained:
    """Train a detector and return it at its best epoch by validation loss.

    Both manifests must hold both classes, which weigh the same in the loss whatever their counts.
    `cache` keeps prepared images; `log` gets one line an epoch. In the folder `backup` an
    interrupted training is kept: the next one of the same recipe on the same images goes on there.
    """
    start = time.perf_counter()
    protocol = recipe.protocol
    use_threads(protocol.threads)
    if not 32 <= recipe.window <= protocol.image_size:
        raise ValueError(f"window={recipe.window}; 32 to image_size={protocol.image_size} fit")
    detector = build_from_protocol(protocol)
    start_digest = weights_digest(detector)
    of_any_size = build_from_protocol(protocol, any_size=True)
    of_any_size.set_weights(detector.get_weights())
    plain = load_images(training, replace(protocol, jpeg_quality=None), cache)
    held_out = load_images(validation, protocol, cache)
    facts = recipe.to_dict(), training.digest(), validation.digest(), TRAIN
    kept = Backup(backup / f"{digest(*facts)}.npz")
    if kept.rows:
        log(f"{protocol.run_name}  goes on after epoch {len(kept.rows)}, from {kept.path}")
    data = augmented_batches(plain, training.labels, recipe, kept.first_epoch)
    check = validation_batches(held_out, validation.labels, protocol)
    history = fit(of_any_size, data, check, protocol, log, kept)
    detector.set_weights(of_any_size.get_weights())
    return Trained(detector, protocol, history, start_digest, time.perf_counter() - start)


def augmented_batches(images, labels: np.ndarray, recipe: Recipe, first_epoch: int = 0):
    """Return a `tf.data.Dataset` of (windows, labels, weights); each pass is a new epoch."""
    protocol, weights = recipe.protocol, class_weights(labels)
    epochs = itertools.count(first_epoch)

    def window_of(task) -> np.ndarray:
        row, epoch = task
        rng = np.random.default_rng([protocol.seed, epoch, row])
        image = augment(images.take(slice(row, row + 1))[0], recipe.augmentation, rng)
        if protocol.jpeg_quality is not None:  # as every image that the detector will score
            image = recompress(image, protocol.jpeg_quality)
        return random_window(image, recipe.window, rng)

    def batches() -> Iterator:
        epoch = next(epochs)
        order, _ = epoch_order(len(labels), epoch, protocol.seed, flip=False)
        windows = ordered_parallel_map(window_of, ((row, epoch) for row in order.tolist()))
        for start in range(0, len(order), protocol.batch_size):
            rows = order[start : start + protocol.batch_size]
            yield np.stack([next(windows) for _ in rows]), labels[rows], weights[rows]

    side, steps = recipe.window, -(-len(labels) // protocol.batch_size)
    return dataset(batches, (side, side, 3), np.uint8, steps)
