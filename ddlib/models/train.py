"""Train a detector with its frozen prefix computed once.

The frozen layers give the same output for the same image in every epoch. So they run once for each
image and once for its mirror image, the outputs (bottleneck features) are kept in the cache, and
only the tail is trained. The mathematics is that of training the whole detector.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from ddlib._utils import atomic_write, file_digest, write_json
from ddlib.data.batches import training_batches, validation_batches
from ddlib.data.cache import Cache, Rows
from ddlib.data.manifest import Manifest
from ddlib.mobilenet import build_detector
from ddlib.models.backup import Backup
from ddlib.models.features import BATCH, bottleneck_features, split_backbone, weights_digest
from ddlib.models.fused_norm import with_fused_norms
from ddlib.models.inference import graphs_as_written, keras_logits, use_threads
from ddlib.protocol import Protocol


@dataclass
class Trained:
    """A trained detector and how it came about."""

    detector: keras.Model
    protocol: Protocol
    history: pd.DataFrame  # a row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds
    start_digest: str  # of the weights before training
    seconds: float
    tail: keras.Model | None = None  # the layers that were trained, where the others were frozen
    features: Callable[..., Rows] | None = None  # (manifest, cache, mirror) -> what `tail` takes

    def keras_model(self) -> keras.Model:
        """Return the detector, as `GradCAM` asks for it."""
        return self.detector

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, whose weights are kept; counted from 1."""
        return int(self.history["val_loss"].idxmin()) + 1

    def logits(self, manifest: Manifest, cache: Cache) -> np.ndarray:
        """Return the logits (N,) float64 of a manifest's images, from bottleneck features."""
        return keras_logits(self.tail, self.features(manifest, cache).chunks(BATCH))


def split_detector(protocol: Protocol) -> tuple[keras.Model, keras.Model, Callable[..., Rows]]:
    """Return a protocol's untrained detector, its trained tail, and what gives the tail its input.

    The latter is a function (manifest, cache, mirror=False) -> `Rows` of bottleneck features.
    """
    detector = build_from_protocol(protocol)
    prefix, tail = split_backbone(detector)

    def features(manifest: Manifest, cache: Cache, mirror: bool = False) -> Rows:
        return bottleneck_features(prefix, manifest, protocol, cache, mirror)

    return detector, tail, features


def train_detector(
    training: Manifest,
    validation: Manifest,
    protocol: Protocol,
    cache: Cache | None = None,
    log: Callable[[str], None] = print,
    pool: Manifest | None = None,
    build: Callable = split_detector,
) -> Trained:
    """Train the protocol's detector and return it at its best epoch by validation loss.

    Both manifests must hold both classes, which weigh the same in the loss whatever their counts.
    `cache` keeps images and features; `log` gets one line an epoch.

    `pool` holds the images whose features are kept, of which `training` is a part: trainings on
    many parts of one pool share its features. By default `training` itself. `build` makes the
    network as `split_detector` does.
    """
    start = time.perf_counter()
    use_threads(protocol.threads)
    detector, tail, features = build(protocol)
    start_digest = weights_digest(detector)
    cache, pool = cache or Cache(), training if pool is None else pool
    chosen = pool.positions(training)
    mirrored = features(pool, cache, mirror=True).select(chosen) if protocol.flip else None
    plain = features(pool, cache).select(chosen)
    data = training_batches(plain, mirrored, training.labels, protocol)
    check = validation_batches(features(validation, cache), validation.labels, protocol)
    history = fit(tail, data, check, protocol, log)
    seconds = time.perf_counter() - start
    return Trained(detector, protocol, history, start_digest, seconds, tail, features)


def recompute_batch_norm(trained: Trained, training: Manifest, cache: Cache, pool: Manifest):
    """Set the statistics of the trained batch normalisations to their mean over training batches.

    In a short training the running statistics lag behind the weights; here the weights stay and
    only the statistics are computed, batch by batch, from the training images without mirroring.
    """
    features = trained.features(pool, cache).select(pool.positions(training))
    norms = [x for x in trained.tail.layers if isinstance(x, keras.layers.BatchNormalization)]
    order = np.random.default_rng(trained.protocol.seed).permutation(len(training))
    size = trained.protocol.batch_size
    for number, start in enumerate(range(0, len(order), size)):
        for layer in norms:
            layer.momentum = number / (number + 1)  # the mean of all batches so far
        batch = features.take(order[start : start + size]).astype("float32")
        trained.tail(batch, training=True)
    for layer in norms:
        layer.momentum = trained.protocol.batch_norm_momentum


