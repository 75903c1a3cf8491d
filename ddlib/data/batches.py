"""Rows of images or features from the cache, and training and validation batches of them."""

from __future__ import annotations

import itertools

import numpy as np

from ddlib._io import digest
from ddlib.data.cache import Rows
from ddlib.data.manifest import Manifest
from ddlib.protocol import PREPARE, Protocol


def gather_blocks(manifest: Manifest, load_block) -> Rows:
    """Return rows in the manifest's order from one stored array for each source and split.

    ``load_block(block)`` gets the manifest of one source and split and returns its array.
    """
    if not len(manifest):
        raise ValueError("the manifest is empty: there is nothing to load")
    array_of = np.full(len(manifest), -1)
    row_of = np.full(len(manifest), -1)
    arrays = []
    groups = manifest.table.groupby(["source", "split"], sort=True).indices
    for number, positions in enumerate(groups.values()):
        arrays.append(load_block(Manifest(manifest.root, manifest.table.iloc[positions])))
        array_of[positions], row_of[positions] = number, np.arange(len(positions))
    if (array_of < 0).any():
        path = manifest.table["path"][int(np.argmin(array_of))]
        raise ValueError(f"{path} has no source or no split; every row of a manifest needs both")
    return Rows(arrays, array_of, row_of)


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
    """Return the positions of up to `most` images, spread evenly, and those images.

    Parameters
    ----------
    images : (N, S, S, 3) array or `ddlib.data.cache.Rows`
    most : int
    """
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


def training_batches(plain, mirrored, labels: np.ndarray, protocol: Protocol):
    """Return a `tf.data.Dataset` of (rows, labels, weights); each pass over it is a new epoch.

    Parameters
    ----------
    plain, mirrored : Rows
        Images or features, and the same of the mirrored images. With ``mirrored=None`` the rows of
        `plain` are flipped, which is right for images only.
    labels : (N,) int array
    protocol : Protocol
        Batch size, flip and seed. The order depends on seed and epoch alone.
    """
    weights = class_weights(labels)
    epochs = itertools.count()

    def batches():
        order, flips = epoch_order(len(labels), next(epochs), protocol.seed, protocol.flip)
        for start in range(0, len(order), protocol.batch_size):
            rows = order[start : start + protocol.batch_size]
            flip = flips[start : start + protocol.batch_size]
            batch = plain.take(rows)
            if flip.any() and mirrored is None:
                batch[flip] = batch[flip, :, ::-1]
            elif flip.any():
                batch[flip] = mirrored.take(rows[flip])
            yield batch, labels[rows], weights[rows]

    return dataset(batches, plain.shape[1:], plain.dtype, -(-len(labels) // protocol.batch_size))


def validation_batches(plain, labels: np.ndarray, protocol: Protocol):
    """Return a `tf.data.Dataset` of (rows, labels, weights) in order, without flips."""
    weights = class_weights(labels)
    size = 2 * protocol.batch_size

    def batches():
        for start in range(0, len(labels), size):
            rows = slice(start, start + size)
            yield plain.take(rows), labels[rows], weights[rows]

    return dataset(batches, plain.shape[1:], plain.dtype, -(-len(labels) // size))


def dataset(batches, shape, dtype, steps: int):
    """Return a `tf.data.Dataset` of what ``batches()`` yields: (batch, labels, weights).

    A batch holds rows of `shape` and `dtype` and becomes float32; `steps` is their number.
    """
    import tensorflow as tf

    signature = (
        tf.TensorSpec((None, *shape), tf.as_dtype(dtype)),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((None,), tf.float32),
    )
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    data = data.map(lambda x, y, w: (tf.cast(x, tf.float32), y, w))
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune, and it can sleep a second at an epoch's end
    data = data.with_options(options)
    return data.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)
