"""A detector made in a second: a random MobileNet of three blocks, its last layer solved."""

from functools import cache
from unittest.mock import patch

import numpy as np

from ddlib.protocol import preset

SIZE = 64
PROTOCOL = preset("clean", "gan", alpha=0.25, image_size=SIZE, jpeg_quality=None)


@cache
def pictures(n=80, seed=0):
    """Return images (n, 64, 64, 3) uint8 and labels (n,); every second one carries a grid."""
    rng = np.random.default_rng(seed)
    images = rng.normal(90, 6, (n, SIZE, SIZE, 3)) + rng.normal(0, 6, (n, 1, 1, 3))
    labels = np.arange(n) % 2
    strength = rng.uniform(20, 80, (n, 1, 1, 1))  # weak ones are hard to tell
    images[:, ::4] += strength * np.where(labels, 1, 0.3)[:, None, None, None]
    return images.clip(0, 255).astype(np.uint8), labels


def short_mobilenet():
    """Return a context in which MobileNet has three of its 13 blocks: a fifth of the time."""
    return patch.multiple("ddlib.mobilenet", FILTERS=(64, 128, 256), STRIDES=(1, 2, 2))


def network(**options):
    """Build the network with new random weights."""
    from ddlib.mobilenet import build_detector

    with short_mobilenet():
        return build_detector(0.25, SIZE, None, **options)


@cache
def detector():
    """Return the Keras detector; its logits are about -3 for plain and 3 for grid pictures."""
    import keras

    model = network()
    images, labels = pictures()
    rng = np.random.default_rng(0)
    for layer in model.layers[:-3]:
        if kernels := [weight for weight in layer.weights if len(weight.shape) == 4]:
            shape = kernels[0].shape  # He 2015: every layer passes on as much as it gets
            fan_in = shape[0] * shape[1] * (shape[2] if shape[3] > 1 else 1)
            layer.set_weights([rng.normal(0, (2 / fan_in) ** 0.5, shape)])
    inner = keras.Model(model.input, model.get_layer("features").output)
    x = inner(images.astype("float32"), training=False).numpy().astype(np.float64)
    middle = x.mean(0)
    kernel = (x - middle) @ (x - middle).T
    ridge = kernel + 0.03 * np.trace(kernel) / len(x) * np.eye(len(x))
    slope = (x - middle).T @ np.linalg.solve(ridge, 6.0 * labels - 3.0)
    model.get_layer("logit").set_weights([slope[:, None], np.array([-middle @ slope])])
    return model


def copy():
    """Return a copy of the Keras detector that a test may change."""
    import keras

    model = keras.models.clone_model(detector())
    model.set_weights(detector().get_weights())
    return model


def with_statistics():
    """Return a copy with statistics of its own in every batch normalisation."""
    model, rng = copy(), np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_bn"):
            gamma, beta, mean, variance = layer.get_weights()
            gamma = rng.uniform(0.7, 1.4, gamma.shape) * rng.choice([-1, 1], gamma.shape)
            layer.set_weights([gamma, rng.normal(0, 0.2, beta.shape), mean + 0.1, 1.3 * variance])
    return model


@cache
def converted(kind):
    """Return the detector as LiteRT bytes."""
    from ddlib.deploy.export import convert

    return convert(detector(), kind, pictures()[0][:40] if kind == "int8" else None)


def keras_logits(images):
    """Return the logits (N,) of the Keras detector."""
    from ddlib.models import inference

    return inference.keras_logits(detector(), [images])


def write(folder, name="simulated", protocol=PROTOCOL, **fields):
    """Write the float32 .tflite and its card; return its path."""
    from ddlib._utils import file_digest
    from ddlib.deploy.model_card import Card

    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.tflite"
    path.write_bytes(converted("float32"))
    card = Card(name, protocol, tflite_sha256=file_digest(path), **fields)
    card.write(path.with_suffix(".json"))
    return path


def save(path):
    """Write the detector as training does, a .keras file with its .json; return its path."""
    from ddlib.models.train import save_detector

    return save_detector(detector(), path, PROTOCOL)