def build_from_protocol(protocol: Protocol, any_size: bool = False) -> keras.Model:
    """Build the untrained detector that a protocol asks for, of its image size or of any."""
    return build_detector(
        alpha=protocol.alpha,
        image_size=None if any_size else protocol.image_size,
        weights=protocol.weights,
        trainable_layers=protocol.trainable_layers,
        dropout=protocol.dropout,
        dense_units=protocol.dense_units,
        pixel_range=protocol.pixel_range,
        batch_norm_momentum=protocol.batch_norm_momentum,
        seed=protocol.seed,
    )


def fit(
    model: keras.Model, data, check, protocol: Protocol, log=print, backup: Backup | None = None
) -> pd.DataFrame:
    """Fit a model (a tail, or a whole detector) and leave it at its best epoch.

    Binary cross-entropy, Adam; stops when the validation loss has not fallen for
    ``protocol.patience`` epochs. `data` and `check` are the training and validation batches, a
    `tf.data.Dataset` of (images or features, labels, weights). With a `backup` a training that was
    interrupted goes on after its last finished epoch, where `data` must begin too.

    Returns
    -------
    DataFrame
        A row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds. A loss that is NaN
        or infinite is a FloatingPointError.
    """
    keras.utils.set_random_seed(protocol.seed)
    model = with_fused_norms(model)  # of the same weights
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate(protocol, int(data.cardinality()))),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=protocol.label_smoothing),
        weighted_metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
        jit_compile=False,  # compiling takes longer than it saves on a few cores
    )
    # a variable made within the training step has TensorFlow trace it twice, which takes seconds:
    # hence the optimiser's are made here, and the metric is given as an object that has its own
    model.optimizer.build(model.trainable_variables)
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=protocol.patience, restore_best_weights=True
    )
    history = EpochLog(protocol, log)
    callbacks = [stop, history]
    if backup is not None:
        backup.stop, backup.history = stop, history
        callbacks.append(backup)
    with graphs_as_written():
        model.fit(
            data,
            validation_data=check,
            epochs=protocol.epochs,
            initial_epoch=backup.first_epoch if backup else 0,
            callbacks=callbacks,
            shuffle=False,  # `training_batches` shuffles
            verbose=0,
        )
    return pd.DataFrame(history.rows)


def learning_rate(protocol: Protocol, steps: int):
    """Return the protocol's learning rate, or its schedule for so many steps an epoch.

    "cosine" is a warm-up for one epoch, then cosine decay to zero (Loshchilov and Hutter 2017).
    """
    highest = protocol.learning_rate
    if protocol.schedule == "constant":
        return highest
    falling = max(1, steps * (protocol.epochs - 1))
    return keras.optimizers.schedules.CosineDecay(
        highest / 20, falling, warmup_target=highest, warmup_steps=steps
    )


class EpochLog(keras.callbacks.Callback):
    """One line an epoch, and the same as rows of a table."""

    def __init__(self, protocol: Protocol, log: Callable[[str], None]):
        super().__init__()
        self.protocol, self.log, self.rows = protocol, log, []

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Keep and log this epoch's figures."""
        seconds = time.perf_counter() - self.started
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        self.rows.append(row | {"seconds": seconds})
        if not np.isfinite(row["loss"]):
            raise FloatingPointError(
                f"{self.protocol.run_name}: the loss is {row['loss']} in epoch {epoch + 1}; lower "
                f"the learning rate (it is {self.protocol.learning_rate:g})"
            )
        self.log(
            f"{self.protocol.run_name}  epoch {row['epoch']:2d}/{self.protocol.epochs}  "
            f"loss {row['loss']:.3f}  accuracy {row['accuracy']:.3f}  "
            f"val_loss {row['val_loss']:.3f}  val_accuracy {row['val_accuracy']:.3f}  "
            f"{seconds:.1f} s"
        )


def save_detector(detector: keras.Model, path: Path, protocol: Protocol, facts=None) -> Path:
    """Write a detector to `path` (.keras) and what made it, `facts` too, to a .json beside it."""
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"{path} must end in .keras, Keras's own format")
    with atomic_write(path) as unfinished:
        detector.save(unfinished)
        card = {
            "protocol": protocol.to_dict(),
            "sha256": file_digest(unfinished),
            "provenance": facts or {},
        }
        write_json(path.with_suffix(".json"), card)
    return path
