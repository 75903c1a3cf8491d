"""From a manifest and a protocol to prepared images, and to a `tf.data.Dataset` of them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ddlib._io import ordered_parallel_map
from ddlib.data.batches import block_key, gather_blocks, row_batches
from ddlib.data.cache import Cache, Rows
from ddlib.data.manifest import Manifest
from ddlib.ela import ela_map, uint8_overflow
from ddlib.images.jpeg import recompress
from ddlib.images.read import center_crop, read_image, resize
from ddlib.protocol import Protocol

_CHUNK = 8  # images that a thread prepares before it hands them on


def prepare(image: np.ndarray, protocol: Protocol, crop_share: float = 1.0) -> np.ndarray:
    """Prepare one image as a protocol shows it to the network: crop, resize, JPEG, ELA.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    protocol : Protocol
    crop_share : float
        Share of the centred square that is kept, in (0, 1]; used if the protocol crops.

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
    return image if protocol.ela_quality is None else _ela_map(image, protocol)


def prepare_file(path: Path, protocol: Protocol, crop_share: float = 1.0) -> np.ndarray:
    """Read an image file and `prepare` it."""
    return prepare(read_image(path), protocol, crop_share)


def prepare_all(manifest: Manifest, protocol: Protocol) -> Iterator[np.ndarray]:
    """Read and prepare a manifest's images in threads; yield arrays (n, S, S, 3) uint8."""

    def prepare_some(files) -> np.ndarray:
        return np.stack([prepare_file(path, protocol, share) for path, share in files])

    files = list(zip(manifest.paths, manifest.table["crop_share"], strict=True))
    parts = (files[i : i + _CHUNK] for i in range(0, len(files), _CHUNK))
    return ordered_parallel_map(prepare_some, parts)  # decoding releases Python's lock


def load_images(manifest: Manifest, protocol: Protocol, cache: Cache | None = None) -> Rows:
    """Return the prepared images of a manifest as rows of (S, S, 3) uint8, in its order.

    They are prepared once and kept in the cache, one array for each source and split, so that
    manifests with a source in common share the work.
    """
    cache = cache or Cache()

    def load_block(block: Manifest):
        shape = (len(block), protocol.image_size, protocol.image_size, 3)
        chunks = partial(_prepared_chunks, block, protocol, cache)
        return cache.array("images", block_key(block, protocol), shape, np.uint8, chunks)

    return gather_blocks(manifest, load_block)


def keras_dataset(manifest: Manifest, protocol: Protocol, batch_size: int, shuffle: bool):
    """Return a `tf.data.Dataset` of (image, label), both float32, as `Manifest.dataset` says."""
    import tensorflow as tf

    images, labels = load_images(manifest, protocol), manifest.labels
    seed = protocol.seed if shuffle else None
    data = row_batches(images, labels, np.ones(len(labels)), batch_size, seed)
    return data.map(lambda image, label, _: (image, tf.cast(label, tf.float32)))


def _ela_map(image: np.ndarray, protocol: Protocol) -> np.ndarray:
    image = uint8_overflow(image) if protocol.ela_inverted else image
    return ela_map(image, protocol.ela_quality)


def _prepared_chunks(block: Manifest, protocol: Protocol, cache: Cache) -> Iterator[np.ndarray]:
    """Prepare images a few at a time; ELA maps are made of the images that are kept already."""
    if protocol.ela_quality is None:
        return prepare_all(block, protocol)

    def maps(images: np.ndarray) -> np.ndarray:
        return np.stack([_ela_map(image, protocol) for image in images])

    plain = load_images(block, protocol.without_ela(), cache)
    return ordered_parallel_map(maps, plain.chunks(_CHUNK))
