"""Run a Keras model's forward pass: with LiteRT on processors, with TensorFlow on a GPU.

XNNPACK, which LiteRT calls, folds batch normalisation into the convolutions and keeps no
activations: it is several times as fast as TensorFlow. Each worker has an interpreter of one
thread, so that nothing waits and the numbers do not depend on the number of processors.
"""

import contextlib
import logging
import os
import queue
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np

from ddlib._utils import ordered_parallel_map

CHUNK = 8  # images that a thread takes at once


@lru_cache(maxsize=4)  # so that what is traced for the answer is traced once
def logit_model(model):
    """Return a Keras model up to its logit: called on images (N, H, W, C) it gives (N, 1).

    Which models are taken, and which are a ValueError, stands at `LayerOutputs`.
    """
    from ddlib.models.layer_outputs import LayerOutputs

    return LayerOutputs(model)


def keras_logits(model, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Return the logits (N,) float64 of batches (n, ...) as Keras itself computes them."""
    to_logit = compiled(logit_model(model))
    return np.concatenate([to_logit(batch)[:, 0] for batch in batches]).astype("float64")


def fastest(model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the forward pass, of (N, ...) arrays, by a GPU if there is one, or by LiteRT."""
    if has_gpu():
        return compiled(model)
    pool = interpreters(model)

    def run(batch: np.ndarray) -> np.ndarray:
        parts = np.split(batch, range(CHUNK, len(batch), CHUNK))
        return np.concatenate(list(pool.stream(parts)))

    return run


@lru_cache(maxsize=8)  # tracing takes a second
def compiled(model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model's forward pass as one TensorFlow function of (N, ...) arrays."""
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    traced = tf.function(lambda batch: model(batch, training=False), input_signature=signature)
    return lambda batch: traced(np.ascontiguousarray(batch, "float32")).numpy()


class Interpreters:
    """Interpreters of one LiteRT model, each used by one thread at a time.

    `content` is what is in a ``.tflite`` file; LiteRT raises a ValueError or a RuntimeError if it
    cannot run it. Its attributes `inputs` and `outputs` are LiteRT's facts about the tensors.
    """

    def __init__(self, content: bytes):
        self._content, self._idle = content, queue.LifoQueue()
        with silenced():  # the runtime announces itself once
            first = self._open()
        self.inputs, self.outputs = first.get_input_details(), first.get_output_details()
        self._idle.put(first)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the model's outputs (N, ...) for N inputs, one after the other."""
        try:
            interpreter = self._idle.get_nowait()
        except queue.Empty:  # all are in use
            interpreter = self._open()
        outputs = []
        try:
            for image in np.ascontiguousarray(images, self.inputs[0]["dtype"]):
                interpreter.set_tensor(self.inputs[0]["index"], image[None])
                interpreter.invoke()
                outputs.append(interpreter.get_tensor(self.outputs[0]["index"])[0])
        finally:
            self._idle.put(interpreter)
        return np.array(outputs)

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the outputs for batches (n, ...) in order; each processor has its own batch."""
        return ordered_parallel_map(self.run, batches)

    def _open(self):
        interpreter = runtime()(model_content=self._content, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter


@lru_cache(maxsize=4)  # converting takes seconds
def interpreters(model) -> Interpreters:
    """Return interpreters of a Keras model with one input of a fixed size and one output."""
    return Interpreters(converted(model))


def converted(model, from_uint8: bool = False, optimise: Callable | None = None) -> bytes:
    """Return a Keras model as a LiteRT model for one input at a time, float32 or uint8 pixels.

    `optimise` gets the `tf.lite.TFLiteConverter`; it sets options, or returns the model itself. A
    model that LiteRT cannot run is a ValueError.
    """
    import tensorflow as tf

    size, dtype = model.input_shape[1:], tf.uint8 if from_uint8 else tf.float32
    if None in size or (from_uint8 and (size[0] != size[1] or size[2:] != (3,))):
        raise ValueError(
            f"model {model.name!r} takes images (H, W, C) of {size}; a detector that is scored or "
            "exported takes square RGB images of one size, (S, S, 3)"
        )
    given = tf.TensorSpec((1, *size), dtype, name="image")
    traced = tf.function(
        lambda x: model(tf.cast(x, tf.float32), training=False), input_signature=[given]
    )
    functions = [traced.get_concrete_function()]
    # it advises a way that loses the variables of Keras 3 models, and warns of its own parts
    with silenced(), warnings.catch_warnings(action="ignore"):
        converter = tf.lite.TFLiteConverter.from_concrete_functions(functions)
        made = optimise(converter) if optimise else None
        try:
            return made or converter.convert()
        except Exception as error:  # the converter's own class is not public
            raise ValueError(
                f"model {model.name!r} cannot be converted: LiteRT lacks something that its layers "
                "do, such as computing in float16; save it with the dtype policy float32"
            ) from error


def runtime():
    """Return LiteRT's interpreter: the small package, else (Intel Macs) TensorFlow's own copy."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter
    return Interpreter


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep what native code and TensorFlow's logger print off the terminal for a moment."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        stack.callback(logger.setLevel, level)
        with contextlib.suppress(OSError):  # there may be no standard error
            stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            for descriptor in (stderr, nowhere):
                stack.callback(os.close, descriptor)
            stack.callback(os.dup2, stderr, 2)
            os.dup2(nowhere, 2)
        yield


@contextlib.contextmanager
def graphs_as_written() -> Iterator[None]:
    """Let TensorFlow run graphs as they are written, without rewriting them first, for the block.

    Rewriting the graph of a training step takes seconds a model and saves less on a processor. On a
    GPU it chooses the order of axes as well, so there it stays.
    """
    import tensorflow as tf

    name = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(name, False)
    tf.config.optimizer.set_experimental_options({name: before or not has_gpu()})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def has_gpu() -> bool:
    """Return whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def use_threads(n: int) -> None:
    """Let TensorFlow compute with `n` threads, or check that it does if it has started.

    How a sum of floating-point numbers is rounded depends on how many threads share it. If
    TensorFlow has started with another number, it is a RuntimeError.
    """
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(n)
        tf.config.threading.set_inter_op_parallelism_threads(n)
    except RuntimeError as error:  # it has started, with what `ddlib` set in the environment
        started_with = os.environ.get("TF_NUM_INTRAOP_THREADS", "as many as there are processors")
        if started_with != str(n):
            raise RuntimeError(
                f"the protocol asks for threads={n}, but TensorFlow has started with "
                f"{started_with}; restart Python and train before anything else uses TensorFlow"
            ) from error
