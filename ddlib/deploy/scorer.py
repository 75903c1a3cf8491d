"""Score many prepared images fast, without TensorFlow: LiteRT on the processor."""

from collections.abc import Iterable

import numpy as np

from ddlib._utils import cpu_count, ordered_parallel_map
from ddlib.data.cache import Rows
from ddlib.models.inference import Interpreters

_CHUNK = 16  # images that a worker takes at once
KERAS_BATCH = 8  # images a forward pass of Keras, which holds their activations


class DetectorError(ValueError):
    """A detector that is not there, not whole, not what its card says, or that gives no number."""


class Scorer:
    """The logits of a LiteRT model that `ddlib.deploy.export` wrote; safe to use from threads.

    `content` is that of a ``.tflite`` file, `workers` the number of threads, by default one for
    each processor; errors call the model by its `name`. ``image_size`` is the side S of the images
    that it takes. A DetectorError if it cannot be read, or does not map one (S, S, 3) uint8 image
    to one number.
    """

    def __init__(self, content: bytes, workers: int | None = None, name: str = "the model"):
        self.name, self.workers = name, workers or cpu_count()
        try:
            self._interpreters = Interpreters(content)
        except (ValueError, RuntimeError) as error:
            raise DetectorError(
                f"{self.name} cannot be read as a LiteRT model ({error}); "
                "write it anew with `ddlib export`"
            ) from error
        tensors = (*self._interpreters.inputs, *self._interpreters.outputs)
        found = [(tuple(each["shape"].tolist()), np.dtype(each["dtype"]).name) for each in tensors]
        self.image_size = side = max(found[0][0], default=0)
        if found != [((1, side, side, 3), "uint8"), ((1, 1), "float32")]:
            raise DetectorError(
                f"{self.name} takes and gives {found}; a detector takes one image (1, S, S, 3) of "
                "uint8 and gives one float32 (1, 1): export it with ddlib"
            )

    def logit(self, image: np.ndarray) -> float:
        """Return the logit of one prepared (S, S, 3) uint8 image."""
        return float(self._run(np.asarray(image)[None])[0])

    def logits(self, images) -> np.ndarray:
        """Return the logits (N,) float64 of prepared images (N, S, S, 3) uint8.

        An array, a memory map or `ddlib.data.cache.Rows` is read piece by piece: memory stays
        bounded however many there are. Images of another size or type are a ValueError.
        """
        parts = image_chunks(images, _CHUNK)
        return np.concatenate(list(ordered_parallel_map(self._run, parts, self.workers)))

    def _run(self, images: np.ndarray) -> np.ndarray:
        size = self.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"{self.name} takes images (N, {size}, {size}, 3) of uint8; "
                f"got {images.shape} of {images.dtype}"
            )
        logits = np.asarray(self._interpreters.run(images), np.float64).reshape(len(images))
        wrong = logits[~np.isfinite(logits)]
        if len(wrong):
            raise DetectorError(
                f"{self.name} gives {wrong[0]} for an image: its weights are damaged, or its "
                "training diverged; train or export it again"
            )
        return logits


def image_chunks(images, size: int = KERAS_BATCH) -> Iterable[np.ndarray]:
    """Return arrays of up to `size` images from an array or from `ddlib.data.cache.Rows`."""
    if isinstance(images, Rows):
        return images.chunks(size)
    return np.split(images, range(size, len(images), size))
