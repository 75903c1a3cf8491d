"""How the study did it, written plainly: the reference that ddlib is timed against.

Keras's ImageDataGenerator (nearest resize, one thread), fit on whole images in every epoch,
Pillow's ELA one image at a time, a new model for each layer of a fused Grad-CAM map.
"""

import io
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image, ImageChops, ImageEnhance

from ddlib.data.manifest import Manifest
from ddlib.models.train import build_from_protocol
from ddlib.protocol import Protocol, preset


def generator(chosen: Manifest, protocol: Protocol, batch=None, shuffle=False, flip=False):
    """Return the loader the study used, over a manifest's files; with ELA it makes maps."""
    table = chosen.table.assign(file=[str(path) for path in chosen.paths])
    size, quality = protocol.image_size, protocol.ela_quality
    change = None if quality is None else lambda picture: ela(picture.astype("uint8"), quality)
    loader = ImageDataGenerator(horizontal_flip=flip, preprocessing_function=change)
    return loader.flow_from_dataframe(
        table,
        x_col="file",
        y_col="label",
        target_size=(size, size),
        batch_size=batch or protocol.batch_size,
        class_mode="binary",
        classes=["real", "fake"],
        shuffle=shuffle,
        validate_filenames=False,
    )


def read_all(chosen: Manifest, protocol: Protocol) -> float:
    """Decode and resize every image once and return the seconds."""
    loader, start = generator(chosen, protocol), time.perf_counter()
    for index in range(len(loader)):
        loader[index]
    return time.perf_counter() - start


def fit_epoch(training: Manifest, validation: Manifest, protocol: Protocol) -> float:
    """Return the seconds of one epoch over whole images, validation included, compiled before.

    The clock stops with the epoch's work. After it `fit` can wait ten seconds more for an idle
    thread of TensorFlow's that tunes the input pipeline, which is no part of the study's way.
    """
    detector = build_from_protocol(protocol)
    detector.compile(keras.optimizers.Adam(protocol.learning_rate), "binary_crossentropy")
    warm = generator(training.sample(2 * protocol.batch_size), protocol)
    detector.fit(warm, validation_data=warm, epochs=1, verbose=0)
    data = generator(training, protocol, shuffle=True, flip=True)
    check = generator(validation, protocol)
    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
    )
    start = time.perf_counter()
    detector.fit(data, validation_data=check, epochs=1, verbose=0, callbacks=[clock])
    return ends[0] - start


def predict_each(chosen: Manifest, protocol: Protocol) -> float:
    """Return the seconds of reading and scoring one image, one after the other."""
    detector, loader = build_from_protocol(protocol), generator(chosen, protocol, batch=1)
    detector.predict(loader[0][0], verbose=0)
    start = time.perf_counter()
    for index in range(len(loader)):
        detector.predict(loader[index][0], verbose=0)
    return (time.perf_counter() - start) / len(loader)


def ela(picture: np.ndarray, quality: int = 90) -> np.ndarray:
    """Return the ELA map as the study's tutorial recipe makes it with Pillow."""
    image = Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    difference = ImageChops.difference(image, Image.open(buffer))
    largest = max(high for _, high in difference.getextrema()) or 1
    return np.asarray(ImageEnhance.Brightness(difference).enhance(255 / largest))


def fused_map(detector: keras.Model, picture: np.ndarray, layers: list[str]) -> np.ndarray:
    """Return the mean map of all layers, each from a model of its own."""
    maps = []
    for name in layers:
        inner = keras.Model(
            detector.input, [detector.get_layer(name).output, detector.get_layer("logit").output]
        )
        with tf.GradientTape() as tape:
            activation, logit = inner(picture[None])
        weights = tf.reduce_mean(tape.gradient(logit, activation), (1, 2), keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * activation, -1, keepdims=True))[0]
        heat = heat / (tf.reduce_max(heat) + 1e-12)
        maps.append(tf.image.resize(heat, picture.shape[:2]).numpy()[..., 0])
    return np.mean(maps, axis=0)


if __name__ == "__main__":  # python -m tests.benchmarks.baseline MANIFEST.CSV ROOT SIZE
    _chosen = Manifest.load(Path(sys.argv[1]), Path(sys.argv[2]))
    _protocol = preset("paper", image_size=int(sys.argv[3]))
    print(min(read_all(_chosen, _protocol) for _ in range(5)))
