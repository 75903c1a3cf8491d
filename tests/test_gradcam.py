"""Grad-CAM: hand-worked maps on tiny networks, independent formulas, every kind of model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from ddlib.gradcam import GradCAM, conv_layers
from ddlib.images.overlay import overlay, upsample
from ddlib.models.layer_outputs import expose

IMAGE = np.array([[1, 2], [3, 4]], np.float32).reshape(1, 2, 2, 1)


def tiny(head, bias=0.5):
    """One 1x1 convolution, A0 = x and A1 = 4 - x, then GAP and one linear unit."""
    image = keras.Input((2, 2, 1))
    x = layers.Conv2D(2, 1, name="conv")(image)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(1, name="logit")(x)
    model = keras.Model(image, layers.Activation("sigmoid", name="score")(x))
    conv, logit = model.get_layer("conv"), model.get_layer("logit")
    conv.set_weights([np.array([1, -1], np.float32).reshape(1, 1, 1, 2), np.array([0.0, 4.0])])
    logit.set_weights([np.array(head, np.float32).reshape(2, 1), np.array([bias])])
    return model


def network(seed=0, size=16, head="activation", nested=False):
    """A small network with strides, normalisation and ReLU, with random weights throughout."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3), name="image")
    inner = keras.Input((None, None, 3)) if nested else image
    x = layers.Conv2D(6, 3, strides=2, padding="same", name="conv_a")(inner)
    x = layers.BatchNormalization(name="norm_a")(x)
    x = layers.ReLU(name="relu_a")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="conv_b")(x)
    x = layers.ReLU(name="relu_b")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="conv_c")(x)
    x = layers.ReLU(name="relu_c")(x)
    if nested:
        x = keras.Model(inner, x, name="backbone")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.5)(x)
    if head == "softmax":
        out = layers.Dense(2, activation="softmax", name="head")(x)
    elif head == "sigmoid":
        out = layers.Dense(1, activation="sigmoid", name="head")(x)
    else:
        out = layers.Activation("sigmoid", name="score")(layers.Dense(1, name="head")(x))
    model = keras.Model(image, out)
    rng = np.random.default_rng(seed)
    model.set_weights(
        [np.abs(rng.normal(0.5, 0.3, w.shape)) * rng.choice([-1, 1], w.shape) if w.ndim > 1
         else np.abs(rng.normal(1, 0.2, w.shape)) for w in model.get_weights()]
    )  # fmt: skip
    return model


@pytest.fixture
def pictures(rng):
    return rng.random((5, 16, 16, 3)).astype(np.float32)


def assert_same(first, second, atol=1e-5):
    for field in ("heat", "raw", "logits", "scores"):
        np.testing.assert_allclose(getattr(first, field), getattr(second, field), atol=atol)
    np.testing.assert_array_equal(first.positive, second.positive)


def test_hand_worked_map_for_fake():
    # logit = 2 * mean(A0) - mean(A1) + 0.5 = 5 - 1.5 + 0.5; alpha = (2, -1) / 4
    maps = GradCAM(tiny([2, -1])).maps(IMAGE)
    np.testing.assert_allclose(maps.logits, [4.0], rtol=1e-6)
    np.testing.assert_allclose(maps.scores, [1 / (1 + np.exp(-4.0))], rtol=1e-6)
    np.testing.assert_allclose(maps.raw[0], [[0, 0.5], [1.25, 2.0]], rtol=1e-6)
    np.testing.assert_allclose(maps.heat[0], [[0, 0.25], [0.625, 1.0]], rtol=1e-6)
    assert maps.positive.tolist() == [True]
    assert (maps.target, maps.layer, len(maps)) == ("fake", "conv", 1)


