"""Training with fused batch normalisation is training with Keras's own."""

import keras
import numpy as np
import pytest

from ddlib.fusing import FusedNorm, fused


def network(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((6, 6, 2))
    for filters in (4, 3):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.8)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(x))


def trained(model: keras.Model, fit: keras.Model) -> list[np.ndarray]:
    """Train for four steps and return the weights that `model` then has."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(3, 2, (32, 6, 6, 2)), rng.integers(0, 2, 32)
    fit.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    fit.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    return model.get_weights()


def test_training_ends_at_the_weights_of_plain_training():
    plain, model = network(), network()
    expected = trained(plain, plain)
    start = model.get_weights()
    found = trained(model, fused(model))
    for before, a, b in zip(start, expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert np.abs(b - before).max() > 1e-4  # every weight has moved


def test_the_moving_mean_and_variance_follow_the_batch():
    norm = keras.layers.BatchNormalization(momentum=0.5)
    norm.build((None, 1, 1, 1))
    batch = np.float32([1, 3]).reshape(2, 1, 1, 1)
    out = FusedNorm(norm)(batch, training=True)
    assert float(norm.moving_mean[0]) == pytest.approx(1.0)  # half of 0 and half of 2
    assert float(norm.moving_variance[0]) == pytest.approx(1.0)  # half of 1 and half of 1
    np.testing.assert_allclose(np.ravel(out), [-1, 1], atol=1e-3)


def test_a_frozen_layer_keeps_its_statistics():
    model = network()
    for layer in model.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    norm = model.layers[2]
    before = [np.array(w) for w in norm.weights]
    trained(model, fused(model))
    for a, b in zip(before, norm.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_scoring_is_unchanged():
    model = network()
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 2))
    np.testing.assert_array_equal(model(x, training=False), fused(model)(x, training=False))
