"""Prepare images by a protocol: one image, a file, or all that a manifest lists.

The table of a manifest has a row for each file, with its label, its source (who made it), its split
(train, valid or test) and its crop_share (how much of the centred square is used).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ddlib._utils import ordered_parallel_map
from ddlib.data.batches import block_key, gather_blocks, row_batches
from ddlib.data.cache import Cache, Rows
from ddlib.data.manifest import Manifest
from ddlib.ela import ela_map, uint8_overflow
from ddlib.images.jpeg import recompress
from ddlib.images.read import center_crop, read_image, resize
from ddlib.protocol import Protocol

_CHUNK = 8  # images that a thread takes at once


def prepare(image: np.ndarray, protocol: Protocol, crop_share: float = 1.0) -> np.ndarray:
    """Turn an image into what the network takes: crop, resize, save as JPEG, ELA.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    protocol : Protocol
        Which of these steps there are, and how they are done.
    crop_share : float
        How much of the side of the centred square is kept, in (0, 1]. Without effect if the
        protocol squeezes images in place of cropping them.

    Returns
    -------
    (S, S, 3) uint8 array, where S is ``protocol.image_size``.

    Examples
    --------
    >>> from ddlib.protocol import preset
    >>> prepare(np.zeros((300, 400, 3), np.uint8), preset("clean")).shape
    (256, 256, 3)
    """
    if protocol.square == "crop":
        image = center_crop(image, crop_share)
    image = resize(image, protocol.image_size, protocol.resize)
    if protocol.jpeg_quality is not None:
        image = recompress(image, protocol.jpeg_quality)
    if protocol.ela_quality is not None:
        image = _ela_of_prepared(image, protocol)
    return image


def prepare_file(path: Path, protocol: Protocol, crop_share: float = 1.0) -> np.ndarray:
    """Read an image file and return it prepared, as `prepare` does."""
    return prepare(read_image(path), protocol, crop_share)


def prepare_all(manifest: Manifest, protocol: Protocol) -> Iterator[np.ndarray]:
    """Yield the prepared images of a manifest in its order, as arrays (n, S, S, 3) uint8.

    Threads read and prepare them; n is 8, at the end perhaps fewer.
    """

    def prepare_chunk(files) -> np.ndarray:
        return np.stack([prepare_file(path, protocol, share) for path, share in files])

    files = list(zip(manifest.paths, manifest.table["crop_share"], strict=True))
    chunks = (files[i : i + _CHUNK] for i in range(0, len(files), _CHUNK))
    return ordered_parallel_map(prepare_chunk, chunks)  # threads: decoding releases Python's lock


def load_images(manifest: Manifest, protocol: Protocol, cache: Cache | None = None) -> Rows:
    """Return the prepared images of a manifest in its order, as `Rows` of (S, S, 3) uint8.

    ``rows.take(indices)`` reads some as an array, ``rows.chunks(n)`` all of them. The cache, by
    default that of the user, holds one array for each source and split, so that another manifest
    with the same source need not prepare its images again.
    """
    cache = cache or Cache()

    def load_block(block: Manifest):
        shape = (len(block), protocol.image_size, protocol.image_size, 3)
        chunks = partial(_prepared_chunks, block, protocol, cache)
        return cache.array("images", block_key(block, protocol), shape, np.uint8, chunks)

    return gather_blocks(manifest, load_block)


def keras_dataset(manifest: Manifest, protocol: Protocol, batch_size: int, shuffle: bool):
    """Return a `tf.data.Dataset` of batches (images, labels), as `Manifest.dataset` says.

    Images are (n, S, S, 3) float32, 0 to 255, labels (n,) float32. With `shuffle` each pass has an
    order of its own.
    """
    import tensorflow as tf

    images, labels = load_images(manifest, protocol), manifest.labels
    seed = protocol.seed if shuffle else None  # without a seed the order is that of the manifest
    data = row_batches(images, labels, np.ones(len(labels)), batch_size, seed)
    return data.map(lambda image, label, _: (image, tf.cast(label, tf.float32)))


def _ela_of_prepared(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    if protocol.ela_inverted:
        image = uint8_overflow(image)
    return ela_map(image, protocol.ela_quality)


def _prepared_chunks(block: Manifest, protocol: Protocol, cache: Cache) -> Iterator[np.ndarray]:
    """Prepare images a few at a time; ELA maps are made from the prepared pictures in the cache."""
    if protocol.ela_quality is None:
        return prepare_all(block, protocol)

    def ela_of_chunk(images: np.ndarray) -> np.ndarray:
        return np.stack([_ela_of_prepared(image, protocol) for image in images])

    pictures = load_images(block, protocol.without_ela(), cache)
    return ordered_parallel_map(ela_of_chunk, pictures.chunks(_CHUNK))
