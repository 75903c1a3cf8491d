"""Rows of images or features from the cache, and training and validation batches of them."""

import itertools

import numpy as np

from ddlib._utils import digest
from ddlib.data.cache import Rows
from ddlib.data.manifest import Manifest
from ddlib.protocol import PREPARE, Protocol


def gather_blocks(manifest: Manifest, load_block, step: float | None = None) -> Rows:
    """Return rows in the manifest's order from one stored array for each source and split.

    ``load_block(block)`` gets the manifest of one source and split and returns its array; `step`
    is that of `ddlib.data.cache.Rows`.
    """
    if not len(manifest):
        raise ValueError(f"{manifest.root}: no image was chosen, so there is nothing to load")
    lacking = manifest.table[["source", "split"]].isna().any(axis=1)
    if lacking.any():
        path = manifest.table["path"][int(lacking.argmax())]
        raise ValueError(f"{path} has no source or no split; every row of a manifest needs both")
    groups = manifest.table.groupby(["source", "split"])
    arrays = [load_block(Manifest(manifest.root, block)) for _, block in groups]
    return Rows(arrays, groups.ngroup().to_numpy(), groups.cumcount().to_numpy(), step)


def block_key(block: Manifest, protocol: Protocol) -> dict:
    """Return what decides the prepared images of one source and split, as plain values."""
    table = block.table
    return {
        "source": table["source"].iloc[0],
        "split": table["split"].iloc[0],
        "files": digest(list(table["sha256"]), [float(share) for share in table["crop_share"]]),
        "preparation": protocol.preparation(),
        "version": PREPARE,
    }


def evenly_spaced(images, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of up to `most` images (an array or `Rows`), spread evenly, and them."""
    positions = np.linspace(0, len(images) - 1, min(len(images), most)).astype(int)
    if isinstance(images, Rows):
        return positions, images.take(positions)
    return positions, np.asarray(images)[positions]


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Return one weight a row so that both classes weigh the same in the loss; their mean is 1.

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 1])).round(3)
    array([0.667, 0.667, 0.667, 2.   ], dtype=float32)
    """
    counts = np.bincount(labels, minlength=2)
    if counts.min() == 0:
        raise ValueError(f"training needs both classes; got {counts[0]} real and {counts[1]} fake")
    return (len(labels) / (2 * counts))[labels].astype("float32")


def epoch_order(n: int, epoch: int, seed: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return an epoch's order of rows, and for each whether it is mirrored: two (n,) arrays."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(n)
    mirrored = rng.random(n) < 0.5 if flip else np.zeros(n, bool)
    return order, mirrored


def training_batches(plain: Rows, mirrored: Rows | None, labels: np.ndarray, protocol: Protocol):
    """Return a `tf.data.Dataset` of (rows, labels, weights), shuffled anew in each pass.

    `plain` holds images or features, and `mirrored` those of the mirrored images, which half of the
    rows are taken from; with None all are plain.
    """
    weights, size = class_weights(labels), protocol.batch_size
    return row_batches(plain, labels, weights, size, protocol.seed, mirrored)


def validation_batches(plain: Rows, labels: np.ndarray, protocol: Protocol):
    """Return a `tf.data.Dataset` of (rows, labels, weights) in order, without flips."""
    return row_batches(plain, labels, class_weights(labels), 2 * protocol.batch_size)


def row_batches(plain: Rows, labels, weights, batch_size: int, seed=None, mirrored=None):
    """Return batches of (rows, labels, weights), in the `epoch_order` if there is a seed."""
    n, epochs = len(labels), itertools.count()

    def batches():
        order, flips = np.arange(n), np.zeros(n, bool)
        if seed is not None:
            order, flips = epoch_order(n, next(epochs), seed, flip=mirrored is not None)
        for start in range(0, n, batch_size):
            rows, turned = order[start : start + batch_size], flips[start : start + batch_size]
            batch = plain.take(rows)
            if turned.any():
                batch[turned] = mirrored.take(rows[turned])
            yield batch, labels[rows], weights[rows]

    return dataset(batches, plain.shape[1:], plain.dtype, -(-n // batch_size))


def dataset(batches, shape, dtype, steps: int):
    """Return a `tf.data.Dataset` of what ``batches()`` yields: (batch, labels, weights).

    A batch holds rows of `shape` and `dtype` and becomes float32; `steps` is their number.
    """
    import tensorflow as tf

    # Not by `tf.data.Dataset.from_generator`: it has malloc return memory to the system at once,
    # in the whole process from then on, and much of a training goes into getting it back.
    numbers, passes = itertools.count(), {}  # the generator of each pass under way

    def begin():
        number = next(numbers)
        passes[number] = batches()
        for given_up in sorted(passes)[:-4]:  # TensorFlow does not tell which are
            del passes[given_up]
        return np.int64(number)

    def step_of(number, step):
        batch, labels, weights = next(passes[number] if step < steps - 1 else passes.pop(number))
        return batch, labels.astype(np.int64), weights.astype(np.float32)

    def tensors(number, step):
        types = [tf.as_dtype(dtype), tf.int64, tf.float32]
        x, labels, weights = tf.numpy_function(step_of, [number, step], types)
        x = tf.ensure_shape(tf.cast(x, tf.float32), (None, *shape))
        return x, tf.ensure_shape(labels, (None,)), tf.ensure_shape(weights, (None,))

    data = tf.data.Dataset.range(1).map(lambda _: tf.numpy_function(begin, [], tf.int64))
    data = data.flat_map(lambda n: tf.data.Dataset.range(steps).map(lambda step: tensors(n, step)))
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune, and it can sleep a second at an epoch's end
    data = data.with_options(options)
    return data.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)
