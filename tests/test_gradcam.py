"""Grad-CAM: hand-worked maps on tiny networks, independent formulas, every kind of model."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from ddlib.gradcam import GradCAM
from ddlib.protocol import preset

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
    model.set_weights([random_weights(rng, weight) for weight in model.get_weights()])
    return model


def random_weights(rng, like):
    """Return weights of either sign for a kernel, around 1 for anything else."""
    if like.ndim == 1:
        return np.abs(rng.normal(1, 0.2, like.shape))
    return np.abs(rng.normal(0.5, 0.3, like.shape)) * rng.choice([-1, 1], like.shape)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).random((5, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def cam(model):
    return GradCAM(model)


def assert_same(first, second, atol=1e-5):
    for field in ("heat", "raw", "logits", "scores"):
        np.testing.assert_allclose(getattr(first, field), getattr(second, field), atol=atol)
    np.testing.assert_array_equal(first.has_evidence, second.has_evidence)


def test_hand_worked_maps_for_fake_and_for_real():
    # logit = 2 * mean(A0) - mean(A1) + 0.5 = 5 - 1.5 + 0.5; alpha = (2, -1) / 4
    cam = GradCAM(tiny([2, -1]))
    maps = cam(IMAGE)
    np.testing.assert_allclose(maps.logits, [4.0], rtol=1e-6)
    np.testing.assert_allclose(maps.scores, [1 / (1 + np.exp(-4.0))], rtol=1e-6)
    np.testing.assert_allclose(maps.raw[0], [[0, 0.5], [1.25, 2.0]], rtol=1e-6)
    np.testing.assert_allclose(maps.heat[0], [[0, 0.25], [0.625, 1.0]], rtol=1e-6)
    assert maps.has_evidence.tolist() == [True]
    assert (maps.target, maps.layer) == ("fake", "conv")
    maps = cam(IMAGE, target="real")
    np.testing.assert_allclose(maps.raw[0], [[0.25, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(maps.heat[0], [[1, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(maps.logits, [4.0], rtol=1e-6)  # of fake, whatever the target


def test_no_positive_evidence_is_said_and_is_a_map_of_zeros():
    cam = GradCAM(tiny([-1, -1]))  # every cell: -(A0 + A1) / 4 = -1
    fake, real = cam(IMAGE), cam(IMAGE, target="real")
    assert not fake.has_evidence[0] and not fake.heat.any() and not fake.raw.any()
    assert real.has_evidence[0]
    np.testing.assert_allclose(real.raw, np.ones((1, 2, 2)), rtol=1e-6)
    mean = cam(IMAGE, layer="mean")
    assert not mean.has_evidence[0] and not mean.heat.any()


def model_per_layer(model, pictures, name):
    """The long way round: models of one layer's own, one image at a time, loops for the formula."""
    output = model.get_layer(name).output
    before, after = keras.Model(model.input, output), keras.Model(output, model.layers[-2].output)
    maps = []
    for picture in pictures:
        with tf.GradientTape() as tape:
            activations = before(picture[None], training=False)
            tape.watch(activations)
            score = tf.reduce_sum(after(activations, training=False))
        slope = tape.gradient(score, activations).numpy()[0]
        alpha = slope.mean((0, 1))
        maps.append(
            np.maximum(sum(a * activations.numpy()[0, ..., k] for k, a in enumerate(alpha)), 0)
        )
    return np.stack(maps)


def test_every_layer_equals_a_model_of_its_own_and_mean_the_mean_of_them(model, cam, pictures):
    expected = 0
    for name in ("conv_a", "conv_b", "conv_c"):
        raw, found = model_per_layer(model, pictures, name), cam(pictures, layer=name)
        np.testing.assert_allclose(found.raw, raw, rtol=1e-4, atol=1e-5)
        assert found.has_evidence.any()
        peak = raw.max((1, 2), keepdims=True)
        heat = np.divide(raw, peak, out=np.zeros_like(raw), where=peak > 0)
        expected = expected + tf.image.resize(heat[..., None], (16, 16)).numpy()[..., 0] / 3
    mean = cam(pictures, layer="mean")
    np.testing.assert_allclose(mean.raw, expected, atol=1e-5)
    assert mean.heat.shape == (5, 16, 16)
    peak = expected.max((1, 2), keepdims=True)
    np.testing.assert_allclose(mean.heat, expected / peak, atol=1e-5)