def test_the_sign_decides_between_fake_and_real():
    maps = GradCAM(tiny([2, -1])).maps(IMAGE, target="real")
    np.testing.assert_allclose(maps.raw[0], [[0.25, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(maps.heat[0], [[1, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(maps.logits, [4.0], rtol=1e-6)  # of fake, whatever the target


def test_no_positive_evidence_is_said_and_is_a_map_of_zeros():
    cam = GradCAM(tiny([-1, -1]))  # every cell: -(A0 + A1) / 4 = -1
    fake, real = cam.maps(IMAGE, "fake"), cam.maps(IMAGE, "real")
    assert not fake.positive[0] and not fake.heat.any() and not fake.raw.any()
    assert real.positive[0]
    np.testing.assert_allclose(real.raw, np.ones((1, 2, 2)), rtol=1e-6)
    fused = cam.maps(IMAGE, "fake", "mean")
    assert not fused.positive[0] and not fused.heat.any()


def test_a_head_that_ignores_the_layer_gives_no_evidence_for_either_class():
    cam = GradCAM(tiny([0, 0]))
    for target in ("fake", "real"):
        assert not cam.maps(IMAGE, target).positive.any()
        assert np.isfinite(cam.maps(IMAGE, target).heat).all()


def test_with_a_pooled_head_it_is_class_activation_mapping(pictures):
    # Zhou et al. 2016: CAM = sum_k w_k A_k; Grad-CAM of the same layer is relu(CAM) / (h * w).
    model = network()
    activations = keras.Model(model.input, model.get_layer("relu_c").output)(pictures).numpy()
    weights = model.get_layer("head").get_weights()[0][:, 0]
    expected = np.maximum(activations @ weights, 0) / (4 * 4)
    maps = GradCAM(model, layers=["relu_c"]).maps(pictures)
    np.testing.assert_allclose(maps.raw, expected, rtol=1e-4, atol=1e-5)


def model_per_layer(model, pictures, name):
    """The long way round: a new model for one layer, one image at a time, loops for the formula."""
    part = keras.Model(model.input, [model.get_layer(name).output, model.get_layer("head").output])
    maps = []
    for picture in pictures:
        with tf.GradientTape() as tape:
            activations, logit = part(picture[None], training=False)
            tape.watch(activations)
            score = tf.reduce_sum(model.get_layer("head")(_rest(model, name, activations)))
        slope = tape.gradient(score, activations).numpy()[0]
        alpha = slope.mean((0, 1))
        maps.append(
            np.maximum(sum(a * activations.numpy()[0, ..., k] for k, a in enumerate(alpha)), 0)
        )
    return np.stack(maps)


def _rest(model, name, x):
    """Apply what follows a layer, up to the head."""
    names = [layer.name for layer in model.layers]
    for layer in model.layers[names.index(name) + 1 : names.index("head")]:
        x = layer(x, training=False) if layer.name.startswith("norm") else layer(x)
    return x


@pytest.mark.parametrize("name", ["conv_a", "conv_b", "conv_c"])
def test_every_layer_equals_a_model_of_its_own(pictures, name):
    model = network()
    expected = model_per_layer(model, pictures, name)
    found = GradCAM(model).maps(pictures, layer=name)
    np.testing.assert_allclose(found.raw, expected, rtol=1e-4, atol=1e-5)
    assert found.positive.any()


def test_fused_is_the_mean_of_the_normalised_layers(pictures):
    model = network()
    mean = 0
    for name in ("conv_a", "conv_b", "conv_c"):
        raw = model_per_layer(model, pictures, name)
        peak = raw.max((1, 2), keepdims=True)
        heat = np.divide(raw, peak, out=np.zeros_like(raw), where=peak > 0)
        mean = mean + tf.image.resize(heat[..., None], (16, 16)).numpy()[..., 0] / 3
    fused = GradCAM(model).maps(pictures, layer="mean")
    np.testing.assert_allclose(fused.raw, mean, atol=1e-5)
    assert fused.heat.shape == (5, 16, 16)
    np.testing.assert_allclose(fused.heat, mean / mean.max((1, 2), keepdims=True), atol=1e-5)


def test_all_maps_holds_what_maps_gives(pictures):
    cam = GradCAM(network())
    everything = cam.all_maps(pictures, "real")
    assert list(everything) == ["conv_a", "conv_b", "conv_c", "mean"]
    for name, maps in everything.items():
        assert_same(maps, cam.maps(pictures, "real", layer=name))
    assert_same(everything["conv_c"], cam.maps(pictures, "real"))  # the last is the default


def test_logits_alone_are_those_of_the_maps(pictures):
    cam = GradCAM(network(), batch_size=2)
    np.testing.assert_allclose(cam.logits(pictures), cam.maps(pictures).logits, rtol=1e-5)


def test_a_batch_equals_one_at_a_time_and_chunks_do_not_show(pictures):
    cam, chunked = GradCAM(network()), GradCAM(network(), batch_size=2)
    for layer in ("conv_a", "mean"):
        batch = cam.maps(pictures, layer=layer)
        assert_same(batch, chunked.maps(pictures, layer=layer))
        for i in range(5):
            single = cam.maps(pictures[i : i + 1], layer=layer)
            np.testing.assert_allclose(single.heat[0], batch.heat[i], atol=1e-5)


@pytest.mark.parametrize("target", ["fake", "real"])
def test_a_nested_backbone_equals_a_flat_model(pictures, target):
    flat, nested = network(), network(nested=True)
    nested.set_weights(flat.get_weights())
    assert conv_layers(nested) == conv_layers(flat) == ["conv_a", "conv_b", "conv_c"]
    one, other = (GradCAM(model).all_maps(pictures, target) for model in (flat, nested))
    for name in one:
        assert_same(one[name], other[name])


def test_sequential_and_doubly_nested_models_with_the_head_inside(pictures):
    flat = network(head="sigmoid")
    body = keras.Sequential([layers.Input((16, 16, 3)), *flat.layers[1:4]], name="body")
    tail = keras.Sequential([*flat.layers[4:]], name="tail")  # ends in Dense(1, sigmoid)
    image = keras.Input((16, 16, 3))
    both = keras.Model(image, tail(body(image)), name="both")
    whole = keras.Sequential([layers.Input((16, 16, 3)), both])
    expected = GradCAM(flat).maps(pictures, layer="mean")
    assert_same(expected, GradCAM(whole).maps(pictures, layer="mean"))


def test_the_form_of_the_head_does_not_matter(pictures):
    plain, squashed, pair = (network(head=kind) for kind in ("activation", "sigmoid", "softmax"))
    weights = plain.get_weights()
    squashed.set_weights(weights)
    kernel, bias = weights[-2:]
    real, fake = 0.3 - kernel, 0.3 + 0 * kernel  # only fake - real = kernel matters
    pair.set_weights([*weights[:-2], np.hstack([real, fake]), np.array([1 - bias[0], 1])])
    linear = keras.Model(plain.input, plain.get_layer("head").output)
    expected = GradCAM(plain).maps(pictures, layer="mean")
    assert expected.positive.all()
    np.testing.assert_allclose(expected.scores, plain.predict(pictures, verbose=0)[:, 0], rtol=1e-4)
    for model in (squashed, linear, pair):
        assert_same(expected, GradCAM(model).maps(pictures, layer="mean"), atol=1e-4)


def test_a_saturated_sigmoid_still_has_a_map():
    model = tiny([200, -1])  # logit near 500: the sigmoid's own slope is 0 in float32
    maps = GradCAM(model).maps(IMAGE)
    assert maps.scores[0] == 1 and maps.positive[0]
    np.testing.assert_allclose(maps.raw[0, 1, 1], 200 / 4 * 4, rtol=1e-6)


def test_maps_lie_in_0_1_and_are_never_nan(pictures):
    for seed in range(4):
        cam = GradCAM(network(seed))
        for target in ("fake", "real"):
            for maps in cam.all_maps(pictures, target).values():
                assert np.isfinite(maps.heat).all() and (maps.raw >= 0).all()
                np.testing.assert_array_equal(maps.heat.max((1, 2)), maps.positive)
                assert (maps.heat >= 0).all()
                assert maps.heat.dtype == maps.raw.dtype == maps.scores.dtype == np.float32


def test_whole_numbers_and_floats_give_the_same(rng):
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    cam = GradCAM(network())
    assert_same(cam.maps(images), cam.maps(images.astype(np.float64)))


def test_new_weights_are_seen_and_the_model_is_left_alone(pictures, tmp_path):
    model = network()
    count, before = len(model.layers), model.predict(pictures, verbose=0)
    cam = GradCAM(model)
    first = cam.maps(pictures)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert len(model.layers) == len(again.layers) == count
    np.testing.assert_array_equal(again.predict(pictures, verbose=0), before)
    model.set_weights([2 * weights for weights in model.get_weights()])
    assert np.abs(cam.maps(pictures).logits - first.logits).max() > 0.1


def test_mobilenet_has_27_convolutions_and_they_all_answer(rng):
    backbone = keras.applications.MobileNet(
        (64, 64, 3), alpha=0.25, include_top=False, weights=None
    )
    x = layers.Dense(1)(layers.GlobalAveragePooling2D()(backbone.output))
    cam = GradCAM(keras.Model(backbone.input, x))
    assert len(cam.layers) == 27
    assert (list(cam.layers)[0], list(cam.layers)[-1]) == ("conv1", "conv_pw_13")
    assert (cam.layers["conv1"], cam.layers["conv_pw_13"]) == ((32, 32), (2, 2))
    assert cam.maps(rng.random((2, 64, 64, 3)), layer="mean").heat.shape == (2, 64, 64)


def test_names_that_occur_twice_and_layers_of_one_cell():
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="conv")
    x = shared(shared(image))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(3, 1, name="squeeze", activation="sigmoid")(gate)])
    x = layers.Dense(1)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    assert conv_layers(model) == ["conv", "conv_2"]
    maps = GradCAM(model).all_maps(np.ones((1, 8, 8, 3)))
    assert np.abs(maps["conv"].raw - maps["conv_2"].raw).max() > 0


def test_size_resizes_the_heat_and_leaves_the_raw_map(pictures):
    maps = GradCAM(network()).maps(pictures, size=(16, 12))
    assert maps.heat.shape == (5, 16, 12) and maps.raw.shape == (5, 4, 4)
    assert maps.upsampled(8).heat.shape == (5, 8, 8)


def test_upsampling_is_bilinear_between_cell_centres():
    np.testing.assert_allclose(upsample(np.array([[0.0, 1.0]]), (1, 4)), [[0, 0.25, 0.75, 1]])
    stack = np.random.default_rng(0).random((3, 4, 4), np.float32)
    assert upsample(stack, 9).shape == (3, 9, 9)
    np.testing.assert_array_equal(upsample(stack, 4), stack)


def test_overlay_mixes_picture_and_colour():
    image = np.full((2, 2, 3), 100, np.uint8)
    heat = np.array([[0, 1], [1, 1]])
    np.testing.assert_array_equal(overlay(image, heat, opacity=0), image)
    grey = overlay(image, heat, opacity=1, colormap="gray")
    np.testing.assert_array_equal(grey[..., 0], [[0, 255], [255, 255]])
    half = overlay(image, heat, opacity=0.5, colormap="gray")
    np.testing.assert_array_equal(half[..., 1], [[50, 178], [178, 178]])  # 177.5 rounds to even
    assert overlay(np.zeros((6, 4, 3), np.uint8), heat).shape == (6, 4, 3)


def test_overlay_of_an_empty_map_is_the_picture_itself():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(overlay(image, np.zeros((2, 2)), 0.9, "jet"), image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colormap": "no-such-map"}, "no-such-map.*jet"),
        ({"opacity": 1.5}, r"opacity=1\.5.*0 to 1"),
        ({"heat": np.zeros((1, 2, 2))}, r"\(1, 2, 2\)"),
    ],
)
def test_overlay_says_what_is_wrong(change, message):
    call = {"image": np.zeros((4, 4, 3), np.uint8), "heat": np.ones((2, 2))} | change
    with pytest.raises(ValueError, match=message):
        overlay(**call)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"layer": "conv_z"}, "conv_z.*conv_a, conv_b, conv_c, mean"),
        ({"target": 1}, "target=1.*fake, real"),
        ({"images": np.zeros((16, 16, 3))}, r"\(16, 16, 3\).*image\[None\]"),
        ({"images": np.zeros((1, 8, 8, 3))}, r"\(1, 8, 8, 3\).*\(N, 16, 16, 3\)"),
        ({"images": np.zeros((0, 16, 16, 3))}, "empty"),
    ],
)
def test_wrong_calls_name_the_value_and_what_is_allowed(call, message):
    cam = GradCAM(network())
    with pytest.raises(ValueError, match=message):
        cam.maps(**({"images": np.zeros((1, 16, 16, 3))} | call))


