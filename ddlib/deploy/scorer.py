"""Score many prepared images fast, without TensorFlow: LiteRT on the processor."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ddlib._io import cpu_count, ordered_parallel_map
from ddlib.models.inference import Interpreters

_CHUNK = 16  # images that a worker takes at once
KERAS_BATCH = 8  # images a forward pass of Keras, which holds their activations


class DetectorError(ValueError):
    """A detector that is not there, not whole, not what its card says, or that gives no number."""


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
    DetectorError
        If the model cannot be read, or does not map one (S, S, 3) uint8 image to one number.
    """

    def __init__(self, model, workers: int | None = None):
        in_memory = isinstance(model, bytes)
        self.name = "the model" if in_memory else os.fspath(model)
        self.workers = workers or cpu_count()
        try:
            self._interpreters = Interpreters(model if in_memory else Path(model).read_bytes())
        except (ValueError, RuntimeError) as error:
            raise DetectorError(
                f"{self.name} cannot be read as a LiteRT model ({error}); "
                "write it anew with `ddlib export`"
            ) from error
        given, answers = self._interpreters.inputs, self._interpreters.outputs
        shape, dtype = tuple(given[0]["shape"].tolist()), np.dtype(given[0]["dtype"])
        side = shape[1] if len(shape) == 4 else 0
        answer = answers[0]["shape"].tolist(), answers[0]["dtype"]
        expected = (1, side, side, 3), np.uint8, ([1, 1], np.float32)
        if len(given) != 1 or len(answers) != 1 or (shape, dtype, answer) != expected:
            raise DetectorError(
                f"{self.name} takes {shape} of {dtype}; a detector takes one image (1, S, S, 3) of "
                "uint8 and gives one float32 (1, 1): export it with ddlib"
            )
        self.image_size = side

    def logit(self, image: np.ndarray) -> float:
        """Return the logit of one prepared (S, S, 3) uint8 image."""
        return float(self._run(np.asarray(image)[None])[0])

    def logits(self, images) -> np.ndarray:
        """Return the logits (N,) float64 of prepared images (N, S, S, 3) uint8.

        An array, a memory map or `ddlib.data.cache.Rows` is read piece by piece: memory stays
        bounded however many there are. Images of another size or type are a ValueError.
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
        logits = np.asarray(self._interpreters.run(images), np.float64).reshape(len(images))
        if not np.isfinite(logits).all():
            wrong = logits[~np.isfinite(logits)][0]
            raise DetectorError(
                f"{self.name} gives {wrong} for an image: its weights are damaged, or its training "
                "diverged; train or export it again"
            )
        return logits


def image_chunks(images, size: int = KERAS_BATCH) -> Iterator[np.ndarray]:
    """Yield arrays of up to `size` images from an array or from `ddlib.data.cache.Rows`."""
    if hasattr(images, "chunks"):
        yield from images.chunks(size)
    else:
        for start in range(0, len(images), size):
            yield np.asarray(images[start : start + size])