def test_several_layers_at_once_hold_what_each_gives(cam, pictures):
    everything = cam(pictures, "real", "all")
    assert list(everything) == ["conv_a", "conv_b", "conv_c", "mean"]
    for name, maps in everything.items():
        assert_same(maps, cam(pictures, "real", name))
    assert_same(everything["conv_c"], cam(pictures, target="real"))  # the last is the default


def test_a_batch_equals_one_at_a_time_and_chunks_do_not_show(model, cam, pictures):
    chunked = GradCAM(model, batch_size=2)
    resized = cam(pictures, size=(16, 12))
    assert resized.heat.shape == (5, 16, 12) and resized.raw.shape == (5, 4, 4)
    for layer in ("conv_a", "mean"):
        batch = cam(pictures, layer=layer)
        assert_same(batch, chunked(pictures, layer=layer))
        for i in range(5):
            single = cam(pictures[i : i + 1], layer=layer)
            np.testing.assert_allclose(single.heat[0], batch.heat[i], atol=1e-5)


def test_a_nested_backbone_equals_a_flat_model(model, cam, pictures):
    nested = network(nested=True)
    nested.set_weights(model.get_weights())
    inside = GradCAM(nested)
    assert list(inside.layers) == ["conv_a", "conv_b", "conv_c"]
    one, other = (each(pictures, "real", "all") for each in (cam, inside))
    for name in one:
        assert_same(one[name], other[name])


def test_the_form_of_the_head_does_not_matter(model, cam, pictures):
    squashed, pair = (network(head=kind) for kind in ("sigmoid", "softmax"))
    weights = model.get_weights()
    squashed.set_weights(weights)
    kernel, bias = weights[-2:]
    real, fake = 0.3 - kernel, 0.3 + 0 * kernel  # only fake - real = kernel matters
    pair.set_weights([*weights[:-2], np.hstack([real, fake]), np.array([1 - bias[0], 1])])
    linear = keras.Model(model.input, model.get_layer("head").output)
    expected = cam(pictures, layer="mean")
    assert expected.has_evidence.all()
    np.testing.assert_allclose(expected.scores, model.predict(pictures, verbose=0)[:, 0], rtol=1e-4)
    for other in (squashed, linear, pair):
        assert_same(expected, GradCAM(other)(pictures, layer="mean"), atol=1e-4)


def test_a_saturated_sigmoid_still_has_a_map():
    model = tiny([200, -1])  # logit near 500: the sigmoid's own slope is 0 in float32
    maps = GradCAM(model)(IMAGE)
    assert maps.scores[0] == 1 and maps.has_evidence[0]
    np.testing.assert_allclose(maps.raw[0, 1, 1], 200 / 4 * 4, rtol=1e-6)


def test_positive_real_turns_the_sign(model, cam, pictures):
    turned = GradCAM(model, positive="real")
    fake, real = cam(pictures, target="fake"), turned(pictures, target="real")
    np.testing.assert_allclose(fake.raw, real.raw, atol=1e-6)
    np.testing.assert_allclose(fake.logits, -real.logits, atol=1e-6)
    p_real = model.predict(pictures, verbose=0)[:, 0]
    np.testing.assert_allclose(turned(pictures).scores, 1 - p_real, atol=1e-5)
    with pytest.raises(ValueError, match="positive='cat'.*fake, real"):
        GradCAM(model, positive="cat")


def test_images_come_in_every_usual_form(cam, rng, tmp_path):
    images = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    expected = cam(images)
    for given in (
        tf.constant(images),
        list(images),
        [images[:2], images[2]],
        str(tmp_path),
        [str(files[0]), Image.open(files[1]), images[2]],
    ):
        assert_same(cam(given), expected)
    for single in (images[0], files[0], Image.open(files[0])):
        maps = cam(single)
        assert maps.heat.shape == (1, 4, 4)
        np.testing.assert_allclose(maps.raw[0], expected.raw[0], atol=1e-5)


