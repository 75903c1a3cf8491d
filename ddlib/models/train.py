"""Train a detector with its frozen prefix computed once.

The frozen layers give the same output for the same image in every epoch. So they run once for each
image and once for its mirror image; the outputs (features) are kept in the store, and only the tail
is trained. The mathematics is that of training the whole detector: same batches, same losses. Where
the processor multiplies bfloat16, the tail is trained with such products (`ddlib.models.fast_layers`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from ddlib.data.cache import Cache
from ddlib.data.loader import load_images, training_batches, validation_batches
from ddlib.data.manifest import Manifest
from ddlib.mobilenet import build_detector
from ddlib.models.checkpoint import weights_digest
from ddlib.models.fast_layers import (
    FusedAdam,
    multiplies_bfloat16,
    with_fast_layers,
    without_graph_rewriting,
)
from ddlib.models.features import bottleneck_features, choose_feature_dtype, split_backbone
from ddlib.protocol import Protocol


@dataclass
class Trained:
    """A trained detector and how it came about."""

    detector: keras.Model
    history: pd.DataFrame  # a row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds
    best_epoch: int  # counted from 1
    start_digest: str  # of the weights before training
    seconds: float
    feature_dtype: str = "none kept"  # of the stored features
    matmul_dtype: str = "float32"  # of the 1x1 convolutions while training
    parts: tuple[keras.Model, ...] = ()  # prefix and tail, as `split_backbone` cuts the detector


def train(
    training: Manifest,
    validation: Manifest,
    protocol: Protocol,
    cache: Cache | None = None,
    feature_dtype: str | None = None,
    log: Callable[[str], None] = print,
) -> Trained:
    """Train the protocol's detector and return it at its best epoch by validation loss.

    Parameters
    ----------
    training, validation : Manifest
        Must hold both classes; the classes weigh the same in the loss whatever their counts.
    protocol : Protocol
    cache : Cache, optional
        Where images and features are kept.
    feature_dtype : {"float16", "float32"}, optional
        Of the stored features. Half precision halves the disk; float32 repeats plain training
        and its products. By default half where it changes no logit by more than `HALF_ERROR`
        (`choose_feature_dtype`).
    log : callable
        Gets one line an epoch.
    """
    start = time.perf_counter()
    cache = cache or Cache()
    detector = build_from_protocol(protocol)
    start_digest = weights_digest(detector)
    products = "float32" if feature_dtype == "float32" else choose_matmul_dtype(protocol)
    prefix, tail = split_backbone(detector)
    if feature_dtype is None:
        few = load_images(training, protocol, cache).take(slice(0, 8))
        feature_dtype = choose_feature_dtype(prefix, tail, few)
    plain = bottleneck_features(prefix, training, protocol, cache, feature_dtype=feature_dtype)
    mirrored = None
    if protocol.flip:
        mirrored = bottleneck_features(prefix, training, protocol, cache, True, feature_dtype)
    held_out = bottleneck_features(prefix, validation, protocol, cache, feature_dtype=feature_dtype)
    data = training_batches(plain, mirrored, training.labels, protocol)
    check = validation_batches(held_out, validation.labels, protocol)
    history = fit(tail, data, check, protocol, log, products)
    best = int(history["val_loss"].idxmin()) + 1
    seconds = time.perf_counter() - start
    facts = best, start_digest, seconds, feature_dtype, products
    return Trained(detector, history, *facts, (prefix, tail))


def build_from_protocol(protocol: Protocol) -> keras.Model:
    """Build the untrained detector that a protocol asks for."""
    return build_detector(
        alpha=protocol.alpha,
        image_size=protocol.image_size,
        weights=protocol.weights,
        trainable_layers=protocol.trainable_layers,
        dropout=protocol.dropout,
        dense_units=protocol.dense_units,
        pixel_range=protocol.pixel_range,
        batch_norm_momentum=protocol.batch_norm_momentum,
        seed=protocol.seed,
    )


def choose_matmul_dtype(protocol: Protocol) -> str:
    """Return "bfloat16" or "float32": how this processor multiplies in a protocol's training."""
    return "bfloat16" if protocol.bfloat16 and multiplies_bfloat16() else "float32"


def fit(
    model: keras.Model, data, check, protocol: Protocol, log=print, matmul_dtype: str = "float32"
) -> pd.DataFrame:
    """Fit a model (a tail, or a whole detector) and leave it at its best epoch; return the history.

    Binary cross-entropy, Adam; stops when the validation loss has not fallen for
    ``protocol.patience`` epochs. ``matmul_dtype`` is "float32" or "bfloat16" (`ddlib.models.fast_layers`).
    """
    model = with_fast_layers(model, matmul_dtype == "bfloat16")  # the same layers and weights
    keras.utils.set_random_seed(protocol.seed)
    optimizer = FusedAdam(learning_rate(protocol, int(data.cardinality())))
    optimizer.build(model.trainable_variables)  # else Keras traces the whole step twice
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.BinaryCrossentropy(label_smoothing=protocol.label_smoothing),
        weighted_metrics=["accuracy"],
        jit_compile=False,  # compiling takes longer than it saves on a few cores
    )
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=protocol.patience, restore_best_weights=True
    )
    lines = EpochLines(protocol, log)
    with without_graph_rewriting():
        model.evaluate(check.take(1), verbose=0)  # makes the metrics; else the step is traced twice
        model.fit(
            data,
            validation_data=check,
            epochs=protocol.epochs,
            callbacks=[stop, lines],
            shuffle=False,  # `training_batches` shuffles
            verbose=0,
        )
    return pd.DataFrame(lines.rows)


def learning_rate(protocol: Protocol, steps: int):
    """Return the protocol's learning rate, or its schedule for so many steps an epoch.

    "cosine" rises from a twentieth within the first epoch and falls to nothing along half a cosine
    (Loshchilov and Hutter 2017).
    """
    highest = protocol.learning_rate
    if protocol.schedule == "constant":
        return highest
    falling = max(1, steps * (protocol.epochs - 1))
    return keras.optimizers.schedules.CosineDecay(
        highest / 20, falling, warmup_target=highest, warmup_steps=steps
    )


class EpochLines(keras.callbacks.Callback):
    """One line an epoch, and the same as rows of a table."""

    def __init__(self, protocol: Protocol, log: Callable[[str], None]):
        super().__init__()
        self.protocol, self.log, self.rows = protocol, log, []

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Keep and say this epoch's figures."""
        seconds = time.perf_counter() - self.started
        row = {"epoch": epoch + 1, **{k: float(v) for k, v in logs.items()}, "seconds": seconds}
        self.rows.append(row)
        if not np.isfinite(row["loss"]):
            raise FloatingPointError(
                f"{self.protocol.condition}: the loss is {row['loss']} in epoch {epoch + 1}; lower the "
                f"learning rate (it is {self.protocol.learning_rate:g})"
            )
        self.log(
            f"{self.protocol.condition}  epoch {row['epoch']:2d}/{self.protocol.epochs}  "
            f"loss {row['loss']:.3f}  accuracy {row['accuracy']:.3f}  "
            f"val_loss {row['val_loss']:.3f}  val_accuracy {row['val_accuracy']:.3f}  "
            f"{seconds:.1f} s"
        )
