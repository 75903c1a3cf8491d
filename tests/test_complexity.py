"""Multiply-adds against hand-worked numbers and the figures of the papers."""

import keras
import pytest

from ddlib.models.complexity import cost, cost_by_layer, multiply_adds

L = keras.layers


def test_single_layers_by_hand():
    image = keras.Input((8, 6, 3))
    layers = {
        L.Conv2D(5, 3, strides=2, padding="same"): 4 * 3 * 3 * 3 * 3 * 5,
        L.Conv2D(6, (1, 5), padding="valid", groups=3): 8 * 2 * 5 * 1 * 6,
        L.DepthwiseConv2D(3, padding="same", depth_multiplier=2): 8 * 6 * 9 * 3 * 2,
        L.SeparableConv2D(7, 3, padding="same"): 8 * 6 * (9 * 3 + 3 * 7),
        L.Dense(4): 8 * 6 * 3 * 4,
        L.ReLU(): 0,
        L.BatchNormalization(): 0,
        L.MaxPooling2D(): 0,
    }
    for layer, count in layers.items():
        layer(image)
        assert multiply_adds(layer) == count, layer.name
    assert cost(keras.Model(image, L.Add()([image, image])))["multiply_adds"] == 0


def test_nested_models_are_opened():
    inner = keras.Sequential([keras.Input((4, 4, 2)), L.Conv2D(3, 1), L.Flatten()], name="inner")
    model = keras.Sequential([keras.Input((4, 4, 2)), inner, L.Dense(5)])
    table = cost_by_layer(model)
    assert list(table["kind"]) == ["Conv2D", "Flatten", "Dense"]
    expected = {"parameters": 2 * 3 + 3 + 48 * 5 + 5, "multiply_adds": 16 * 6 + 48 * 5}
    assert cost(model) == expected
    assert table["parameters"].sum() == expected["parameters"]


def test_published_sizes_are_met():
    model = keras.applications.MobileNet(weights=None)
    # Howard 2017; papers leave out the moving averages of normalisation
    trained = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    assert round(trained / 1e6, 1) == 4.2
    assert cost(model)["multiply_adds"] == pytest.approx(569e6, rel=0.03)


def test_what_cannot_be_counted_is_an_error():
    with pytest.raises(ValueError, match="open size"):
        cost(keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(2, 1)]))
    with pytest.raises(ValueError, match="is a Conv1D; only Conv2D"):
        cost(keras.Sequential([keras.Input((5, 3)), L.Conv1D(2, 1)]))
