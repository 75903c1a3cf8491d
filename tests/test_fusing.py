"""Training with fused batch normalisation is training with Keras's own; bfloat16 comes near."""

import keras
import numpy as np
import pytest

from ddlib.models.fast_layers import (
    BFloat16Pointwise,
    FusedNorm,
    has_gpu,
    multiplies_bfloat16,
    with_fast_layers,
    without_graph_rewriting,
)


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
    found = trained(model, with_fast_layers(model))
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
    trained(model, with_fast_layers(model))
    for a, b in zip(before, norm.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_scoring_is_unchanged():
    model = network()
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 2))
    same = with_fast_layers(model)(x, training=False)  # but for the last bit
    np.testing.assert_allclose(model(x, training=False), same, rtol=1e-6)


def pointwise(kernel) -> keras.layers.Conv2D:
    kernel = np.float32(kernel)
    conv = keras.layers.Conv2D(kernel.shape[1], 1, use_bias=False)
    conv.build((None, 1, 1, kernel.shape[0]))
    conv.set_weights([kernel[None, None]])
    return conv


def test_bfloat16_rounds_to_eight_bits_while_training_and_not_while_scoring():
    half = BFloat16Pointwise(pointwise([[1.0], [1.0]]))
    x = np.float32([257, 2]).reshape(1, 1, 1, 2)  # 257 needs nine bits and becomes 256
    assert half(x, training=True).numpy().item() == 258
    assert half(x, training=False).numpy().item() == 259


def test_products_of_numbers_that_bfloat16_holds_have_exact_gradients():
    import tensorflow as tf

    conv = pointwise([[2.0, -1.0], [0.5, 4.0]])
    x = tf.constant(np.float32([[3, 5], [7, 1]]).reshape(2, 1, 1, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(BFloat16Pointwise(conv)(x, training=True))
    to_x, to_kernel = tape.gradient(total, (x, conv.kernel.value))
    np.testing.assert_array_equal(np.reshape(to_x, (2, 2)), [[1, 4.5], [1, 4.5]])  # row sums
    np.testing.assert_array_equal(np.reshape(to_kernel, (2, 2)), [[10, 10], [6, 6]])  # column sums
    assert to_kernel.dtype == tf.float32


def test_only_1x1_convolutions_are_halved_and_their_weights_are_the_models():
    x = image = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(5, 3, use_bias=False)(x)
    x = keras.layers.DepthwiseConv2D(1, use_bias=False)(x)
    x = keras.layers.Conv2D(2, 1, use_bias=False)(x)
    model = keras.Model(image, x)
    half = with_fast_layers(model, half=True)
    kinds = [isinstance(layer, BFloat16Pointwise) for layer in half.layers]
    assert kinds == [False, False, False, True]
    assert half.layers[-1].conv is model.layers[-1]
    assert not any(isinstance(layer, BFloat16Pointwise) for layer in with_fast_layers(model).layers)


@pytest.mark.parametrize("wrong", [{"use_bias": True}, {"strides": 2, "use_bias": False}])
def test_a_convolution_with_bias_or_stride_is_refused(wrong):
    with pytest.raises(ValueError, match="wide: a bias or strides"):
        BFloat16Pointwise(keras.layers.Conv2D(3, 1, name="wide", **wrong))


@pytest.mark.parametrize(
    "flags, expected",
    [("fpu avx512_bf16 sha", True), ("amx_bf16", True), ("avx512f avx512_bf16x", False)],
)
def test_the_processor_is_asked(tmp_path, flags, expected):
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"model name\t: a processor\nflags\t\t: {flags}\n")
    assert multiplies_bfloat16(facts) is expected
    assert multiplies_bfloat16(tmp_path / "nothing") is False


def test_graphs_are_run_as_written_in_the_block_alone():
    import tensorflow as tf

    def told() -> bool:
        options = tf.config.optimizer.get_experimental_options()
        return options.get("disable_meta_optimizer", False)

    if has_gpu():
        pytest.skip("a GPU needs its graphs rewritten")
    with pytest.raises(KeyError), without_graph_rewriting():
        assert told()
        raise KeyError
    assert not told()
