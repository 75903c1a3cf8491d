"""Score many prepared images fast, without TensorFlow: LiteRT on the processor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ddlib._io import cpu_count, ordered_parallel_map
from ddlib.models.inference import Interpreters

_CHUNK = 16  # images that a worker takes at once


class ModelError(ValueError):
    """A file that is no model of ours; the message names it and says what to do."""


class Scorer:
    """The logits of a LiteRT model that `ddlib.deploy.export` wrote; safe to use from threads.

    Parameters
    ----------
    model : path or bytes
        A ``.tflite`` file, or its content.
    workers : int, optional
        Threads; by default one for each processor.

    Attributes
    ----------
    image_size : int
        Side S of the square images that the model takes.

    Raises
    ------
    ModelError
        If the model cannot be read, or does not map one (S, S, 3) uint8 image to one number.

    Examples
    --------
    >>> scorer = Scorer("detector.tflite")                                 # doctest: +SKIP
    >>> scores = 1 / (1 + np.exp(-scorer.logits(images)))                  # doctest: +SKIP
    """

    def __init__(self, model, workers: int | None = None):
        in_memory = isinstance(model, bytes | bytearray)
        self.name = "the model" if in_memory else os.fspath(model)
        self.workers = workers or cpu_count()
        content = bytes(model) if in_memory else Path(model).read_bytes()
        try:
            self._interpreters = Interpreters(content)
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{self.name} cannot be read as a LiteRT model ({error}); "
                "write it anew with `ddlib export`"
            ) from error
        with self._interpreters.borrow() as first:
            self.image_size = self._side(first)

    def logit(self, image: np.ndarray) -> float:
        """Return the logit of one prepared (S, S, 3) uint8 image."""
        return float(self._run(np.asarray(image)[None])[0])

    def logits(self, images) -> np.ndarray:
        """Return the logits (N,) float64 of N prepared images.

        Parameters
        ----------
        images : (N, S, S, 3) uint8 array, memory map or `ddlib.data.cache.Rows`
            Read piece by piece: memory stays bounded however many there are.

        Raises
        ------
        ValueError
            If the images have another size or type than the model takes.
        """
        parts = list(ordered_parallel_map(self._run, image_chunks(images, _CHUNK), self.workers))
        return np.concatenate(parts) if parts else np.zeros(0)

    def _run(self, images: np.ndarray) -> np.ndarray:
        size = self.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"{self.name} takes images (N, {size}, {size}, 3) of uint8; "
                f"got {images.shape} of {images.dtype}"
            )
        return np.asarray(self._interpreters.run(images), np.float64).reshape(len(images))

    def _side(self, interpreter) -> int:
        given, answers = interpreter.get_input_details(), interpreter.get_output_details()
        shape = tuple(int(n) for n in given[0]["shape"])
        fits = len(given) == len(answers) == 1 and given[0]["dtype"] == np.uint8
        fits = fits and len(shape) == 4 and shape == (1, shape[1], shape[1], 3)
        if not fits or np.prod(answers[0]["shape"]) != 1 or answers[0]["dtype"] != np.float32:
            raise ModelError(
                f"{self.name} takes {shape} of {np.dtype(given[0]['dtype'])}; a detector takes one "
                "image (1, S, S, 3) of uint8 and gives one float32: export it with ddlib"
            )
        return shape[1]


def image_chunks(images, size: int) -> Iterator[np.ndarray]:
    """Yield arrays of up to `size` images from an array or from `ddlib.data.cache.Rows`."""
    if hasattr(images, "chunks"):
        yield from images.chunks(size)
    else:
        for start in range(0, len(images), size):
            yield np.asarray(images[start : start + size])
