"""Checks of heat maps: known answers on models whose evidence is known."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import expit as sigmoid

from ddlib.explain.faithfulness import (
    blur,
    cascading_randomization,
    centred_map,
    perturbation_curve,
    random_maps,
    randomize_layers,
    similarity,
)
from ddlib.gradcam import GradCAM

SIZE = 16


@pytest.fixture(scope="module")
def corner_model():
    """P(fake) = sigmoid(60 (mean red of the top left quarter / 255) - 54)."""
    image = keras.Input((SIZE, SIZE, 3))
    red = layers.Conv2D(1, 1, use_bias=False)(image)
    model = keras.Model(image, layers.Dense(1)(layers.Flatten()(red)))
    quarter = np.zeros((SIZE, SIZE), np.float32)
    quarter[:8, :8] = 60 / 64 / 255
    red = np.array([1, 0, 0], np.float32).reshape(1, 1, 3, 1)
    model.set_weights([red, quarter.reshape(-1, 1), np.array([-54.0])])
    return model


@pytest.fixture(scope="module")
def corner_images():
    images = np.random.default_rng(0).integers(0, 30, (4, SIZE, SIZE, 3), dtype=np.uint8)
    images[:, :8, :8] = 255
    return images


@pytest.fixture(scope="module")
def corner_heats():
    heats = np.zeros((4, SIZE, SIZE), np.float32)
    heats[:, :8, :8] = 1
    return heats


def network():
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="conv_a")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="conv_b")(x)
    backbone = keras.Model(image, x, name="backbone")
    outer = keras.Input((12, 12, 3))
    x = layers.GlobalAveragePooling2D()(backbone(outer))
    return keras.Model(outer, layers.Dense(1, activation="sigmoid", name="head")(x))


def test_randomise_shuffles_from_the_top_down_and_spares_the_model():
    model = network()
    before = [w.copy() for w in model.get_weights()]
    names, changed, at_conv_b = [], [], None
    for name, copy in randomize_layers(model):
        names.append(name)
        same = [np.array_equal(a, b) for a, b in zip(before, copy.get_weights(), strict=True)]
        changed.append(same.count(False))
        for a, b in zip(before, copy.get_weights(), strict=True):
            np.testing.assert_array_equal(np.sort(a, axis=None), np.sort(b, axis=None))
        at_conv_b = copy.get_weights() if name == "conv_b" else at_conv_b
    assert names == ["head", "conv_b", "norm", "conv_a"]
    # New biases are all 0 and a new norm all ones: shuffling can only change the three kernels.
    assert changed == [1, 2, 2, 3]
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    name, copy = next(randomize_layers(model, ["conv_b"]))  # all above is destroyed too
    assert name == "conv_b"
    for a, b in zip(at_conv_b, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="conv_z.*head, conv_b, norm, conv_a"):
        next(randomize_layers(model, ["conv_z"]))


def test_spearman_by_hand():
    # Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8. Ties: 1.5 1.5 3 4 and
    # 1 2 3 4 give 4.5 / sqrt(4.5 * 5).
    first = np.array([[[1, 2], [3, 4]], [[0, 0], [5, 9]], [[1, 2], [3, 4]], [[1, 2], [3, 4.0]]])
    second = np.array([[[1, 30], [20, 40]], [[1, 2], [3, 4]], [[4, 3], [2, 1]], [[7, 7], [7, 7.0]]])
    expected = [0.8, 4.5 / np.sqrt(4.5 * 5), -1, 0]
    np.testing.assert_allclose(similarity(first, second), expected)
    with pytest.raises(ValueError, match=r"\(4, 2, 2\).*\(2, 2, 2\)"):
        similarity(first, second[:2])


def test_cascade_reports_each_step(rng):
    images = rng.random((6, 12, 12, 3)).astype(np.float32)
    model = network()
    table = cascading_randomization(model, images, layers=["head", "conv_a"], layer="conv_a")
    assert table["randomised"].tolist() == ["head", "conv_a"]
    assert (table["n"] == GradCAM(model)(images, layer="conv_a").has_evidence.sum()).all()
    assert (table["low"] <= table["similarity"]).all()
    assert (table["similarity"] <= table["high"]).all()
    assert table["similarity"].max() < 0.999


def test_deletion_falls_as_soon_as_the_evidence_is_gone(corner_model, corner_images, corner_heats):
    # The hot quarter goes first. At share 1/4 all of it is blurred.
    curve = perturbation_curve(corner_model, corner_images, corner_heats, steps=4)
    np.testing.assert_allclose(curve.shares, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.scores[:, 0], sigmoid(6), rtol=1e-4)
    red = blur(corner_images)[:, :8, :8, 0].mean((1, 2)) / 255
    expected = sigmoid(60 * red - 54)
    assert (expected < 0.9).all()
    np.testing.assert_allclose(curve.scores[:, 1:], np.tile(expected[:, None], 4), rtol=1e-4)
    # Trapezoids: (s + e) / 2 over the first quarter, e over the other three.
    auc = (sigmoid(6) + expected) / 8 + 0.75 * expected
    np.testing.assert_allclose(curve.auc, auc, rtol=1e-4)
    real = perturbation_curve(corner_model, corner_images, corner_heats, steps=4, target="real")
    np.testing.assert_allclose(curve.scores + real.scores, 1, atol=1e-6)


@pytest.mark.parametrize(("mode", "sign"), [("deletion", -1), ("insertion", 1)])
def test_a_true_map_beats_the_baselines_and_a_false_one_does_not(
    corner_model, corner_images, corner_heats, mode, sign
):
    false = corner_heats[:, ::-1, ::-1]
    centred = np.tile(centred_map((SIZE, SIZE)), (4, 1, 1))
    good, bad, rival, guess = (
        perturbation_curve(corner_model, corner_images, heats, mode).auc
        for heats in (corner_heats, false, centred, random_maps(4, (SIZE, SIZE)))
    )
    assert (sign * (good - rival) > 0).all() and (sign * (good - guess) > 0).all()
    assert (sign * (bad - rival) < 0).all() and (sign * (bad - guess) < 0).all()


def test_wrong_calls_are_refused(corner_model, corner_images, corner_heats):
    with pytest.raises(ValueError, match="3, 4"):
        perturbation_curve(corner_model, corner_images, corner_heats[:3])
    with pytest.raises(ValueError, match="'cat'.*fake, real"):
        perturbation_curve(corner_model, corner_images, corner_heats, target="cat")
    with pytest.raises(ValueError, match="'erase'.*deletion, insertion"):
        perturbation_curve(corner_model, corner_images, corner_heats, "erase")
