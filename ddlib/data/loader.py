"""From a manifest and a protocol to prepared images, and from those to training batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
import itertools
import numpy as np
from ddlib._io import digest, ordered_parallel_map
from ddlib.data.cache import Cache, Rows, StoredArray
from ddlib.data.manifest import Manifest
from ddlib.ela import ela_map
from ddlib.images.jpeg import recompress
from ddlib.images.read import center_crop, read_image, resize
from ddlib.protocol import PREPARE, Protocol

_AT_ONCE = 8  # images that a thread prepares before it hands them on


def prepare(image: np.ndarray, protocol: Protocol, crop_share: float = 1.0) -> np.ndarray:
    """Bring one picture into the form in which the protocol shows it to the network.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    protocol : Protocol
    crop_share : float
        Share of the centred square that is kept, in (0, 1]; used if the protocol crops.

    Returns
    -------
    (S, S, 3) uint8 array, where S is ``protocol.image_size``. The order of steps is crop, resize,
    JPEG, ELA.
    """
    if protocol.square == "crop":
        image = center_crop(image, crop_share)
    image = resize(image, protocol.image_size, protocol.resize)
    if protocol.jpeg_quality is not None:
        image = recompress(image, protocol.jpeg_quality)
    return image if protocol.ela_quality is None else _ela_map(image, protocol)


def _ela_map(picture: np.ndarray, protocol: Protocol) -> np.ndarray:
    return ela_map(picture, protocol.ela_quality, inverted=protocol.ela_inverted)


def prepare_file(path: Path, protocol: Protocol, crop_share: float = 1.0) -> np.ndarray:
    """Read an image file and `prepare` it."""
    return prepare(read_image(path), protocol, crop_share)


def prepared(manifest: Manifest, protocol: Protocol) -> Iterator[np.ndarray]:
    """Read and prepare a manifest's images in threads; yield (n, S, S, 3) uint8, n up to 8."""

    def several(files) -> np.ndarray:
        return np.stack([prepare_file(path, protocol, crop) for path, crop in files])

    files = list(zip(manifest.paths, manifest.table["crop_share"], strict=True))
    parts = (files[i : i + _AT_ONCE] for i in range(0, len(files), _AT_ONCE))
    return ordered_parallel_map(several, parts)  # decoding and resizing leave Python's lock


def load_images(manifest: Manifest, protocol: Protocol, cache: Cache | None = None) -> Rows:
    """Return the prepared images of a manifest as rows of (S, S, 3) uint8, in its order.

    They are prepared once and kept in the store, one array for each source and split, so that
    manifests that share a source share the work.
    """
    cache = cache or Cache()
    return gather_blocks(manifest, lambda block: _image_block(block, protocol, cache))


def gather_blocks(manifest: Manifest, load_block) -> Rows:
    """Return rows in the manifest's order from one stored array for each source and split.

    ``load_block(block)`` gets the manifest of one source and split and returns its array.
    """
    if not len(manifest):
        raise ValueError("the manifest is empty: there is nothing to load")
    array_of = np.zeros(len(manifest), int)
    row_of = np.zeros(len(manifest), int)
    arrays = []
    groups = manifest.table.groupby(["source", "split"], sort=True).indices
    for number, positions in enumerate(groups.values()):
        arrays.append(load_block(Manifest(manifest.root, manifest.table.iloc[positions])))
        array_of[positions], row_of[positions] = number, np.arange(len(positions))
    return Rows(arrays, array_of, row_of)


def block_key(block: Manifest, protocol: Protocol) -> dict:
    """Return what decides the prepared images of one block, as plain values."""
    table = block.table
    files = digest(list(table["sha256"]), [float(crop) for crop in table["crop_share"]])
    where = {"source": table["source"].iloc[0], "split": table["split"].iloc[0]}
    return {**where, "files": files, "preparation": protocol.preparation(), "version": PREPARE}


def _image_block(block: Manifest, protocol: Protocol, cache: Cache) -> StoredArray:
    size = protocol.image_size
    shape = (len(block), size, size, 3)
    chunks = partial(_chunks, block, protocol, cache)
    return cache.array("images", block_key(block, protocol), shape, np.uint8, chunks)


def _chunks(block: Manifest, protocol: Protocol, cache: Cache) -> Iterator[np.ndarray]:
    """Prepare images a few at a time; ELA maps are made of what is kept for the model without."""
    if protocol.ela_quality is None:
        return prepared(block, protocol)

    def maps(pictures: np.ndarray) -> np.ndarray:
        return np.stack([_ela_map(picture, protocol) for picture in pictures])

    return ordered_parallel_map(maps, load_images(block, protocol.without_ela(), cache).chunks(_AT_ONCE))


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
        Images or features, and the same of the mirrored images. ``mirrored=None`` flips the rows
        of `plain` on the fly, which is right for images only.
    labels : (N,) int array
    protocol : Protocol
        Batch size, flip and seed. The order depends on seed and epoch alone, so that two ways to
        train see the same batches.
    """
    weights = class_weights(labels)
    epochs = itertools.count()

    def rows():
        order, flips = epoch_order(len(labels), next(epochs), protocol.seed, protocol.flip)
        for start in range(0, len(order), protocol.batch_size):
            take = slice(start, start + protocol.batch_size)
            batch = _take(plain, mirrored, order[take], flips[take])
            yield batch, labels[order[take]], weights[order[take]]

    return dataset(rows, plain.shape[1:], plain.dtype, -(-len(labels) // protocol.batch_size))


def validation_batches(plain, labels: np.ndarray, protocol: Protocol):
    """Return a `tf.data.Dataset` of (rows, labels, weights) in order, without flips."""
    weights = class_weights(labels)

    def rows():
        for start in range(0, len(labels), 2 * protocol.batch_size):
            take = slice(start, start + 2 * protocol.batch_size)
            yield plain.take(take), labels[take], weights[take]

    return dataset(rows, plain.shape[1:], plain.dtype, -(-len(labels) // (2 * protocol.batch_size)))


def _take(plain, mirrored, rows: np.ndarray, flips: np.ndarray) -> np.ndarray:
    batch = plain.take(rows)
    if flips.any():
        turned = mirrored.take(rows[flips]) if mirrored is not None else batch[flips, :, ::-1]
        batch[flips] = turned
    return batch


def dataset(rows, shape, dtype, steps: int):
    """Return a `tf.data.Dataset` of what ``rows()`` yields: (batch, labels, weights), `steps` long.

    A batch holds rows of `shape` and `dtype`; it is float32 from here on.
    """
    import tensorflow as tf

    signature = (
        tf.TensorSpec((None, *shape), tf.as_dtype(dtype)),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((None,), tf.float32),
    )
    data = tf.data.Dataset.from_generator(rows, output_signature=signature)
    data = data.map(lambda x, y, w: (tf.cast(x, tf.float32), y, w))
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune, and it can sleep a second at an epoch's end
    data = data.with_options(options)
    return data.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def evenly_spaced(images, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of up to so many pictures, spread evenly, and those pictures.

    Parameters
    ----------
    images : (N, S, S, 3) array or `ddlib.data.cache.Rows`
    most : int
    """
    places = np.linspace(0, len(images) - 1, min(len(images), most)).astype(int)
    rows_on_disk = hasattr(images, "take") and not isinstance(images, np.ndarray)
    return places, images.take(places) if rows_on_disk else np.asarray(images)[places]
