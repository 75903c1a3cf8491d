"""Run a Keras model's forward pass with LiteRT: on processors several times as fast as TensorFlow.

XNNPACK, which LiteRT calls, folds batch normalisation into the convolutions and keeps no
activations. One interpreter of one thread for each worker beats one interpreter of many threads:
nothing waits for anything, and a worker can prepare the next picture itself.
"""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from ddlib._io import ordered_parallel_map


@lru_cache(maxsize=4)  # so that what is traced for the answer is traced once
def logit_model(model):
    """Return the model up to its layer "logit", for a detector or its tail: logits (N, 1)."""
    import keras

    x = model.input
    for layer in model.layers[1:]:
        x = layer(x)
        if layer.name == "logit":
            return keras.Model(model.input, x, name=f"{model.name}_to_logit")
    raise ValueError(f"model {model.name} has no layer 'logit'")


def fastest(model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model's forward pass by what runs it fastest: a GPU if there is one, or LiteRT."""
    return compiled(model) if has_gpu() else forward(model)


@lru_cache(maxsize=8)  # tracing takes a second, so a model is traced once
def compiled(model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model's forward pass as one compiled function of (N, ...) arrays of any type."""
    import tensorflow as tf

    @tf.function(
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)],
        reduce_retracing=True,
    )
    def forward(batch):
        return model(batch, training=False)

    return lambda batch: forward(np.ascontiguousarray(batch, "float32")).numpy()


SHARE = 8  # images that a thread takes at once


class Interpreters:
    """Interpreters of one LiteRT model, lent to one thread at a time.

    Parameters
    ----------
    content : bytes
        What is in a ``.tflite`` file.

    Raises
    ------
    ValueError or RuntimeError
        If it is no model that LiteRT can run.
    """

    def __init__(self, content: bytes):
        self._content, self._idle = content, queue.LifoQueue()
        with quiet():  # the runtime announces itself once
            self._idle.put(self._open())

    @contextmanager
    def lent(self) -> Iterator:
        """Lend an interpreter; a new one is opened if all are out."""
        try:
            interpreter = self._idle.get_nowait()
        except queue.Empty:
            interpreter = self._open()
        try:
            yield interpreter
        finally:
            self._idle.put(interpreter)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the model's answers (N, ...) to N inputs, one after the other."""
        with self.lent() as interpreter:
            given = interpreter.get_input_details()[0]["index"]
            answer = interpreter.get_output_details()[0]["index"]
            answers = []
            for image in images:
                interpreter.set_tensor(given, image[None])
                interpreter.invoke()
                answers.append(interpreter.get_tensor(answer)[0])
            return np.array(answers)

    def _open(self):
        interpreter = runtime()(model_content=self._content, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter


@lru_cache(maxsize=4)  # converting takes seconds, so a model is converted once
def interpreters(model) -> Interpreters:
    """Return interpreters of a Keras model with one input of a fixed size and one output."""
    return Interpreters(converted(model))


def stream(model, batches: Iterable[np.ndarray], dtype="float32") -> Iterator[np.ndarray]:
    """Yield a Keras model's answers to batches, in order; each processor works on its own batch.

    The answers are those of ``model(x, training=False)`` up to the rounding of float32.

    Parameters
    ----------
    model : keras.Model
        One input of a fixed size, one output.
    batches : iterable of (n, ...) arrays of any number type
        A few images each: a batch is work for one thread.
    dtype : str
        Type of the answers.
    """
    return _answers(interpreters(model), batches, dtype)


def _answers(lend: Interpreters, batches, dtype="float32") -> Iterator[np.ndarray]:
    def run(batch: np.ndarray) -> np.ndarray:
        return lend.run(np.ascontiguousarray(batch, "float32")).astype(dtype, copy=False)

    return ordered_parallel_map(run, batches)


def forward(model):
    """Return a Keras model's forward pass as a function of (N, ...) arrays, as `stream` runs it."""
    lend = interpreters(model)  # kept here, however many other models come between two calls

    def run(batch: np.ndarray) -> np.ndarray:
        share = min(SHARE, -(-len(batch) // (os.cpu_count() or 1)))
        parts = (batch[i : i + share] for i in range(0, len(batch), share))
        return np.concatenate(list(_answers(lend, parts)))

    return run


def converted(model) -> bytes:
    """Return a Keras model as a float32 LiteRT model for one input at a time."""
    import tensorflow as tf

    given = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    traced = tf.function(lambda x: model(x, training=False), input_signature=[given])
    with quiet():  # it advises a way that loses the variables of Keras 3 models
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [traced.get_concrete_function()]
        )
        return converter.convert()


def runtime():
    """Return LiteRT's interpreter: the small package, else (Intel Macs) TensorFlow's own copy."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter
    return Interpreter


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what native code and TensorFlow's logger say for a moment from the terminal."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with _silenced(2):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _silenced(stream: int) -> Iterator[None]:
    """Let what is written to a file descriptor go nowhere for a moment."""
    try:
        kept = os.dup(stream)
    except OSError:  # no standard error to speak of
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream)
        yield
    finally:
        os.dup2(kept, stream)
        os.close(kept)
        os.close(nowhere)


def has_gpu() -> bool:
    """Return whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
