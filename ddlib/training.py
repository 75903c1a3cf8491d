"""Train a detector with its frozen prefix computed once.

The frozen layers give the same output for the same image in every epoch. So they run once for each
image and once for its mirror image; the outputs (features) are kept in the store, and only the tail
is trained. The mathematics is that of training the whole detector: same batches, same losses. Where
the processor multiplies bfloat16, the tail is trained with such products (`ddlib.fusing`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import keras
import numpy as np
import pandas as pd

from ddlib import litert
from ddlib.batches import (
    block_key,
    gather_blocks,
    load_images,
    training_batches,
    validation_batches,
)
from ddlib.fusing import as_written, fused, has_gpu, multiplies_bfloat16
from ddlib.manifest import Manifest
from ddlib.mobilenet import build_from, split_prefix, weights_digest, without_score
from ddlib.protocol import Protocol
from ddlib.store import Rows, Store, StoredArray

HALF_ERROR = 0.01  # of a logit; a score moves by a quarter of that at most
_BATCH = 64  # images a forward pass of the prefix; larger is not faster on two cores


@dataclass
class Trained:
    """A trained detector and how it came about."""

    detector: keras.Model
    history: pd.DataFrame  # a row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds
    best_epoch: int  # counted from 1
    start_digest: str  # of the weights before training
    seconds: float
    precision: str = "none kept"  # of the stored features
    products: str = "float32"  # of the 1x1 convolutions while training
    parts: tuple[keras.Model, ...] = ()  # prefix and tail, as `split_prefix` cuts the detector


def train(
    training: Manifest,
    validation: Manifest,
    protocol: Protocol,
    store: Store | None = None,
    precision: str | None = None,
    say: Callable[[str], None] = print,
) -> Trained:
    """Train the protocol's detector and return it at its best epoch by validation loss.

    Parameters
    ----------
    training, validation : Manifest
        Must hold both classes; the classes weigh the same in the loss whatever their counts.
    protocol : Protocol
    store : Store, optional
        Where images and features are kept.
    precision : {"float16", "float32"}, optional
        Of the stored features. Half precision halves the disk; float32 repeats plain training
        and its products. By default half where it changes no logit by more than `HALF_ERROR`
        (`measured_precision`).
    say : callable
        Gets one line an epoch.
    """
    start = time.perf_counter()
    store = store or Store()
    detector = build_from(protocol)
    start_digest = weights_digest(detector)
    products = "float32" if precision == "float32" else products_of(protocol)
    prefix, tail = split_prefix(detector)
    if precision is None:
        few = load_images(training, protocol, store).take(slice(0, 8))
        precision = measured_precision(prefix, tail, few)
    plain = prefix_features(prefix, training, protocol, store, precision=precision)
    mirrored = None
    if protocol.flip:
        mirrored = prefix_features(prefix, training, protocol, store, True, precision)
    held_out = prefix_features(prefix, validation, protocol, store, precision=precision)
    data = training_batches(plain, mirrored, training.labels, protocol)
    check = validation_batches(held_out, validation.labels, protocol)
    history = fit(tail, data, check, protocol, say, products)
    best = int(history["val_loss"].idxmin()) + 1
    seconds = time.perf_counter() - start
    facts = best, start_digest, seconds, precision, products
    return Trained(detector, history, *facts, (prefix, tail))


def products_of(protocol: Protocol) -> str:
    """Return "bfloat16" or "float32": how this processor multiplies in a protocol's training."""
    return "bfloat16" if protocol.half_products and multiplies_bfloat16() else "float32"


def fit(
    model: keras.Model, data, check, protocol: Protocol, say=print, products: str = "float32"
) -> pd.DataFrame:
    """Fit a model (a tail, or a whole detector) and leave it at its best epoch; return the history.

    Binary cross-entropy, Adam; stops when the validation loss has not fallen for
    ``protocol.patience`` epochs. ``products`` is "float32" or "bfloat16" (`ddlib.fusing`).
    """
    model = fused(model, products == "bfloat16")  # the same layers and weights
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
    lines = EpochLines(protocol, say)
    with as_written():
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


class FusedAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) whose update is one TensorFlow operation a weight, not twelve.

    The mathematics is Keras's. A small network has as many weights as a large one, and spends a
    tenth of each step and a quarter of its tracing on these.
    """

    def apply(self, grads, trainable_variables=None):
        """Update all weights; what is the same for all is computed once."""
        import tensorflow as tf

        step = tf.cast(self.iterations + 1, tf.float32)
        betas = {"beta1": tf.constant(self.beta_1), "beta2": tf.constant(self.beta_2)}
        powers = {f"{name}_power": tf.pow(beta, step) for name, beta in betas.items()}
        self._shared = {**betas, **powers, "epsilon": tf.constant(self.epsilon)}
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        """Update one weight and its two moments."""
        import tensorflow as tf

        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            **{"var": variable.handle, "grad": gradient, "lr": learning_rate},
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            **self._shared,
        )


class EpochLines(keras.callbacks.Callback):
    """One line an epoch, and the same as rows of a table."""

    def __init__(self, protocol: Protocol, say: Callable[[str], None]):
        super().__init__()
        self.protocol, self.say, self.rows = protocol, say, []

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
                f"{self.protocol.model}: the loss is {row['loss']} in epoch {epoch + 1}; lower the "
                f"learning rate (it is {self.protocol.learning_rate:g})"
            )
        self.say(
            f"{self.protocol.model}  epoch {row['epoch']:2d}/{self.protocol.epochs}  "
            f"loss {row['loss']:.3f}  accuracy {row['accuracy']:.3f}  "
            f"val_loss {row['val_loss']:.3f}  val_accuracy {row['val_accuracy']:.3f}  "
            f"{seconds:.1f} s"
        )


def prefix_features(
    prefix: keras.Model,
    manifest: Manifest,
    protocol: Protocol,
    store: Store,
    mirror: bool = False,
    precision: str = "float16",
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
        images = load_images(block, protocol, store)
        chunks = partial(_answers, prefix, images, mirror, precision)
        return store.array("features", key, shape, precision, chunks)

    return gather_blocks(manifest, load_block)


def measured_precision(prefix: keras.Model, tail: keras.Model, images: np.ndarray) -> str:
    """Return "float16" if features kept in it give the same logits (N images), else "float32"."""
    features, to_logit = fastest(prefix)(images), compiled(without_score(tail))
    with np.errstate(over="ignore"):  # beyond 65,504 half precision is infinite, and too coarse
        half = features.astype("float16").astype("float32")
    error = np.abs(to_logit(features) - to_logit(half)).max()
    return "float16" if error <= HALF_ERROR else "float32"


def _answers(model: keras.Model, images: Rows, mirror: bool, dtype: str) -> Iterator[np.ndarray]:
    # LiteRT rounds otherwise than TensorFlow, in the last bits, and Adam's first steps enlarge
    # that; who asks for float32 wants plain training repeated.
    by_tensorflow = dtype == "float32" or has_gpu()
    batches = images.chunks(_BATCH if by_tensorflow else litert.SHARE)
    if mirror:
        batches = (batch[:, :, ::-1] for batch in batches)
    if by_tensorflow:
        return map(compiled(model), batches)
    return litert.stream(model, batches, dtype)


def fastest(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model's forward pass by what runs it fastest: a GPU if there is one, or LiteRT."""
    return compiled(model) if has_gpu() else litert.forward(model)


@lru_cache(maxsize=8)  # tracing takes a second, so a model is traced once
def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model's forward pass as one compiled function of (N, ...) arrays of any type."""
    import tensorflow as tf

    @tf.function(
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)],
        reduce_retracing=True,
    )
    def forward(batch):
        return model(batch, training=False)

    return lambda batch: forward(np.ascontiguousarray(batch, "float32")).numpy()


def score_features(tail: keras.Model, features: Rows) -> np.ndarray:
    """Return the logits (N,) float64 that a detector's tail gives to prefix features."""
    to_logit = compiled(without_score(tail))
    return np.concatenate([to_logit(batch)[:, 0] for batch in features.chunks(_BATCH)]).astype(
        "float64"
    )