def test_a_detector_brings_its_model_and_its_preparation(rng, tmp_path):
    from ddlib.data.loader import prepare

    protocol = preset("clean", "gan", image_size=32)
    model = network(size=32)
    cam = GradCAM(SimpleNamespace(protocol=protocol, keras_model=lambda: model))
    image = rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)
    expected = cam(prepare(image, protocol))
    Image.fromarray(image).save(tmp_path / "face.png")
    for given in (image, tmp_path / "face.png", Image.fromarray(image)):
        assert_same(cam(given), expected)
    ready = image[:32, :32]  # of the model's size: taken as prepared, unless it is a file
    assert_same(cam(ready), GradCAM(model)(ready))
    assert_same(cam(Image.fromarray(ready)), cam(prepare(ready, protocol)))
    with pytest.raises(ValueError, match="pixels of up to 1, but this detector takes 0 to 255"):
        cam(np.ones((32, 32, 3)))
    assert cam(np.zeros((32, 32, 3))).scores.shape == (1,)  # a black picture is one


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"layer": "conv_z"}, "conv_z.*conv_a, conv_b, conv_c, mean, all"),
        ({"target": 1}, "target=1.*fake, real"),
        ({"images": np.zeros((1, 8, 8, 1))}, r"\(H, W, 3\) uint8; got \(8, 8, 1\) float64"),
        ({"images": np.zeros((16, 16))}, r"\(16, 16\) is not an image"),
        ({"images": []}, "empty"),
        ({"images": "no-such.jpg"}, "no-such.jpg.*no such file"),
    ],
)
def test_wrong_calls_name_the_value_and_what_is_allowed(cam, call, message):
    with pytest.raises(ValueError, match=message):
        cam(**({"images": np.zeros((1, 16, 16, 3))} | call))


def test_a_model_of_any_size_takes_one_size_a_call(rng):
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(image))
    cam = GradCAM(keras.Model(image, layers.Dense(1)(x)))
    assert cam.layers == {"conv": (None, None)}
    assert cam(rng.random((9, 12, 3))).raw.shape == (1, 7, 10)
    assert cam(rng.random((2, 9, 9, 3)), layer="mean").heat.shape == (2, 9, 9)
    with pytest.raises(ValueError, match="same shape"):
        cam([np.ones((9, 9, 3), np.uint8), np.ones((8, 8, 3), np.uint8)])


def test_nan_and_overflow_are_errors_that_name_the_image(model, pictures):
    cam = GradCAM(model, batch_size=2)
    for value, what in ((np.nan, "pixels"), (3e38, "logit")):
        broken = pictures.copy()
        broken[3] = value
        with pytest.raises(ValueError, match=f"image 3: {what} is not finite"):
            cam(broken)


def test_models_that_cannot_be_explained_say_why(model):
    class Subclass(keras.Model):
        pass

    image, other = keras.Input((4, 4, 3)), keras.Input((4, 4, 3))
    flat = layers.Flatten()(layers.Conv2D(2, 1)(image))
    both = layers.Flatten()(layers.Add()([image, other]))
    one = layers.Dense(1)(flat)
    cases = {
        "Subclass whose layers are not known": Subclass(),
        "Sequential whose layers are not known": keras.Sequential([layers.Conv2D(2, 3)]),
        "str whose layers are not known": "model.keras",
        "2 inputs": keras.Model([image, other], layers.Dense(1)(both)),
        "2 outputs": keras.Model(image, [one, flat]),
        r"takes \(None, 48\)": keras.Sequential([keras.Input((48,)), layers.Dense(1)]),
        r"a Dense \(activation relu\) named .* \(None, 1\)": keras.Model(
            image, layers.Dense(1, "relu")(flat)
        ),
        r"softmax\) named .* \(None, 3\)": keras.Model(image, layers.Dense(3, "softmax")(flat)),
        r"a Conv2D \(activation sigmoid\)": keras.Model(
            image, layers.Conv2D(1, 4, activation="sigmoid")(image)
        ),
    }
    sigmoids = layers.Conv2D(1, 3, activation="sigmoid")(image)  # their mean is no logit
    mean = layers.GlobalAveragePooling2D()(sigmoids)
    cases["ends in a GlobalAveragePooling2D"] = keras.Model(image, mean)
    for message, wrong in cases.items():
        with pytest.raises(ValueError, match=message):
            GradCAM(wrong)
    for name in ("conv_z", "pool"):
        with pytest.raises(ValueError, match=f"{name}.*conv_a"):
            GradCAM(model, layers=[name])
    with pytest.raises(ValueError, match="none here"):
        GradCAM(keras.Model(image, layers.Dense(1)(layers.Flatten()(image))))
