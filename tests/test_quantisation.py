"""Eight-bit rounding: by hand, by its properties, and on a small network."""

import keras
import numpy as np
import pytest
import toydetector

from ddlib.deploy.quantisation import (
    FLOAT_CONVOLUTIONS,
    STEPS,
    as_rows,
    fold_batch_norm,
    gptq_round,
    input_moments,
    layers_to_quantise,
    quantised_copy,
)
from ddlib.models.inference import logit_model

L = keras.layers


def nearest(weights):
    """Round each weight to the nearest of 255 steps, as converters do."""
    step = np.abs(weights).max(1, keepdims=True) / STEPS
    return np.round(weights / step) * step


def test_rounding_by_hand():
    weights = np.array([[127, 0.4, 0.4, 0.4]])
    # 0.4 -> 0, and 0.4 is handed on: 0.6 -> 1 in all (damping keeps a little back), -0.4 left
    assert gptq_round(weights, np.ones((4, 4))).tolist() == [[127, 0, 1, 0]]
    assert gptq_round(weights, np.eye(4)).tolist() == [[127, 0, 0, 0]]
    # channels of zeros and inputs that never change
    weights = np.array([[0.0, 0, 0], [2.54, 1.009, -0.012]])
    rounded = gptq_round(weights, np.zeros((3, 3)))
    np.testing.assert_allclose(rounded, [[0, 0, 0], [2.54, 1.0, -0.02]], atol=1e-12)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_the_more_alike_the_inputs_the_smaller_the_error(share):
    weights = np.random.default_rng(0).normal(size=(400, 9))
    covariance = share + (1 - share) * np.eye(9)
    ours, plain = gptq_round(weights, covariance) - weights, nearest(weights) - weights
    error, plain_error = (np.einsum("rk,kl,rl->", e, covariance, e) for e in (ours, plain))
    # rounding errors of variance 1/12 keep their own part, 1 - share, and lose most of the common
    assert error <= plain_error * (1 - share / 2) + 1e-9
    if not share:
        np.testing.assert_allclose(ours, plain, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "offset"),
    [(L.Conv2D(1, 3), 0), (L.DepthwiseConv2D(3), 0), (L.DepthwiseConv2D(3, padding="same"), 1)],
)
def test_moments_by_hand(layer, offset):
    image = keras.Input((5, 4, 2))
    model = keras.Model(image, layer(image))
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 2), np.uint8)
    margin = (offset, offset)
    padded = np.pad(images, ((0, 0), margin, margin, (0, 0))).astype(float)
    places = [(i, j) for i in range(3 + 2 * offset) for j in range(2 + 2 * offset)]
    patches = np.array([x[i : i + 3, j : j + 3] for x in padded for i, j in places])
    groups = [patches.reshape(-1, 18)]
    if isinstance(layer, L.DepthwiseConv2D):
        groups = [patches[..., channel].reshape(-1, 9) for channel in range(2)]
    ((mean, covariance),) = input_moments(model, [layer], images)
    np.testing.assert_allclose(mean, [g.mean(0) for g in groups])
    np.testing.assert_allclose(covariance, [np.cov(g.T, bias=True) for g in groups], atol=1e-6)


@pytest.fixture(scope="module")
def model():
    return toydetector.with_statistics()


def test_folding_changes_no_logit(model):
    images = toydetector.pictures(12, seed=3)[0].astype("float32")
    expected = logit_model(model)(images, training=False).numpy()
    folded = fold_batch_norm(model)
    assert np.ptp(expected) > 0.1
    found = folded(images, training=False).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.ptp(expected))
    assert not any(isinstance(layer, L.BatchNormalization) for layer in folded.layers)
    counts = [len(layers_to_quantise(fold_batch_norm(model, n))) for n in (0, 1, 7)]
    assert counts == [8, 7, 1]  # three blocks have 7 convolutions; those in floating point differ


def test_weights_are_whole_steps_and_the_mean_of_the_first_layer_is_kept(model):
    images = toydetector.pictures(24)[0]
    copy, plain = quantised_copy(model, images), fold_batch_norm(model)
    layers = layers_to_quantise(copy)
    assert len(layers) == 7 - FLOAT_CONVOLUTIONS + 1  # and the head's
    for layer in layers:
        rows = as_rows(layer, layer.get_weights()[0].astype(float))
        steps = np.abs(rows).max(2, keepdims=True) / STEPS
        whole = rows / np.where(steps, steps, 1)
        np.testing.assert_allclose(whole, np.round(whole), atol=1e-3)
    for layer, other in zip(copy.layers, plain.layers, strict=True):
        if layer not in layers:
            assert all(map(np.array_equal, layer.get_weights(), other.get_weights()))
    # the first rounded layer still sees what it saw: its mean answer is that of the plain one
    ours, theirs = (
        keras.Model(m.input, m.get_layer(layers[0].name).output)(images.astype("float32")).numpy()
        for m in (copy, plain)
    )
    assert np.abs(ours - theirs).max() > 1e-3  # rounding did change single answers
    np.testing.assert_allclose(ours.mean((0, 1, 2)), theirs.mean((0, 1, 2)), atol=1e-4)