def test_nan_and_overflow_are_errors_that_name_the_image(pictures):
    cam = GradCAM(network(), batch_size=2)
    for value, what in ((np.nan, "pixels"), (3e38, "logit")):
        broken = pictures.copy()
        broken[3] = value
        with pytest.raises(ValueError, match=f"image 3: {what} is not finite"):
            cam.maps(broken)


def test_unknown_layers_and_layers_without_a_place_are_refused():
    for name in ("conv_z", "pool"):
        with pytest.raises(ValueError, match=f"{name}.*conv_a"):
            GradCAM(network(), layers=[name])


def test_models_that_cannot_be_explained_say_why():
    class Subclass(keras.Model):
        pass

    image, other = keras.Input((4, 4, 3)), keras.Input((4, 4, 3))
    flat = layers.Flatten()(layers.Conv2D(2, 1)(image))
    both = layers.Flatten()(layers.Add()([image, other]))
    cases = {
        "Subclass with 0 known inputs": Subclass(),
        "2 known inputs": keras.Model([image, other], layers.Dense(1)(both)),
        r"relu with output \(None, 1\)": keras.Model(image, layers.Dense(1, "relu")(flat)),
        r"softmax with output \(None, 3\)": keras.Model(image, layers.Dense(3, "softmax")(flat)),
        "sigmoid inside a Conv2D": keras.Model(
            image, layers.Conv2D(1, 4, activation="sigmoid")(image)
        ),
    }
    for message, model in cases.items():
        with pytest.raises(ValueError, match=message):
            GradCAM(model)
    with pytest.raises(ValueError, match="none here"):
        GradCAM(keras.Model(image, layers.Dense(1)(layers.Flatten()(image))))


def test_exposed_layers_keep_their_order_and_their_weights():
    model = network(nested=True)
    inside = expose(model).layers
    assert list(inside)[:3] == ["conv_a", "norm_a", "relu_a"]
    assert inside["conv_c"][0] is model.get_layer("backbone").get_layer("conv_c")
