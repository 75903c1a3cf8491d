"""Score many prepared images fast, without TensorFlow: LiteRT on the processor.

A detector is scored from its ``.tflite`` file. One interpreter of one thread for each worker beats
one interpreter of many threads (``tests/benchmarks/bench_scoring.py``): nothing waits for anything,
and a worker can decode and prepare the next picture itself. Memory stays bounded however many
pictures there are.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ddlib.parallel import in_order

_CHUNK = 16  # images that a worker takes at once


class ModelError(ValueError):
    """A file that is no model of ours; the message names it and says what to do."""


class Scorer:
    """The logits of a LiteRT model that `ddlib.deploy.export` wrote; safe to use from threads.

    Parameters
    ----------
    model : path or bytes
        A ``.tflite`` file, or what is in one.
    workers : int, optional
        Threads; by default one for each processor.

    Attributes
    ----------
    image_size : int
        Side S of the square pictures that the model takes.
    kind : {"float32", "float16", "int8"}
        Numbers that its weights are kept in.
    bytes : int
        Size of the model.

    Raises
    ------
    ModelError
        If the model cannot be read, or does not map one (S, S, 3) uint8 picture to one number.

    Examples
    --------
    >>> scorer = Scorer("detector.tflite")                                 # doctest: +SKIP
    >>> scores = 1 / (1 + np.exp(-scorer.logits(images)))                  # doctest: +SKIP
    """

    def __init__(self, model, workers: int | None = None):
        in_memory = isinstance(model, bytes | bytearray)
        self.name = "the model" if in_memory else os.fspath(model)
        self.workers = workers or os.cpu_count() or 1
        self._content = bytes(model) if in_memory else Path(model).read_bytes()
        self._idle: queue.LifoQueue = queue.LifoQueue()
        self.bytes = len(self._content)
        with quiet():  # the runtime announces itself once
            first = self._open()
        self.image_size = self._side(first)
        self.kind = _kind(first)
        self._idle.put(first)

    def logit(self, image: np.ndarray) -> float:
        """Return the logit of one prepared (S, S, 3) uint8 picture."""
        return float(self._run(np.asarray(image)[None])[0])

    def logits(self, images) -> np.ndarray:
        """Return the logits (N,) float64 of N prepared pictures.

        Parameters
        ----------
        images : (N, S, S, 3) uint8 array, memory map or `ddlib.store.Rows`
            Read piece by piece.

        Raises
        ------
        ValueError
            If the pictures have another size or type than the model takes.
        """
        parts = list(in_order(self._run, _chunks(images), self.workers))
        return np.concatenate(parts) if parts else np.zeros(0)

    def _run(self, images: np.ndarray) -> np.ndarray:
        size = self.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"{self.name} takes pictures (N, {size}, {size}, 3) of uint8; "
                f"got {images.shape} of {images.dtype}"
            )
        interpreter = self._borrow()
        try:
            given = interpreter.get_input_details()[0]["index"]
            answer = interpreter.get_output_details()[0]["index"]
            logits = np.empty(len(images))
            for i, image in enumerate(images):
                interpreter.set_tensor(given, image[None])
                interpreter.invoke()
                logits[i] = interpreter.get_tensor(answer).item()
            return logits
        finally:
            self._idle.put(interpreter)

    def _borrow(self):
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._open()

    def _open(self):
        try:
            interpreter = _runtime()(model_content=self._content, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{self.name} cannot be read as a LiteRT model ({error}); "
                "write it anew with `ddlib export`"
            ) from error
        return interpreter

    def _side(self, interpreter) -> int:
        given, answers = interpreter.get_input_details(), interpreter.get_output_details()
        shape = tuple(int(n) for n in given[0]["shape"])
        fits = len(given) == len(answers) == 1 and given[0]["dtype"] == np.uint8
        fits = fits and len(shape) == 4 and shape == (1, shape[1], shape[1], 3)
        if not fits or np.prod(answers[0]["shape"]) != 1 or answers[0]["dtype"] != np.float32:
            raise ModelError(
                f"{self.name} takes {shape} of {np.dtype(given[0]['dtype'])}; a detector takes one "
                "picture (1, S, S, 3) of uint8 and gives one float32: export it with ddlib"
            )
        return shape[1]


def _chunks(images) -> Iterator[np.ndarray]:
    if hasattr(images, "chunks"):
        yield from images.chunks(_CHUNK)
        return
    for start in range(0, len(images), _CHUNK):
        yield np.asarray(images[start : start + _CHUNK])


def _runtime():
    """Return LiteRT's interpreter: the small package, else (Intel Macs) TensorFlow's own copy."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter
    return Interpreter


def _kind(interpreter) -> str:
    if interpreter.get_input_details()[0]["quantization"][0]:
        return "int8"
    types = {tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    return "float16" if np.float16 in types else "float32"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what native code writes to standard error for a moment from the terminal."""
    try:
        kept = os.dup(2)
    except OSError:  # no standard error to speak of
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
