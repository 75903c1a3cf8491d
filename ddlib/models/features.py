"""Bottleneck features: the frozen part of a detector, run once for each image and kept."""

from collections.abc import Iterator
from functools import partial

import keras
import numpy as np

from ddlib._utils import digest
from ddlib.data.batches import block_key, gather_blocks
from ddlib.data.cache import Cache, Rows
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.models.inference import CHUNK, compiled, has_gpu, interpreters
from ddlib.protocol import FEATURES, Protocol

STEP = 6 / 255  # of features in eight bits: the output of a ReLU6 lies in [0, 6]
BATCH = 64  # images a forward pass of TensorFlow; larger is not faster on two cores


def split_backbone(detector: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a detector of `build_detector` before its first trained layer into (prefix, tail).

    Both share the detector's layers: training the tail trains the detector, and
    ``tail(prefix(x)) == detector(x)``. The prefix never changes, so it needs to run only once for
    each image.
    """
    layers = detector.layers
    trained = [i for i, layer in enumerate(layers) if layer.trainable_weights]
    cut = max(trained[0], 1)
    prefix = keras.Model(layers[0].output, layers[cut - 1].output, name="prefix")
    x = features = keras.Input(prefix.output_shape[1:], name="bottleneck_features")
    for layer in layers[cut:]:
        x = layer(x)
    return prefix, keras.Model(features, x, name="tail")


def bottleneck_features(
    prefix: keras.Model, manifest: Manifest, protocol: Protocol, cache: Cache, mirror: bool = False
) -> Rows:
    """Return the frozen prefix's output for a manifest's images, in its order, from the cache.

    `prefix` is what `split_backbone` gives; with `mirror` the images are mirrored first. The
    protocol's `feature_dtype` is that of what is kept: "float16" halves the disk, "uint8" quarters
    it, "float32" repeats plain training. In eight bits only a ReLU6's output fits: a ValueError
    else.
    """
    feature_dtype = protocol.feature_dtype
    weights, last = weights_digest(prefix), prefix.layers[-1]
    padded = isinstance(last, keras.layers.ZeroPadding2D)  # zeros around it are in [0, 6] too
    source = prefix.layers[-2] if padded else last
    if feature_dtype == "uint8" and getattr(source, "max_value", None) != 6:
        raise ValueError(f"layer {source.name} is no ReLU6; keep its features in float16")

    def load_block(block: Manifest):
        key = block_key(block, protocol) | {
            "weights": weights,
            "layer": last.name,
            "pixel_range": list(protocol.pixel_range),
            "mirror": mirror,
            "features": FEATURES,
        }
        if has_gpu():  # it rounds differently
            key |= {"device": "gpu"}
        images = load_images(block, protocol, cache)
        chunks = partial(_outputs, prefix, images, mirror, feature_dtype)
        shape = (len(block), *prefix.output_shape[1:])
        return cache.array("features", key, shape, feature_dtype, chunks)

    return gather_blocks(manifest, load_block, STEP if feature_dtype == "uint8" else None)


def _outputs(prefix: keras.Model, images: Rows, mirror: bool, dtype: str) -> Iterator[np.ndarray]:
    # LiteRT rounds otherwise than TensorFlow, in the last bits, and Adam's first steps enlarge
    # that; who asks for float32 wants plain training repeated.
    use_tensorflow = dtype == "float32" or has_gpu()
    batches = images.chunks(BATCH if use_tensorflow else CHUNK)
    if mirror:
        batches = (batch[:, :, ::-1] for batch in batches)
    if use_tensorflow:
        outputs = map(compiled(prefix), batches)
    else:
        outputs = interpreters(prefix).stream(batches)
    return (np.rint(each / STEP) for each in outputs) if dtype == "uint8" else outputs


def weights_digest(model: keras.Model) -> str:
    """Return the digest of a model's weights, in order."""
    return digest(*(np.ascontiguousarray(array).tobytes() for array in model.get_weights()))
